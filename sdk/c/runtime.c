/* Memory of a plugin in WASM. Not part of native tests: those have the machine's own C library.

   Every call gets its memory from an arena that is emptied when the core has read the answer. So a plugin frees
   nothing and leaks nothing. What `init` allocates stays: the settings of the plugin live there. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "canopy.h"

enum { PAGE = 65536, ALIGN = 16 };

/* Where the linker put the end of the static data. */
extern unsigned char __heap_base;

/* First free byte; 0 before the first allocation. */
static uintptr_t top;
/* What `init` left. */
static uintptr_t kept;
static bool ready;

static bool reach(uintptr_t end) {
  uintptr_t have = __builtin_wasm_memory_size(0) * (uintptr_t)PAGE;
  if (end <= have) return true;
  /* At least a MiB more: growing costs more than the memory. */
  size_t pages = (end - have + PAGE - 1) / PAGE;
  size_t ample = pages < 16 ? 16 : pages;
  return __builtin_wasm_memory_grow(0, ample) != SIZE_MAX || __builtin_wasm_memory_grow(0, pages) != SIZE_MAX;
}

/* A size stands before each piece, so that it can grow. */
void *malloc(size_t size) {
  if (top == 0) top = kept = (uintptr_t)&__heap_base;
  uintptr_t at = (top + sizeof(size_t) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1);
  if (at < top || at + size < at || !reach(at + size)) return NULL;
  ((size_t *)at)[-1] = size;
  top = at + size;
  return (void *)at;
}

void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
  void *at = malloc(bytes);
  return at ? memset(at, 0, bytes) : NULL;
}

void *realloc(void *at, size_t size) {
  if (!at) return malloc(size);
  size_t had = ((size_t *)at)[-1];
  if (size <= had) return at;
  if ((uintptr_t)at + had == top) {
    /* The last piece grows where it is. */
    if ((uintptr_t)at + size < (uintptr_t)at || !reach((uintptr_t)at + size)) return NULL;
    ((size_t *)at)[-1] = size;
    top = (uintptr_t)at + size;
    return at;
  }
  void *larger = malloc(size);
  return larger ? memcpy(larger, at, had) : NULL;
}

void free(void *at) { (void)at; }

_Noreturn void abort(void) { __builtin_trap(); }

void canopy_end_of_call(void) {
  if (!ready) {
    kept = top;
    ready = true;
  }
  top = kept;
}

/* Instructions of WASM, not calls of themselves: the build says -mbulk-memory. */
void *memcpy(void *restrict to, const void *restrict from, size_t len) {
  __builtin_memcpy(to, from, len);
  return to;
}

void *memmove(void *to, const void *from, size_t len) {
  __builtin_memmove(to, from, len);
  return to;
}

void *memset(void *to, int byte, size_t len) {
  __builtin_memset(to, byte, len);
  return to;
}

int memcmp(const void *a, const void *b, size_t len) {
  const unsigned char *left = a, *right = b;
  for (size_t i = 0; i < len; i++) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}

size_t strlen(const char *text) {
  size_t len = 0;
  while (text[len]) len++;
  return len;
}

int strcmp(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

/* What the compiler asks for where 64-bit products are checked for overflow. */
typedef unsigned __int128 wide;

wide __multi3(wide a, wide b) {
  uint64_t a_low = (uint64_t)a, b_low = (uint64_t)b;
  uint64_t a0 = a_low & UINT32_MAX, a1 = a_low >> 32, b0 = b_low & UINT32_MAX, b1 = b_low >> 32;
  uint64_t low = a0 * b0, middle = a1 * b0 + (low >> 32), other = a0 * b1 + (middle & UINT32_MAX);
  uint64_t high = a1 * b1 + (middle >> 32) + (other >> 32);
  high += a_low * (uint64_t)(b >> 64) + (uint64_t)(a >> 64) * b_low;
  return (wide)high << 64 | other << 32 | (low & UINT32_MAX);
}
