/* Threads that run the tasks of parallel loops.
 *
 * A job has one task for each thread. A thread takes the task of its own number, so that a core
 * finds in its caches what it wrote for the job before. The caller takes its own, and then those
 * that nobody has begun: a worker that sleeps, or whose core another process has, holds nobody up.
 * It is waited for only where it is in the midst of a task.
 *
 * Whoever waits first pauses for some microseconds, then lets others have the core again and again
 * (sched_yield): a thread that spins on a core on which the awaited one should run would keep it
 * from running. Workers stay awake while a run goes on and `spin_us` after it; then they sleep.
 * benchmarks/thread_policies.py has the alternatives and what they cost.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__) || defined(__arm__)
#define RELAX() __asm__ volatile("yield" ::: "memory")
#else
#define RELAX() __asm__ volatile("" ::: "memory")
#endif

/* How long to pause before the core is offered to others, in nanoseconds: about what it costs to
 * offer it a few times. */
#define PAUSE_NS 10000
/* Looks at what is waited for between looks at the clock. */
#define LOOKS 16
#define STACK_BYTES (256 << 10)

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void sleep_while(uint32_t* word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int tk_usable_cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

/* Keeps a thread on the CPU of this number among those that the process may use. */
static void pin_to(pthread_t thread, int number) {
  cpu_set_t allowed, single;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  number %= CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || number-- > 0) continue;
    CPU_ZERO(&single);
    CPU_SET(cpu, &single);
    pthread_setaffinity_np(thread, sizeof single, &single);
    return;
  }
}

/* Takes the task of a number for a job, unless somebody has it. All tasks of a job are taken before
 * the next one begins, so a thread that comes late finds another number than it expects. */
static int claim(tk_pool* pool, int number, uint32_t job) {
  uint32_t before = job - 1;
  return __atomic_compare_exchange_n(&pool->seats[number].claimed, &before, job, 0,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void do_task(tk_pool* pool, int number) {
  int code = pool->task(number, pool->threads, pool->data);
  if (code != 0) __atomic_store_n(&pool->failure, code, __ATOMIC_RELAXED);
  __atomic_fetch_add(&pool->done, 1, __ATOMIC_RELEASE);
}

/* The number of a job that is newer than `last`. */
static uint32_t next_job(tk_pool* pool, uint32_t last) {
  int64_t asleep_after = (int64_t)pool->spin_us * 1000, since = now_ns(), now = since;
  for (uint32_t round = 1;; round++) {
    uint32_t job = __atomic_load_n(&pool->job, __ATOMIC_ACQUIRE);
    if (job != last) return job;
    RELAX();
    if (round % LOOKS) continue;
    now = now_ns();
    if (now - since < PAUSE_NS) continue;
    sched_yield();
    if (__atomic_load_n(&pool->running, __ATOMIC_RELAXED)) {
      since = now - PAUSE_NS;
    } else if (now - since > asleep_after) {
      __atomic_fetch_add(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&pool->job, __ATOMIC_SEQ_CST) == last) sleep_while(&pool->job, last);
      __atomic_fetch_sub(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
      since = now_ns();
    }
  }
}

static void* work(void* argument) {
  tk_seat* seat = argument;
  tk_pool* pool = seat->pool;
  uint32_t job = 0;
  for (;;) {
    job = next_job(pool, job);
    if (__atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE)) return NULL;
    if (claim(pool, seat->number, job)) do_task(pool, seat->number);
  }
}

int tk_pool_start(tk_pool* pool, tk_seat* seats) {
  pthread_attr_t attributes;
  pool->seats = seats;
  pool->job = pool->stop = pool->running = pool->done = pool->sleeping = 0;
  pool->started = 1;
  for (int number = 0; number < pool->threads; number++) {
    memset(&seats[number], 0, sizeof seats[number]);
    seats[number].pool = pool;
    seats[number].number = number;
  }
  if (pool->parallel_for || pool->threads == 1) return TUNEKIT_OK;
  if (pthread_attr_init(&attributes) != 0) return TUNEKIT_NO_THREADS;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  while (pool->started < pool->threads) {
    tk_seat* seat = &seats[pool->started];
    if (pthread_create(&seat->thread, &attributes, work, seat) != 0) break;
    if (pool->pin >= TUNEKIT_PIN_WORKERS) pin_to(seat->thread, pool->started);
    pool->started++;
  }
  pthread_attr_destroy(&attributes);
  if (pool->started == pool->threads) return TUNEKIT_OK;
  tk_pool_stop(pool);
  return TUNEKIT_NO_THREADS;
}

void tk_pool_stop(tk_pool* pool) {
  __atomic_store_n(&pool->stop, 1, __ATOMIC_RELEASE);
  __atomic_fetch_add(&pool->job, 1, __ATOMIC_SEQ_CST);
  wake(&pool->job);
  for (; pool->started > 1; pool->started--) {
    pthread_join(pool->seats[pool->started - 1].thread, NULL);
  }
}

void tk_pool_begin(tk_pool* pool) {
  if (pool->pin == TUNEKIT_PIN_ALL) pin_to(pthread_self(), 0);
  __atomic_store_n(&pool->running, 1, __ATOMIC_RELAXED);
}

void tk_pool_end(tk_pool* pool) { __atomic_store_n(&pool->running, 0, __ATOMIC_RELAXED); }

int tk_pool_run(tk_pool* pool, tunekit_task task, void* data) {
  if (pool->threads == 1) return task(0, 1, data);
  if (pool->parallel_for) {
    return pool->parallel_for(task, pool->threads, data, pool->parallel_for_context);
  }
  pool->task = task;
  pool->data = data;
  pool->failure = 0;
  __atomic_store_n(&pool->done, 0, __ATOMIC_RELAXED);
  uint32_t job = __atomic_add_fetch(&pool->job, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool->sleeping, __ATOMIC_SEQ_CST)) wake(&pool->job);
  for (int number = 0; number < pool->threads; number++) {
    if (claim(pool, number, job)) do_task(pool, number);
  }
  int64_t since = now_ns();
  for (uint32_t round = 1;; round++) {
    if (__atomic_load_n(&pool->done, __ATOMIC_ACQUIRE) == (uint32_t)pool->threads) break;
    RELAX();
    if (round % LOOKS == 0 && now_ns() - since > PAUSE_NS) sched_yield();
  }
  return __atomic_load_n(&pool->failure, __ATOMIC_RELAXED);
}
