/* What went wrong, in words. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "state.h"

/* Why a thread could not open a model, or not enter one, whose own text is then somebody else's. A
 * thread gets a place at its first such failure; only beyond so many do threads share them. */
#define REMARKS 32

typedef struct {
  const tunekit_model* model;
  char text[TK_ERROR_BYTES];
} remark;

static remark remarks[REMARKS];
static uint32_t places_taken;
static pthread_key_t own_remark;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int ready;

static void prepare(void) { ready = pthread_key_create(&own_remark, NULL) == 0; }

static remark* find(void) {
  pthread_once(&once, prepare);
  return ready ? pthread_getspecific(own_remark) : NULL;
}

char* tk_remark(const tunekit_model* model) {
  remark* own = find();
  if (!own) {
    own = &remarks[__atomic_fetch_add(&places_taken, 1, __ATOMIC_RELAXED) % REMARKS];
    if (ready) pthread_setspecific(own_remark, own);
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
