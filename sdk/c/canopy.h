/* Guest library for plugins in C: text, JSON, and no operating system. The contract of each kind is in the header
   beside its bindings (scheduler/scorer.h, quota/rule.h, network/backend.h), with units and bounds.

   A plugin is a pure function of its configuration and its arguments. It frees nothing: what a call allocates goes
   when the call ends, what `init` allocates stays. Static variables may be written by `init` only; the core may
   throw an instance away at any time, and ask any instance. */
#ifndef CANOPY_H
#define CANOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of UTF-8; no nul at its end. */
typedef struct {
  const char *at;
  size_t len;
} canopy_str;

/* From a string of the bindings, and from a constant. */
#define CANOPY_STR(string) ((canopy_str){(const char *)(string).ptr, (string).len})
#define CANOPY_LIT(text) ((canopy_str){(text), sizeof(text) - 1})
/* Into a string of the bindings. */
#define CANOPY_GIVE(string, text)              \
  do {                                         \
    canopy_str given_ = (text);                \
    (string)->ptr = (uint8_t *)given_.at;      \
    (string)->len = given_.len;                \
  } while (0)

bool canopy_same(canopy_str a, canopy_str b);
bool canopy_is(canopy_str a, const char *text);
/* The first `most` characters (not bytes). */
canopy_str canopy_start(canopy_str text, size_t most);

/* `count` things of `size` bytes, all zero. Never NULL: without memory the call ends as a fault. */
void *canopy_take(size_t count, size_t size);

/* Text that grows; begin with {0}. */
typedef struct {
  char *at;
  size_t len, room;
} canopy_text;

void canopy_put(canopy_text *to, canopy_str text);
void canopy_put_int(canopy_text *to, int64_t number);
/* As a JSON string, with its quotes. */
void canopy_put_json(canopy_text *to, canopy_str text);
canopy_str canopy_done(const canopy_text *text);

/* JSON, read into a tree. */
typedef enum {
  CANOPY_NULL,
  CANOPY_FALSE,
  CANOPY_TRUE,
  CANOPY_NUMBER,
  CANOPY_STRING,
  CANOPY_ARRAY,
  CANOPY_OBJECT
} canopy_type;

typedef struct canopy_json {
  canopy_type type;
  /* A string's characters; a number as it is written. */
  canopy_str text;
  /* The name, of a member of an object. */
  canopy_str key;
  /* Of an array or object. */
  struct canopy_json *first;
  /* The next in the same array or object. */
  struct canopy_json *next;
} canopy_json;

/* NULL for what is no JSON or is nested more than 64 deep. */
canopy_json *canopy_parse(canopy_str text);
/* NULL when there is none, or `of` is NULL or no object. */
const canopy_json *canopy_member(const canopy_json *of, const char *key);
/* `false` when it is NULL, something else, or out of range. */
bool canopy_string(const canopy_json *of, canopy_str *out);
bool canopy_bool(const canopy_json *of, bool *out);
bool canopy_int(const canopy_json *of, int64_t *out);
/* Exact up to 15 digits and powers of ten up to 22, else off by the last place at most. */
bool canopy_double(const canopy_json *of, double *out);

/* Called by the bindings when the core has read an answer. */
void canopy_end_of_call(void);

#endif
