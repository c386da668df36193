/* What went wrong, in words. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "state.h"

/* Why a thread could not open a model, or not enter one, whose own text is then somebody else's. A
 * thread has a place from its first such failure to its end; only where more than so many threads
 * have one do they share them. */
#define REMARKS 32

typedef struct {
  const tunekit_model* model;
  uint32_t users; /* threads that have this place */
  char text[TK_ERROR_BYTES];
} remark;

static remark remarks[REMARKS];
static uint32_t shared; /* how often a place was given that another thread has */
static pthread_key_t own_remark;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int ready;

static void leave_place(void* own) {
  __atomic_fetch_sub(&((remark*)own)->users, 1, __ATOMIC_RELEASE);
}

static void prepare(void) {
  __atomic_store_n(&ready, pthread_key_create(&own_remark, leave_place) == 0, __ATOMIC_RELAXED);
}

/* Threads that end after this code was unloaded, as a static library is with the plugin that it is
 * linked into, must not call it any more. */
__attribute__((destructor)) static void unload(void) {
  if (__atomic_exchange_n(&ready, 0, __ATOMIC_RELAXED)) pthread_key_delete(own_remark);
}

static remark* take_place(void) {
  for (int i = 0; i < REMARKS; i++) {
    uint32_t nobody = 0;
    if (__atomic_compare_exchange_n(&remarks[i].users, &nobody, 1, 0, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED))
      return &remarks[i];
  }
  remark* place = &remarks[__atomic_fetch_add(&shared, 1, __ATOMIC_RELAXED) % REMARKS];
  __atomic_fetch_add(&place->users, 1, __ATOMIC_ACQUIRE);
  return place;
}

static remark* find(void) {
  pthread_once(&once, prepare);
  return __atomic_load_n(&ready, __ATOMIC_RELAXED) ? pthread_getspecific(own_remark) : NULL;
}

char* tk_remark(const tunekit_model* model) {
  remark* own = find();
  if (!own) {
    own = take_place();
    if (__atomic_load_n(&ready, __ATOMIC_RELAXED)) pthread_setspecific(own_remark, own);
  }
  own->model = model;
  own->text[0] = '\0';
  return own->text;
}

void tk_forget_remark(const tunekit_model* model) {
  remark* own = find();
  if (!own || own->model != model) return;
  own->model = NULL;
  own->text[0] = '\0';
}

int tk_fail(char* error, int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, TK_ERROR_BYTES, format, arguments);
  va_end(arguments);
  return code;
}

const char* tk_error(const tunekit_model* model) {
  const remark* own = find();
  if (own && own->model == model) return own->text;
  return model ? model->error : "";
}
