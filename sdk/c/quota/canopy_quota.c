/* The book of one call. The same semantics as canopy_sdk::quota in Rust; a test holds the two together. */

#include "canopy_quota.h"

enum { NAMED = 8, REASON = 1024, NAME = 64, USER = EXPORTS_CANOPY_QUOTA_LIMITS_HOLDER_KIND_USER };

static const exports_canopy_quota_limits_holder_t *holder_of(const canopy_question *q, size_t row) {
  uint32_t at = q->book->row_holders.ptr[row];
  return at < q->book->holders.len ? &q->book->holders.ptr[at] : NULL;
}

/* Whether a row is about something that the claim adds to. */
static bool concerns(const canopy_question *q, size_t row) {
  const exports_canopy_quota_limits_holder_t *holder = holder_of(q, row);
  if (!holder) return false;
  if (holder->kind == USER && !canopy_same(CANOPY_STR(holder->id), canopy_user(q))) return false;
  return !holder->zone.len || canopy_same(CANOPY_STR(holder->zone), canopy_zone(q));
}

canopy_str canopy_project(const canopy_question *q) {
  return q->book->holders.len ? CANOPY_STR(q->book->holders.ptr[0].id) : CANOPY_LIT("");
}

canopy_str canopy_user(const canopy_question *q) { return CANOPY_STR(q->claims->users.ptr[q->claim]); }

canopy_str canopy_zone(const canopy_question *q) { return CANOPY_STR(q->claims->zones.ptr[q->claim]); }

size_t canopy_all_asked(const canopy_question *q, canopy_asked **out) {
  const exports_canopy_quota_limits_claims_t *claims = q->claims;
  size_t count = 0, most = 0;
  for (size_t i = 0; i < claims->charge_claims.len; i++) most += claims->charge_claims.ptr[i] == q->claim;
  canopy_asked *all = *out = canopy_take(most, sizeof *all);
  for (size_t i = 0; i < claims->charge_claims.len; i++) {
    if (claims->charge_claims.ptr[i] != q->claim) continue;
    uint32_t resource = claims->charge_resources.ptr[i];
    size_t at = 0;
    while (at < count && all[at].resource != resource) at++;
    if (at == count) {
      canopy_str name = resource < q->book->resources.len ? CANOPY_STR(q->book->resources.ptr[resource].name)
                                                          : CANOPY_LIT("");
      all[count++] = (canopy_asked){.resource = resource, .name = name};
    }
    if (!all[at].too_many) {
      all[at].too_many = __builtin_add_overflow(all[at].amount, claims->charge_amounts.ptr[i], &all[at].amount);
    }
  }
  return count;
}

/* The next row of a resource that concerns the claim, in all zones together or in its own. */
static bool next_row(const canopy_question *q, uint32_t resource, bool zoned, size_t *from, canopy_row *out) {
  for (; *from < q->book->row_resources.len; (*from)++) {
    size_t row = *from;
    if (q->book->row_resources.ptr[row] != resource || !concerns(q, row)) continue;
    const exports_canopy_quota_limits_holder_t *holder = holder_of(q, row);
    if (zoned ? !canopy_same(CANOPY_STR(holder->zone), canopy_zone(q)) : holder->zone.len > 0) continue;
    *out = (canopy_row){holder->kind, CANOPY_STR(holder->id), q->book->limits.ptr[row], q->book->used.ptr[row]};
    (*from)++;
    return true;
  }
  return false;
}

bool canopy_next_bound(const canopy_question *q, uint32_t resource, size_t *from, canopy_row *out) {
  return next_row(q, resource, false, from, out);
}

int64_t canopy_held_in_zone(const canopy_question *q, exports_canopy_quota_limits_holder_kind_t kind,
                            uint32_t resource) {
  canopy_row row;
  for (size_t from = 0; next_row(q, resource, true, &from, &row);) {
    if (row.kind == kind) return row.used;
  }
  return 0;
}

bool canopy_attribute(const canopy_question *q, const char *name, canopy_str *out) {
  for (size_t i = 0; i < q->claims->attribute_claims.len; i++) {
    if (q->claims->attribute_claims.ptr[i] == q->claim && canopy_is(CANOPY_STR(q->claims->attribute_names.ptr[i]), name)) {
      *out = CANOPY_STR(q->claims->attribute_values.ptr[i]);
      return true;
    }
  }
  return false;
}

/* Giving back never exceeds, even over the limit; a sum out of range always does. */
static bool exceeds(const canopy_row *row, const canopy_asked *asked) {
  int64_t total;
  if (row->limit < 0) return false;
  if (asked->too_many) return true;
  if (asked->amount <= 0) return false;
  return __builtin_add_overflow(row->used, asked->amount, &total) || total > row->limit;
}

typedef struct {
  const canopy_asked *asked;
  canopy_row row;
} over_t;

static canopy_str names_of(const over_t *over, size_t count) {
  canopy_text text = {0};
  for (size_t i = 0; i < count && i < NAMED; i++) {
    if (i) canopy_put(&text, CANOPY_LIT(", "));
    canopy_put(&text, canopy_start(over[i].asked->name, NAME));
  }
  return canopy_done(&text);
}

