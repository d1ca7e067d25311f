/* A quota rule sees one claim at a time. canopy_decide keeps the book: what was allowed is used for the next claim. */
#ifndef CANOPY_QUOTA_H
#define CANOPY_QUOTA_H

#include "canopy.h"
#include "rule.h"

/* One claim, with what the project, those above it and the user may use and do use. */
typedef struct {
  exports_canopy_quota_limits_book_t *book;
  const exports_canopy_quota_limits_claims_t *claims;
  size_t claim;
} canopy_question;

/* What a claim asks of one resource in total. */
typedef struct {
  /* Index of the book's resources. */
  uint32_t resource;
  canopy_str name;
  int64_t amount;
  /* The sum leaves the range of an int64_t. */
  bool too_many;
} canopy_asked;

/* Limit and usage of one holder. */
typedef struct {
  exports_canopy_quota_limits_holder_kind_t kind;
  canopy_str id;
  /* -1 means no limit. */
  int64_t limit;
  /* Without the claim that is asked about. */
  int64_t used;
} canopy_row;

typedef struct {
  bool denied;
  /* One that the claim asks for. */
  canopy_str resource;
  /* Shown to the client: 1 to 1,024 bytes of printable text. */
  canopy_str reason;
} canopy_verdict;

typedef canopy_verdict (*canopy_rule)(const canopy_question *question);

/* The project that asks; `user:<id>` for key pairs. */
canopy_str canopy_project(const canopy_question *question);
canopy_str canopy_user(const canopy_question *question);
/* Empty when what is wanted has no zone. */
canopy_str canopy_zone(const canopy_question *question);
/* In the order of first mention; the number of them. */
size_t canopy_all_asked(const canopy_question *question, canopy_asked **out);
/* The next row that bounds a resource for this claim: the project's first, then those above it, then the user's.
   Begin with *from = 0; `false` when there are no more. */
bool canopy_next_bound(const canopy_question *question, uint32_t resource, size_t *from, canopy_row *out);
/* What the project, or this user in it, holds of a resource in the zone that is asked for. */
int64_t canopy_held_in_zone(const canopy_question *question, exports_canopy_quota_limits_holder_kind_t kind,
                            uint32_t resource);
/* The first value of an attribute; `false` when there is none. */
bool canopy_attribute(const canopy_question *question, const char *name, canopy_str *out);
/* What OpenStack's limits say: -1 is none, and used + asked must not exceed any that bounds the claim. A resource
   without a row of the project's is as if unlimited, or with `strict` as if its limit were 0. */
canopy_verdict canopy_over_limit(const canopy_question *question, bool strict);

/* The answer of `check`: `rule` on each claim, in order. Writes to the book. */
void canopy_decide(exports_canopy_quota_limits_book_t *book, const exports_canopy_quota_limits_claims_t *claims,
                   canopy_rule rule, exports_canopy_quota_limits_list_verdict_t *ret);

#endif
