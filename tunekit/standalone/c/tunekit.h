/* What every library that tunekit exports offers to C and C++.
 *
 * NAME.h, beside this file, declares the functions of one library, each with the library's name
 * before it; NAME_api() gives the same functions as a table, for programs that load the library
 * while they run or that have several.
 *
 *     tunekit_model *model;
 *     if (NAME_open(&model, NULL) != TUNEKIT_OK) { puts(NAME_error(NULL)); return 1; }
 *     NAME_bind_input(model, 0, image, sizeof image);
 *     NAME_bind_output(model, 0, scores, sizeof scores);
 *     if (NAME_run(model) != TUNEKIT_OK) puts(NAME_error(model));
 *     NAME_close(model);
 *
 * No function throws, aborts, prints, or touches signals. Memory is taken in open alone. One model
 * is for one thread at a time (a second one gets TUNEKIT_BUSY); any number of models may be open
 * and run side by side. After fork, parent and child may both go on with the models that are open.
 */
#ifndef TUNEKIT_H
#define TUNEKIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TUNEKIT_ABI_VERSION 1

/* What functions give back; error() has the words. */
enum {
  TUNEKIT_OK = 0,
  TUNEKIT_BAD_ARGUMENT = 1, /* NULL, no such input, a wrong size, ... */
  TUNEKIT_WRONG_CPU = 2,    /* this machine lacks instructions that the library uses */
  TUNEKIT_NO_MEMORY = 3,
  TUNEKIT_NO_THREADS = 4, /* threads could not be started */
  TUNEKIT_NOT_BOUND = 5,  /* run before every input was bound */
  TUNEKIT_BUSY = 6,       /* another thread is running this model */
  TUNEKIT_FAILED = 7,     /* a kernel gave up */
  TUNEKIT_DAMAGED = 8,    /* the self test got other values than it should */
  TUNEKIT_NO_SIZE = 9     /* a library of several sizes has none that fits; the words list them */
};

/* Whom to keep on one core each. */
enum {
  TUNEKIT_PIN_NONE = 1,
  TUNEKIT_PIN_WORKERS = 2,
  TUNEKIT_PIN_ALL = 3 /* the thread that runs the model too, while it does */
};

/* Where the weights are while the model is open. */
enum {
  TUNEKIT_WEIGHTS_SHARED = 1,    /* pages of the file, one copy for all processes; the default */
  TUNEKIT_WEIGHTS_HUGE_PAGES = 2 /* copied once, into pages of 2 MiB where Linux has them, or into
                                    what `allocate` gives */
};

typedef struct tunekit_model tunekit_model;

/* A task of a parallel loop: task number index of count. Gives 0 unless it failed. */
typedef int (*tunekit_task)(int index, int count, void* data);

/* How to open a model. Zeros, and NULL in place of the whole, leave each choice to the library. */
typedef struct {
  uint32_t struct_bytes; /* sizeof(tunekit_options), 0 counts as that; of later versions, which
                            have more, what this one does not know has to be 0 */
  int32_t threads;       /* with the caller's; 0: as many as it was compiled for and may be used */
  int32_t spin_us;       /* how long threads wait awake after a run, in microseconds; -1: not */
  int32_t pin;           /* TUNEKIT_PIN_... */
  int32_t weights;       /* TUNEKIT_WEIGHTS_... */
  int32_t reserved;      /* 0 */
  /* Memory of the application's own; both or none. Aligned as asked. */
  void* (*allocate)(size_t bytes, size_t alignment, void* context);
  void (*release)(void* pointer, size_t bytes, void* context);
  /* Told what open decides, a line at a time. */
  void (*log)(const char* line, void* context);
  /* The application's own threads: runs task(0 .. count-1, count, data), in any order, and comes
   * back when all are done; gives 0, or what a task that failed gave. No thread is started then. */
  int (*parallel_for)(tunekit_task task, int count, void* data, void* context);
  void* context; /* handed to the four above */
} tunekit_options;

/* One input or output. */
typedef struct {
  const char* name;
  const char* dtype; /* "float32", "int64", "bool", ... as NumPy writes it */
  const int64_t* shape;
  int32_t ndim;
  uint8_t code; /* as DLPack: 0 int, 1 uint, 2 float, 4 bfloat, 6 bool */
  uint8_t bits; /* of an element */
  uint16_t reserved;
  size_t bytes; /* of the whole tensor, compact, last axis fastest */
} tunekit_tensor;

/* An axis of the inputs of which a library has several sizes. */
typedef struct {
  const char* name;
  const int64_t* sizes; /* smallest first */
  int32_t count;        /* of them */
  int32_t padded;       /* sizes between them run too: in the next larger one, with zeros behind */
} tunekit_axis;

/* What a thread did in an inference that was traced: a kernel, or a task of its parallel loop. */
typedef struct {
  const char* kernel;       /* its name, which the library has */
  int64_t begin_ns, end_ns; /* of the monotonic clock */
  int32_t step;             /* number of the kernel in the inference */
  int32_t task;             /* number of the task; -1 where it is the kernel as a whole */
  int32_t thread;           /* the system's number of the thread that did it */
  int32_t reserved;
} tunekit_event;

/* The functions of a library; what each does is said in NAME.h. */
typedef struct {
  uint32_t abi_version;  /* TUNEKIT_ABI_VERSION of the library */
  uint32_t struct_bytes; /* of this table; later versions are longer */
  const char* name;
  int (*open)(tunekit_model** model, const tunekit_options* options);
  void (*close)(tunekit_model* model);
  int32_t (*inputs)(const tunekit_model* model);
  int32_t (*outputs)(const tunekit_model* model);
  const tunekit_tensor* (*describe_input)(const tunekit_model* model, int32_t index);
  const tunekit_tensor* (*describe_output)(const tunekit_model* model, int32_t index);
  int (*bind_input)(tunekit_model* model, int32_t index, const void* data, size_t bytes);
  int (*bind_output)(tunekit_model* model, int32_t index, void* data, size_t bytes);
  int (*run)(tunekit_model* model);
  const void* (*output)(const tunekit_model* model, int32_t index);
  int32_t (*threads)(const tunekit_model* model);
  const char* (*error)(const tunekit_model* model);
  int (*self_test)(tunekit_model* model);
  int (*cpu_ok)(void);
  const char* (*manifest)(void);
  /* Of later versions than the first: struct_bytes says how far a library's table goes. */
  int32_t (*axes)(const tunekit_model* model);
  const tunekit_axis* (*describe_axis)(const tunekit_model* model, int32_t index);
  int32_t (*input_axis)(const tunekit_model* model, int32_t index, int32_t dimension);
  int (*set_sizes)(tunekit_model* model, const int64_t* sizes, int32_t count);
  int64_t (*size)(const tunekit_model* model, int32_t axis);
  int (*trace)(tunekit_model* model, tunekit_event* events, int32_t room, int32_t* count);
} tunekit_api;

#ifdef __cplusplus
}
#endif
#endif
