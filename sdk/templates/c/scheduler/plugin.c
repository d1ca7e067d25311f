/* Which of the possible hosts is better: here, the one with the most virtual CPUs left. */

#include "canopy.h"
#include "scorer.h"

/* Where VCPU stands among the resource classes. */
static size_t vcpu;
/* Multiplies every score; an operator may set it, plugin.toml has the schema and the default. */
static float weight;

bool exports_canopy_scheduler_scoring_init(scorer_string_t *config, scorer_list_string_t *resources,
                                           scorer_list_string_t *traits, scorer_list_string_t *signals,
                                           scorer_string_t *err) {
  (void)traits, (void)signals;
  double number;
  if (!canopy_double(canopy_member(canopy_parse(CANOPY_STR(*config)), "weight"), &number)) {
    CANOPY_GIVE(err, CANOPY_LIT("configuration: `weight` must be a number"));
    return false;
  }
  weight = (float)number;
  for (vcpu = 0; vcpu < resources->len; vcpu++) {
    if (canopy_is(CANOPY_STR(resources->ptr[vcpu]), "VCPU")) return true;
  }
  CANOPY_GIVE(err, CANOPY_LIT("this cloud counts no VCPU"));
  return false;
}

/* One score a host, by that host alone. Minus infinity is a veto. */
void exports_canopy_scheduler_scoring_score(exports_canopy_scheduler_scoring_class_t *class_,
                                            exports_canopy_scheduler_scoring_columns_t *columns,
                                            scorer_list_f32_t *ret) {
  (void)class_;
  const float *free_vcpus = columns->free.ptr + vcpu * columns->rows;
  ret->len = columns->rows;
  ret->ptr = canopy_take(ret->len, sizeof *ret->ptr);
  for (size_t row = 0; row < ret->len; row++) ret->ptr[row] = free_vcpus[row] * weight;
}

/* Why: at most 16 reasons a host. */
void exports_canopy_scheduler_scoring_explain(exports_canopy_scheduler_scoring_class_t *class_,
                                              exports_canopy_scheduler_scoring_columns_t *columns,
                                              exports_canopy_scheduler_scoring_list_list_reason_t *ret) {
  scorer_list_f32_t scores;
  exports_canopy_scheduler_scoring_score(class_, columns, &scores);
  ret->len = scores.len;
  ret->ptr = canopy_take(ret->len, sizeof *ret->ptr);
  for (size_t row = 0; row < ret->len; row++) {
    exports_canopy_scheduler_scoring_reason_t *reason = canopy_take(1, sizeof *reason);
    CANOPY_GIVE(&reason->code, CANOPY_LIT("free-vcpus"));
    reason->value = scores.ptr[row];
    ret->ptr[row].ptr = reason;
    ret->ptr[row].len = 1;
  }
}
