/* Threads that run the tasks of parallel loops. */
#ifndef TUNEKIT_POOL_H
#define TUNEKIT_POOL_H

#include <pthread.h>

#include "model.h"

#define TK_LINE_BYTES 64
#define TK_MOST_THREADS 256

struct tk_pool;

/* What one thread of the pool has for itself; a cache line, since others poll it. */
typedef struct {
  uint32_t claimed; /* the job whose task of this number somebody has taken */
  struct tk_pool* pool;
  pthread_t thread;
  int32_t number;
  char padding[TK_LINE_BYTES - 32];
} tk_seat;

typedef struct tk_pool {
  /* Workers poll this line. */
  uint32_t job; /* the number of the newest job; sleepers wait on it */
  uint32_t stop;
  uint32_t running; /* a run goes on: more jobs will come soon */
  char padding[TK_LINE_BYTES - 12];
  /* And write this one. */
  uint32_t done, sleeping;
  int32_t failure;
  char padding2[TK_LINE_BYTES - 12];
  tunekit_task task;
  void* data;
  int32_t threads, started;
  int32_t spin_us, pin;
  int (*parallel_for)(tunekit_task task, int count, void* data, void* context);
  void* parallel_for_context;
  tk_seat* seats;
} tk_pool;

/* Starts `threads` - 1 workers; `seats` has room for all threads. TUNEKIT_NO_THREADS where they
 * cannot be started: none runs then. */
int tk_pool_start(tk_pool* pool, tk_seat* seats);
void tk_pool_stop(tk_pool* pool);
/* Between these, workers expect work. */
void tk_pool_begin(tk_pool* pool);
void tk_pool_end(tk_pool* pool);
/* Runs tasks 0 .. threads-1, and comes back when all are done: 0, or what one that failed gave. */
int tk_pool_run(tk_pool* pool, tunekit_task task, void* data);
/* CPUs that this process may use. */
int tk_usable_cpus(void);

#endif
