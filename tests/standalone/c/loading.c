/* A library is loaded, runs, and is let go, again and again; also with its model still open. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <toy.h>

static const tunekit_api* load(void** library) {
  union {
    void* pointer;
    const tunekit_api* (*function)(void);
  } api;
  *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!*library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  api.pointer = dlsym(*library, "toy_api");
  return api.pointer ? api.function() : NULL;
}

int main(void) {
  tunekit_options options = {.threads = 3, .spin_us = -1};
  for (int round = 0; round < 3; round++) {
    void* library;
    tunekit_model* model;
    const tunekit_api* api = load(&library);
    if (!api || api->abi_version != TUNEKIT_ABI_VERSION || api->struct_bytes != sizeof *api)
      return 1;
    if (api->open(&model, &options) != TUNEKIT_OK) return 2;
    if (api->self_test(model) != TUNEKIT_OK) return 3;
    /* Threads of a model that stays open have their code all the same. */
    if (round != 1) api->close(model);
    dlclose(library);
    if (round == 1 && api->self_test(model) != TUNEKIT_OK) return 4;
  }
  puts("all is well");
  return 0;
}
