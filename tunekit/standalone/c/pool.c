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
 *
 * Who may touch what: `task` and `data` are written by the caller before it raises `job`, and read
 * by whoever has claimed a task of that job. The caller raises `job` again only when every task of
 * the one before is done, so a claim that succeeds is always of the newest job; a worker that comes
 * late fails to claim, since others have.
 */
#include "pool.h"

#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__) || defined(__arm__)
#define RELAX() __asm__ volatile("yield" ::: "memory")
#elif defined(__riscv)
#define RELAX()                                                   \
  __asm__ volatile(".4byte 0x0100000f" ::                         \
                       : "memory") /* pause: a fence without sets \
                                    */
#else
#define RELAX() __asm__ volatile("" ::: "memory")
#endif

/* How long to pause before the core is offered to others, in nanoseconds: about what it costs to
 * offer it a few times. */
#ifndef PAUSE_NS
#define PAUSE_NS 10000
#endif
/* Looks at what is waited for between looks at the clock. */
#ifndef LOOKS
#define LOOKS 16
#endif
/* After so long a caller naps between its looks. Offering the core is not enough where the caller
 * has a higher real-time priority than the worker that it waits for and keeps off that core. */
#define NAP_AFTER_NS 20000000
#define NAP_NS 50000
/* Kernels have their memory elsewhere, and little of this is ever touched: it is address space. But
 * thread-local variables of the application and of its libraries come off it, and how many bytes
 * those are only a private symbol of glibc's says. */
#define STACK_BYTES (2 << 20)

/* Of linux/futex.h, which not every C library comes with. */
enum { FUTEX_WAIT_PRIVATE_ = 128, FUTEX_WAKE_PRIVATE_ = 129 };
#ifndef SYS_futex
#define SYS_futex SYS_futex_time64
#endif

int64_t tk_now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void sleep_while(uint32_t* word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE_, value, NULL, NULL, 0);
}

static void wake(uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE_, INT_MAX, NULL, NULL, 0);
}

int tk_usable_cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  /* More CPUs than the set has bits. */
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

/* Of the CPUs in a set, the one of this number, counted round and round; as a set. */
static cpu_set_t one_of(const cpu_set_t* set, int number) {
  cpu_set_t single;
  CPU_ZERO(&single);
  number %= CPU_COUNT(set);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, set) || number-- > 0) continue;
    CPU_SET(cpu, &single);
    break;
  }
  return single;
}

/* Takes the task of a number for a job, unless somebody has it. */
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
  int64_t asleep_after = (int64_t)pool->spin_us * 1000, since = tk_now_ns();
  for (uint32_t round = 1;; round++) {
    uint32_t job = __atomic_load_n(&pool->job, __ATOMIC_ACQUIRE);
    if (job != last) return job;
    RELAX();
    if (round % LOOKS) continue;
    int64_t now = tk_now_ns();
    int running = (int)__atomic_load_n(&pool->running, __ATOMIC_RELAXED);
    if (!running && now - since >= asleep_after) {
      /* Either the caller sees the sleeper and wakes it, or this sees the caller's new job: both
       * look after they wrote, in one order for all. */
      __atomic_fetch_add(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&pool->job, __ATOMIC_SEQ_CST) == last) sleep_while(&pool->job, last);
      __atomic_fetch_sub(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
      since = tk_now_ns();
      continue;
    }
    if (now - since < PAUSE_NS) continue;
    sched_yield();
    if (running) since = now - PAUSE_NS; /* the time to stay awake begins at the run's end */
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

/* A worker, with a smaller stack than the system's if the process lets it. */
static int start_worker(tk_seat* seat) {
  pthread_attr_t attributes;
  int failed = 1;
  if (pthread_attr_init(&attributes) == 0) {
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    failed = pthread_create(&seat->thread, &attributes, work, seat);
    pthread_attr_destroy(&attributes);
  }
  /* An application's thread-local variables may need more than that. */
  return failed ? pthread_create(&seat->thread, NULL, work, seat) : 0;
}

/* What an application handles, it handles in threads of its own; faults stay with who made them. */
static void block_signals(sigset_t* before) {
  static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
  sigset_t blocked;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) sigdelset(&blocked, FAULTS[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, before);
}

int tk_pool_start(tk_pool* pool) {
  cpu_set_t allowed;
  sigset_t signals;
  pool->job = pool->stop = pool->running = pool->done = pool->sleeping = 0;
  pool->started = 1;
  for (int number = 0; number < pool->threads; number++) {
    tk_seat* seat = &pool->seats[number];
    seat->claimed = 0;
    seat->pool = pool;
    seat->number = number;
  }
  if (pool->parallel_for || pool->threads == 1) return TUNEKIT_OK;
  int pins =
      pool->pin >= TUNEKIT_PIN_WORKERS && sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  block_signals(&signals);
  while (pool->started < pool->threads && start_worker(&pool->seats[pool->started]) == 0) {
    if (pins) {
      cpu_set_t own = one_of(&allowed, pool->started);
      pthread_setaffinity_np(pool->seats[pool->started].thread, sizeof own, &own);
    }
    pool->started++;
  }
  pthread_sigmask(SIG_SETMASK, &signals, NULL);
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

static int pins_caller(const tk_pool* pool) {
  return pool->pin == TUNEKIT_PIN_ALL && !pool->parallel_for && pool->threads > 1;
}

void tk_pool_begin(tk_pool* pool) {
  if (pins_caller(pool)) {
    if (sched_getaffinity(0, sizeof pool->callers, &pool->callers) == 0) {
      cpu_set_t own = one_of(&pool->callers, 0);
      sched_setaffinity(0, sizeof own, &own);
    } else {
      CPU_ZERO(&pool->callers);
    }
  }
  __atomic_store_n(&pool->running, 1, __ATOMIC_RELAXED);
}

void tk_pool_end(tk_pool* pool) {
  __atomic_store_n(&pool->running, 0, __ATOMIC_RELAXED);
  /* Threads and processes that the caller starts between runs would be pinned as it is. */
  if (pins_caller(pool) && CPU_COUNT(&pool->callers) > 0)
    sched_setaffinity(0, sizeof pool->callers, &pool->callers);
}

/* Comes back when every task of the job is done; those that are not are under way. */
static void await_tasks(tk_pool* pool) {
  static const struct timespec NAP = {0, NAP_NS};
  int64_t since = 0;
  for (uint32_t round = 1;; round++) {
    if (__atomic_load_n(&pool->done, __ATOMIC_ACQUIRE) == (uint32_t)pool->threads) return;
    RELAX();
    if (round % LOOKS) continue;
    int64_t now = tk_now_ns();
    if (since == 0) since = now;
    if (now - since > NAP_AFTER_NS) {
      nanosleep(&NAP, NULL);
    } else if (now - since > PAUSE_NS) {
      sched_yield();
    }
  }
}

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
  await_tasks(pool);
  return __atomic_load_n(&pool->failure, __ATOMIC_RELAXED);
}
