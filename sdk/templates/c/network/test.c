#include "backend.h"
#include "canopy.h"
#include "check.h"

#define ID "00000007-0000-4000-8000-00000000000"

int main(void) {
  backend_string_t config = TEXT("{}"), err;
  backend_string_t kinds[] = {TEXT("antispoof@1"), TEXT("bridge@1")}, few[] = {TEXT("bridge@1")};
  backend_list_string_t all = LIST(kinds), one = LIST(few);
  CHECK(!exports_canopy_network_planning_init(&config, &one, &err));
  CHECK(exports_canopy_network_planning_init(&config, &all, &err));

  backend_string_t view = TEXT(
      "{\"v\": 1, \"networks\": [{\"id\": \"" ID "1\", \"segment\": 7, \"mtu\": 1500, \"subnets\": [], \"ports\": ["
      "{\"id\": \"" ID "3\", \"mac\": \"FA:16:3E:00:00:01\", \"fixed_ips\": [], \"port_security\": true,"
      " \"server_id\": null},"
      "{\"id\": \"" ID "4\", \"mac\": \"FA:16:3E:00:00:02\", \"fixed_ips\": [{\"ip_address\": \"10.0.0.5\"}],"
      " \"port_security\": true, \"server_id\": \"" ID "5\"}]}]}");
  exports_canopy_network_planning_list_item_t plan;
  CHECK(exports_canopy_network_planning_validate(&view, &err));
  CHECK(exports_canopy_network_planning_plan_host(&view, &plan, &err));
  CHECK(plan.len == 2);
  CHECK(canopy_is(CANOPY_STR(plan.ptr[0].kind), "bridge@1") && canopy_is(CANOPY_STR(plan.ptr[0].key), ID "1"));
  CHECK(canopy_is(CANOPY_STR(plan.ptr[0].body), "{\"mtu\":1500,\"name\":\"cnb7\"}"));
  CHECK(canopy_is(CANOPY_STR(plan.ptr[1].body),
                  "{\"ips\":[\"10.0.0.5\"],\"mac\":\"fa:16:3e:00:00:02\",\"tap\":\"cnt00000007000\"}"));

  backend_string_t newer = TEXT("{\"v\": 2, \"networks\": []}"),
                   large = TEXT("{\"v\": 1, \"networks\": [{\"segment\": 1000000000000}]}");
  CHECK(!exports_canopy_network_planning_validate(&newer, &err));
  CHECK(!exports_canopy_network_planning_validate(&large, &err));
  CHECK(!exports_canopy_network_planning_plan_host(&large, &plan, &err));
  puts("passed");
  return 0;
}
