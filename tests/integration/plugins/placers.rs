//! The example placer as a component: fit, and the same as its algorithm natively, call for call.

#[allow(dead_code, reason = "shared with the simulator")]
#[path = "../../../core/sim/src/bestfit.rs"]
mod bestfit;

use super::{built, varied};
use bestfit::NativeBestFit;
use canopy_placement::{Change, Engine, GroupPolicy, GroupRule, Request, Scorer};
use canopy_plugin_host::{Package, PluginHost};
use canopy_types::{DecisionId, HostId};
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn the_example_is_fit_and_says_what_it_is() {
    let package = Package::read(&built("placer-bestfit")).unwrap();
    let found = PluginHost::new().unwrap().inspect(&package, Value::Null);
    assert!(found.is_fit(), "{found:?}");
    assert!(found.held.iter().any(|rule| rule.starts_with("it is a placer")), "{found:?}");
    assert!(found.exports.iter().any(|name| name == "canopy:scheduler/placing@1.0.0"), "{found:?}");
    let error = PluginHost::new().unwrap().start_scorer(&package, json!({"by": "small letters"})).err();
    assert_eq!(error.unwrap().code, "plugin.config");
}

fn request(n: i64) -> Request {
    let amounts = [("VCPU", 1 + n % 3), ("MEMORY_MB", 1024 * (1 + n % 5)), ("DISK_GB", n % 2 * 10)];
    let policies = [GroupPolicy::SoftAffinity, GroupPolicy::SoftAntiAffinity, GroupPolicy::AntiAffinity];
    let group = GroupRule { id: format!("g{}", n % 4), policy: policies[n as usize % 3], max_per_host: 2 };
    Request {
        amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
        zone: (n % 4 == 0).then(|| "a".to_owned()),
        group: (n % 9 == 0).then_some(group),
        ..Request::default()
    }
}

/// Rounds of many sizes, some of whose claims fail; between them another controller's servers come, and hosts close.
fn decided(placer: &mut dyn Scorer) -> Vec<Option<HostId>> {
    let mut engine = Engine::new(varied(300));
    let (mut winners, mut n) = (Vec::new(), 0);
    for round in 0..40_usize {
        let requests = (0..1 + round * 5 % 90).map(|_| {
            n += 1;
            (DecisionId::random(), Arc::new(request(n)))
        });
        let batch: Vec<_> = requests.collect();
        engine.foresee(batch.iter().cloned());
        for (at, (id, request)) in batch.iter().enumerate() {
            let decision = engine.decide(*id, request, placer);
            assert_eq!(decision.plugin.fault, None, "round {round}: {request:?}");
            if let Some(host) = decision.winner.filter(|_| at % 7 != 3) {
                engine.take(host, request, 1);
            }
            winners.push(decision.winner);
        }
        let host = engine.fleet().hosts[round * 7 % 300].id;
        engine.apply(&Change::Used { host, class: "VCPU".into(), delta: 2 });
        let closed = round.is_multiple_of(2).then(|| "disabled".to_owned());
        engine.apply(&Change::Closed { host, closed });
    }
    winners
}

#[test]
fn the_component_and_its_native_twin_decide_alike() {
    let mut component =
        PluginHost::new().unwrap().load_scorer(&built("placer-bestfit"), Value::Null).unwrap();
    let there = decided(&mut component);
    assert!(there.len() > 1_000 && there.iter().filter(|winner| winner.is_some()).count() > 500);
    assert_eq!(there, decided(&mut NativeBestFit::default()));
}
