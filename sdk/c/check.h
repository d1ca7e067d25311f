/* For tests on the machine that develops: CHECK says what did not hold, and the test fails. */
#ifndef CANOPY_CHECK_H
#define CANOPY_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
      exit(1);                                                            \
    }                                                                     \
  } while (0)

/* A list of the bindings, of an array. */
#define LIST(array) {.ptr = (array), .len = sizeof(array) / sizeof *(array)}
/* A string of the bindings, of a constant. */
#define TEXT(text) {.ptr = (uint8_t *)(text), .len = sizeof(text) - 1}

#endif