static canopy_str numbers_of(const over_t *over, size_t count, int64_t (*of)(const over_t *)) {
  canopy_text text = {0};
  for (size_t i = 0; i < count && i < NAMED; i++) {
    if (i) canopy_put(&text, CANOPY_LIT(", "));
    canopy_put_int(&text, of(&over[i]));
  }
  return canopy_done(&text);
}

static int64_t used_of(const over_t *over) { return over->row.used; }
static int64_t limit_of(const over_t *over) { return over->row.limit; }

/* The sentence that nova's clients know, and whose limit it is when it is not the project's own. */
static canopy_str reason_of(const over_t *over, size_t count) {
  canopy_text text = {0};
  canopy_str names = names_of(over, count);
  canopy_put(&text, CANOPY_LIT("Quota exceeded for "));
  canopy_put(&text, names);
  canopy_put(&text, CANOPY_LIT(": Requested "));
  for (size_t i = 0; i < count && i < NAMED; i++) {
    if (i) canopy_put(&text, CANOPY_LIT(", "));
    if (over[i].asked->too_many) canopy_put(&text, CANOPY_LIT("too many"));
    else canopy_put_int(&text, over[i].asked->amount);
  }
  canopy_put(&text, CANOPY_LIT(", but already used "));
  canopy_put(&text, numbers_of(over, count, used_of));
  canopy_put(&text, CANOPY_LIT(" of "));
  canopy_put(&text, numbers_of(over, count, limit_of));
  canopy_put(&text, CANOPY_LIT(" "));
  canopy_put(&text, names);
  if (over[0].row.kind == EXPORTS_CANOPY_QUOTA_LIMITS_HOLDER_KIND_ANCESTOR) {
    canopy_put(&text, CANOPY_LIT(" of all projects under "));
    canopy_put(&text, canopy_start(over[0].row.id, NAME));
  } else if (over[0].row.kind == USER) {
    canopy_put(&text, CANOPY_LIT(" of this user"));
  }
  if (text.len <= REASON) return canopy_done(&text);
  canopy_text brief = {0};
  canopy_put(&brief, CANOPY_LIT("Quota exceeded for "));
  canopy_put_int(&brief, (int64_t)count);
  canopy_put(&brief, CANOPY_LIT(" resources"));
  return canopy_done(&brief);
}

/* Whether the project has a row of the resource. */
static bool listed(const canopy_question *q, uint32_t resource) {
  canopy_row row;
  for (size_t from = 0; canopy_next_bound(q, resource, &from, &row);) {
    if (row.kind == EXPORTS_CANOPY_QUOTA_LIMITS_HOLDER_KIND_PROJECT) return true;
  }
  return false;
}

canopy_verdict canopy_over_limit(const canopy_question *q, bool strict) {
  canopy_asked *asked;
  size_t resources = canopy_all_asked(q, &asked), count = 0;
  over_t *over = canopy_take(resources, sizeof *over);
  for (size_t i = 0; i < resources; i++) {
    canopy_row row = {.kind = EXPORTS_CANOPY_QUOTA_LIMITS_HOLDER_KIND_PROJECT, .id = CANOPY_LIT("")};
    bool found = strict && !listed(q, asked[i].resource) && exceeds(&row, &asked[i]);
    for (size_t from = 0; !found && canopy_next_bound(q, asked[i].resource, &from, &row);) {
      found = exceeds(&row, &asked[i]);
    }
    if (found) over[count++] = (over_t){&asked[i], row};
  }
  if (!count) return (canopy_verdict){.denied = false};
  return (canopy_verdict){true, over[0].asked->name, reason_of(over, count)};
}

static void add(canopy_question *q) {
  for (size_t i = 0; i < q->claims->charge_claims.len; i++) {
    uint32_t resource = q->claims->charge_resources.ptr[i];
    if (q->claims->charge_claims.ptr[i] != q->claim || resource >= q->book->resources.len ||
        q->book->resources.ptr[resource].per_claim)
      continue;
    int64_t amount = q->claims->charge_amounts.ptr[i];
    for (size_t row = 0; row < q->book->row_resources.len; row++) {
      int64_t *used = &q->book->used.ptr[row];
      if (q->book->row_resources.ptr[row] != resource || !concerns(q, row)) continue;
      if (__builtin_add_overflow(*used, amount, used)) *used = amount < 0 ? INT64_MIN : INT64_MAX;
    }
  }
}

void canopy_decide(exports_canopy_quota_limits_book_t *book, const exports_canopy_quota_limits_claims_t *claims,
                   canopy_rule rule, exports_canopy_quota_limits_list_verdict_t *ret) {
  canopy_question question = {book, claims, 0};
  ret->len = claims->users.len;
  ret->ptr = canopy_take(ret->len, sizeof *ret->ptr);
  for (; question.claim < ret->len; question.claim++) {
    canopy_verdict verdict = rule(&question);
    exports_canopy_quota_limits_verdict_t *into = &ret->ptr[question.claim];
    if (!verdict.denied) {
      into->tag = EXPORTS_CANOPY_QUOTA_LIMITS_VERDICT_ALLOW;
      add(&question);
      continue;
    }
    into->tag = EXPORTS_CANOPY_QUOTA_LIMITS_VERDICT_DENY;
    CANOPY_GIVE(&into->val.deny.resource, verdict.resource);
    CANOPY_GIVE(&into->val.deny.reason, verdict.reason);
  }
}
