/* What the guest library offers of the C standard library. A plugin has no operating system: memory comes from the
   component itself and goes back when the call ends. */
#ifndef CANOPY_STDLIB_H
#define CANOPY_STDLIB_H
#include <stddef.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *at, size_t size);
/* Does nothing: see runtime.c. */
void free(void *at);
/* Ends the call; the core falls back and names a trap. */
_Noreturn void abort(void);

#endif
