/* What the guest library offers of the C standard library; as C11 defines them. */
#ifndef CANOPY_STRING_H
#define CANOPY_STRING_H
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);

#endif
