/* What the threads of a model do in one inference. */
#include <sys/syscall.h>
#include <unistd.h>

#include "state.h"

void tk_note(tunekit_model* model, int32_t task, int64_t begin_ns) {
  int64_t end_ns = tk_now_ns();
  int32_t number = __atomic_fetch_add(&model->event_count, 1, __ATOMIC_RELAXED);
  if (number >= model->event_room) return;
  tunekit_event* event = &model->events[number];
  event->kernel = model->program->steps[model->step].name;
  event->begin_ns = begin_ns;
  event->end_ns = end_ns;
  event->step = (int32_t)model->step;
  event->task = task;
  event->thread = (int32_t)syscall(SYS_gettid);
  event->reserved = 0;
}

int tk_trace(tunekit_model* model, tunekit_event* events, int32_t room, int32_t* count) {
  tunekit_event none;
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  if (code != TUNEKIT_OK) return code;
  if (!count || room < 0 || (room > 0 && !events)) {
    code = tk_fail(model->error, TUNEKIT_BAD_ARGUMENT, "trace needs room for events and a count");
    return tk_leave(model, code);
  }
  model->events = events ? events : &none;
  model->event_room = room;
  model->event_count = 0;
  code = tk_run_entered(model);
  model->events = NULL;
  *count = model->event_count;
  return tk_leave(model, code);
}
