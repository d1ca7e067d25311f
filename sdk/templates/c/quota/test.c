#include "canopy_quota.h"
#include "check.h"

/* The project uses 2 of 10 instances and 18 of 20 cores; two claims of so many. */
static exports_canopy_quota_limits_list_verdict_t ask(int64_t instances, int64_t cores, int64_t more_cores) {
  exports_canopy_quota_limits_countable_t countables[] = {{.name = TEXT("instances")}, {.name = TEXT("cores")}};
  exports_canopy_quota_limits_holder_t holders[] = {{.id = TEXT("project")}};
  uint32_t row_holders[] = {0, 0}, row_resources[] = {0, 1};
  int64_t limits[] = {10, 20}, used[] = {2, 18};
  exports_canopy_quota_limits_book_t book = {LIST(countables),    LIST(holders), LIST(row_holders),
                                             LIST(row_resources), LIST(limits),  LIST(used)};
  rule_string_t users[] = {TEXT("user"), TEXT("user")}, zones[] = {TEXT(""), TEXT("")};
  uint32_t claim[] = {0, 0, 1}, resource[] = {0, 1, 1};
  int64_t amount[] = {instances, cores, more_cores};
  exports_canopy_quota_limits_claims_t claims = {.users = LIST(users),
                                                 .zones = LIST(zones),
                                                 .charge_claims = LIST(claim),
                                                 .charge_resources = LIST(resource),
                                                 .charge_amounts = LIST(amount)};
  exports_canopy_quota_limits_list_verdict_t verdicts;
  exports_canopy_quota_limits_check(&book, &claims, &verdicts);
  CHECK(verdicts.len == 2);
  return verdicts;
}

int main(void) {
  rule_string_t config = TEXT("{\"at_once\": 3}"), wrong = TEXT("{\"at_once\": 0}"), err;
  CHECK(!exports_canopy_quota_limits_init(&wrong, &err));
  CHECK(exports_canopy_quota_limits_init(&config, &err));

  /* Two cores are left: what is allowed counts for the next claim, what is denied does not. */
  exports_canopy_quota_limits_list_verdict_t verdicts = ask(3, 2, 1);
  CHECK(verdicts.ptr[0].tag == EXPORTS_CANOPY_QUOTA_LIMITS_VERDICT_ALLOW);
  CHECK(canopy_is(CANOPY_STR(verdicts.ptr[1].val.deny.reason),
                  "Quota exceeded for cores: Requested 1, but already used 20 of 20 cores"));
  verdicts = ask(4, 1, 2);
  CHECK(canopy_is(CANOPY_STR(verdicts.ptr[0].val.deny.reason), "At most 3 servers may be created at once"));
  CHECK(verdicts.ptr[1].tag == EXPORTS_CANOPY_QUOTA_LIMITS_VERDICT_ALLOW);
  puts("passed");
  return 0;
}
