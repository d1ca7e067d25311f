/* What ends a call: these stand in for the functions of the same name in the generated bindings, which free the
   pieces of an answer one by one. */

#include "canopy.h"

__attribute__((__export_name__("cabi_post_canopy:network/planning@1.0.0#init")))
void __wasm_export_exports_canopy_network_planning_init_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}

__attribute__((__export_name__("cabi_post_canopy:network/planning@1.0.0#validate")))
void __wasm_export_exports_canopy_network_planning_validate_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}

__attribute__((__export_name__("cabi_post_canopy:network/planning@1.0.0#plan-host")))
void __wasm_export_exports_canopy_network_planning_plan_host_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}
