#include "canopy.h"
#include "check.h"
#include "scorer.h"

int main(void) {
  scorer_string_t config = TEXT("{\"weight\": 2.0}"), wrong = TEXT("{\"weight\": \"2\"}"), err;
  scorer_string_t names[] = {TEXT("MEMORY_MB"), TEXT("VCPU")}, other[] = {TEXT("DISK_GB")};
  scorer_list_string_t resources = LIST(names), others = LIST(other), none = {NULL, 0};
  CHECK(!exports_canopy_scheduler_scoring_init(&wrong, &resources, &none, &none, &err));
  CHECK(!exports_canopy_scheduler_scoring_init(&config, &others, &none, &none, &err));
  CHECK(exports_canopy_scheduler_scoring_init(&config, &resources, &none, &none, &err));

  /* Two hosts, column by column: memory of both, then virtual CPUs of both. */
  float wants[] = {1024, 2}, capacity[] = {65536, 65536, 32, 16}, room[] = {65536, 65536, 2, 16};
  exports_canopy_scheduler_scoring_class_t class = {.wants = LIST(wants)};
  exports_canopy_scheduler_scoring_columns_t columns = {.rows = 2, .capacity = LIST(capacity), .free = LIST(room)};
  scorer_list_f32_t scores;
  exports_canopy_scheduler_scoring_score(&class, &columns, &scores);
  CHECK(scores.len == 2 && scores.ptr[0] == 4 && scores.ptr[1] == 32);

  exports_canopy_scheduler_scoring_list_list_reason_t reasons;
  exports_canopy_scheduler_scoring_explain(&class, &columns, &reasons);
  CHECK(reasons.len == 2 && reasons.ptr[1].len == 1 && reasons.ptr[1].ptr[0].value == 32);
  CHECK(canopy_is(CANOPY_STR(reasons.ptr[1].ptr[0].code), "free-vcpus"));
  puts("passed");
  return 0;
}
