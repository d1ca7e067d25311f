//! Names on a host that the agents of several clouds share.
//!
//! Every controller numbers its servers and networks from 1, so what is named by these numbers alone (guests,
//! bridges) would meet on one host. An agent with a scope of its own gives them names of its own: the guest's
//! name carries the scope, and the devices' numbers begin with digits made of it. What clients see
//! (`OS-EXT-SRV-ATTR:instance_name`) stays as the controller says.

use canopy_agent_api::Desired;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Controllers hand out smaller segments; a larger one keeps its number.
const SEGMENTS: i64 = 100_000_000;
/// So many different beginnings, of four digits: with `SEGMENTS` behind, a device's name has 15 characters.
const BEGINNINGS: u64 = 9_000;

/// The name of a guest in the hypervisor.
pub fn domain_name(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{name}-{scope}") }
}

/// The desired state with the numbers that devices have on this host.
pub fn on_host(mut desired: Arc<Desired>, scope: &str) -> Arc<Desired> {
    if !scope.is_empty() {
        for network in &mut Arc::make_mut(&mut desired).networks {
            network.segment = segment(scope, network.segment);
        }
    }
    desired
}

fn segment(scope: &str, segment: i64) -> i64 {
    if !(0..SEGMENTS).contains(&segment) {
        return segment;
    }
    let digest = Sha256::digest(scope);
    let number = digest.iter().take(7).fold(0, |number, byte| number << 8 | u64::from(*byte));
    // Below 10,000, and so no overflow.
    (1_000 + i64::try_from(number % BEGINNINGS).unwrap_or(0)) * SEGMENTS + segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use canopy_agent_api::bridge_name;

    #[test]
    fn two_scopes_share_no_name_and_none_changes_nothing() {
        let (_, networks) = testing::spec_with_network();
        let desired = Arc::new(Desired { revision: 1, servers: vec![], networks });
        assert_eq!(on_host(Arc::clone(&desired), ""), desired);
        let segment = |scope| on_host(Arc::clone(&desired), scope).networks[0].segment;
        assert_ne!(segment("a"), segment("b"));
        assert_eq!(segment("a"), segment("a"), "over restarts too");
        assert_eq!(bridge_name(segment("a")).len(), 15);
        assert_eq!(super::segment("a", 16_777_215).to_string().len(), 12);
        assert_eq!(super::segment("a", SEGMENTS), SEGMENTS);
        assert_eq!(domain_name("", "instance-00000001"), "instance-00000001");
        assert_eq!(domain_name("a", "instance-00000001"), "instance-00000001-a");
    }
}
