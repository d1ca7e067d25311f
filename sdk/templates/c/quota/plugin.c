/* May this project have more: here, whatever its limits allow, but few servers at once. */

#include "canopy_quota.h"

/* Servers in one request; an operator may set it, plugin.toml has the schema and the default. */
static int64_t at_once;

bool exports_canopy_quota_limits_init(rule_string_t *config, rule_string_t *err) {
  if (!canopy_int(canopy_member(canopy_parse(CANOPY_STR(*config)), "at_once"), &at_once) || at_once < 1) {
    CANOPY_GIVE(err, CANOPY_LIT("`at_once` must be above 0"));
    return false;
  }
  return true;
}

/* One claim. */
static canopy_verdict check(const canopy_question *question) {
  canopy_asked *asked;
  size_t count = canopy_all_asked(question, &asked);
  for (size_t i = 0; i < count; i++) {
    if (canopy_is(asked[i].name, "instances") && (asked[i].too_many || asked[i].amount > at_once)) {
      canopy_text reason = {0};
      canopy_put(&reason, CANOPY_LIT("At most "));
      canopy_put_int(&reason, at_once);
      canopy_put(&reason, CANOPY_LIT(" servers may be created at once"));
      return (canopy_verdict){true, asked[i].name, canopy_done(&reason)};
    }
  }
  /* What limits mean in OpenStack: the project's, those above it, the user's. */
  return canopy_over_limit(question, false);
}

void exports_canopy_quota_limits_check(exports_canopy_quota_limits_book_t *book,
                                       exports_canopy_quota_limits_claims_t *claims,
                                       exports_canopy_quota_limits_list_verdict_t *ret) {
  canopy_decide(book, claims, check, ret);
}
