/* A thread that is in the midst of a parallel loop of a model's until it is let go. */
#ifndef HELD_H
#define HELD_H

#include <pthread.h>
#include <unistd.h>

#include "checks.h"

static int began, let_go;

static inline int held_loop(tunekit_task task, int count, void* data, void* context) {
  int code = 0;
  (void)context;
  __atomic_store_n(&began, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&let_go, __ATOMIC_ACQUIRE)) usleep(1000);
  for (int index = 0; index < count; index++) code |= task(index, count, data);
  return code;
}

/* Starts a thread that uses a model whose loops are held, and comes back when it is in one. */
static inline pthread_t begin_held(void* (*use)(void*)) {
  pthread_t thread;
  began = let_go = 0;
  CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
  while (!__atomic_load_n(&began, __ATOMIC_ACQUIRE)) usleep(1000);
  return thread;
}

static inline void let_it_go(void) { __atomic_store_n(&let_go, 1, __ATOMIC_RELEASE); }

#endif
