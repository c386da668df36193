/* Threads that run the tasks of parallel loops. */
#ifndef TUNEKIT_POOL_H
#define TUNEKIT_POOL_H

#include <pthread.h>
#include <sched.h>

#include "model.h"

#define TK_MOST_THREADS 1024
/* Begins a cache line, so that those who poll what is on it are not disturbed by other writes. */
#define TK_LINE __attribute__((aligned(64)))

struct tk_pool;

/* What one thread of the pool has for itself. */
typedef struct {
  TK_LINE uint32_t claimed; /* the job whose task of this number somebody has taken */
  int32_t number;
  struct tk_pool* pool;
  pthread_t thread;
} tk_seat;

typedef struct tk_pool {
  /* Workers poll this line. */
  TK_LINE uint32_t job; /* the number of the newest job; sleepers wait on it */
  uint32_t stop;
  uint32_t running; /* a run goes on: more jobs will come soon */
  /* And write this one. */
  TK_LINE uint32_t done;
  uint32_t sleeping;
  int32_t failure;
  TK_LINE tunekit_task task;
  void* data;
  int32_t threads, started;
  int32_t spin_us, pin;
  int (*parallel_for)(tunekit_task task, int count, void* data, void* context);
  void* parallel_for_context;
  tk_seat* seats;
  cpu_set_t callers; /* where the caller of a run may be when it is not pinned */
} tk_pool;

/* Starts `threads` - 1 workers; `seats` has room for all threads. TUNEKIT_NO_THREADS where they
 * cannot be started: none runs then, and it may be tried again. */
int tk_pool_start(tk_pool* pool);
void tk_pool_stop(tk_pool* pool);
/* Between these, workers expect work, and the caller stays on its CPU where that is wanted. */
void tk_pool_begin(tk_pool* pool);
void tk_pool_end(tk_pool* pool);
/* Runs tasks 0 .. threads-1, and comes back when all are done: 0, or what one that failed gave. */
int tk_pool_run(tk_pool* pool, tunekit_task task, void* data);
/* The monotonic clock. */
int64_t tk_now_ns(void);
/* CPUs that the calling thread may use. */
int tk_usable_cpus(void);

#endif
