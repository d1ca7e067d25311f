/* What ends a call: these stand in for the functions of the same name in the generated bindings, which free the
   pieces of an answer one by one. */

#include "canopy.h"

__attribute__((__export_name__("cabi_post_canopy:scheduler/scoring@1.0.0#init")))
void __wasm_export_exports_canopy_scheduler_scoring_init_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}

__attribute__((__export_name__("cabi_post_canopy:scheduler/scoring@1.0.0#score")))
void __wasm_export_exports_canopy_scheduler_scoring_score_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}

__attribute__((__export_name__("cabi_post_canopy:scheduler/scoring@1.0.0#explain")))
void __wasm_export_exports_canopy_scheduler_scoring_explain_post_return(uint8_t *answer) {
  (void)answer;
  canopy_end_of_call();
}
