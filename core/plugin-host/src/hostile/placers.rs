//! Faults of a placer: each is one explained fallback, and what it knows afterwards is true again.

use super::ground::fleet;
use super::guests::{install, placer};
use crate::{PluginHost, SchedulerPlugin};
use canopy_placement::{Decision, Engine, Request};
use canopy_types::DecisionId;
use serde_json::Value;
use std::sync::{Arc, Mutex};

fn load(component: &[u8]) -> Result<SchedulerPlugin, canopy_types::Error> {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "scheduler", component, "");
    PluginHost::new().unwrap().load_scheduler(dir.path(), Value::Null)
}

/// Three hosts of 64 vCPUs, which live as long as the test.
fn engine() -> Arc<Mutex<Engine>> {
    Arc::new(Mutex::new(Engine::new((*fleet(&["VCPU"])).clone())))
}

fn want(vcpus: i64) -> (DecisionId, Request) {
    (DecisionId::random(), Request { amounts: [("VCPU".to_owned(), vcpus)].into(), ..Request::default() })
}

async fn one(plugin: &SchedulerPlugin, engine: &Arc<Mutex<Engine>>, vcpus: i64) -> Decision {
    plugin.decide_in(engine, vec![want(vcpus)], false).await.remove(0)
}

fn assert_asked(decision: &Decision) {
    assert_eq!(decision.plugin.fault, None);
    assert_eq!(decision.winner_name.as_deref(), Some("host-1"));
}

#[tokio::test]
async fn every_mischief_costs_one_request_and_the_next_is_the_guests_again() {
    let first = |value: &str| format!("(i32.store (local.get $list) (i32.const {value}))");
    let corpus = [
        ("an endless loop", "deadline", "(loop $ever (br $ever))".to_owned()),
        ("a panic", "trap", "unreachable".into()),
        ("a recursion without end", "trap", "(drop (call $deep (i32.const 0)))".into()),
        ("a memory bomb", "memory", "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))) unreachable)".into()),
        ("a table bomb", "memory", "(loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 100000)))) unreachable)".into()),
        ("a host too many", "answer: 2 hosts for 1 requests", "(i32.store (i32.const 20) (i32.const 2))".into()),
        ("a host too few", "answer: 0 hosts for 1 requests", "(i32.store (i32.const 20) (i32.const 0))".into()),
        ("a list outside memory", "answer", "(i32.store (i32.const 16) (i32.const -16))".into()),
        ("a list of four thousand million", "answer", "(i32.store (i32.const 20) (i32.const -1))".into()),
        ("a host that is not there", "answer: host 3 of 3", first("3")),
        ("the last host but one that can be named", "answer: host 4294967294 of 3", first("-2")),
        ("no host where there are some", "answer: no host, where 3 are possible", first("-1")),
    ];
    for (what, fault, mischief) in corpus {
        let (plugin, engine) = (load(&placer("", &mischief)).unwrap(), engine());
        for round in 0..3 {
            assert_asked(&one(&plugin, &engine, 1).await);
            let decision = one(&plugin, &engine, 13).await;
            let named = decision.plugin.fault.clone().unwrap_or_default();
            assert!(named.starts_with(fault), "{what}, round {round}: {named}");
            assert_eq!(&*decision.plugin.name, "hostile");
            assert_eq!(decision.winner_name.as_deref(), Some("host-0"), "{what}: the built-in's");
        }
        assert_asked(&one(&plugin, &engine, 1).await);
        let counted: u64 = plugin.stats().unwrap().faults().iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 3, "{what}: {:?}", plugin.stats().unwrap().faults());
    }
}

#[tokio::test]
async fn a_host_that_is_full_is_not_filled_further() {
    let (plugin, engine) = (load(&placer("", "")).unwrap(), engine());
    let decisions = plugin.decide_in(&engine, vec![want(20), want(20), want(20), want(20)], false).await;
    decisions[..3].iter().for_each(assert_asked);
    let fault = decisions[3].plugin.fault.as_deref();
    assert_eq!(fault, Some("answer: capacity:VCPU: host-1 has 4 of 20 VCPU free"));
    assert_eq!(decisions[3].winner_name.as_deref(), Some("host-0"));
}

#[tokio::test]
async fn a_closed_host_and_a_forbidden_one_are_not_used() {
    let (plugin, engine) = (load(&placer("", "")).unwrap(), engine());
    let host = engine.lock().unwrap().fleet().hosts[1].id;
    let (id, request) = want(1);
    let forbidden = Request { forbidden_hosts: vec![host], ..request };
    let decisions = plugin.decide_in(&engine, vec![(id, forbidden)], false).await;
    let fault = decisions[0].plugin.fault.as_deref().unwrap();
    assert!(fault.starts_with("answer: host-forbidden: host-1"), "{fault}");
    let closed = canopy_placement::Change::Closed { host, closed: Some("disabled".into()) };
    engine.lock().unwrap().apply(&closed);
    let decision = one(&plugin, &engine, 1).await;
    assert!(decision.plugin.fault.unwrap().starts_with("answer: closed: host-1"));
}

#[tokio::test]
async fn a_trap_costs_its_whole_call_and_a_new_instance_goes_on() {
    // The third call of an instance traps.
    let third = "(if (i64.eq (local.get $epoch) (i64.const 3)) (then unreachable))";
    let component = placer("", third);
    let (plugin, engine) = (load(&component).unwrap(), engine());
    for round in 0..3 {
        for _ in 0..2 {
            let decision = one(&plugin, &engine, 13).await;
            assert_eq!(decision.plugin.fault, None, "round {round}");
        }
        let decisions = plugin.decide_in(&engine, vec![want(13), want(1)], false).await;
        for decision in decisions {
            assert!(decision.plugin.fault.as_deref().is_some_and(|fault| fault.starts_with("trap")));
        }
    }
}

#[tokio::test]
async fn one_that_cannot_begin_with_hosts_is_at_fault_each_time() {
    let refuses = "(if (local.get $hosts) (then unreachable))";
    let (plugin, engine) = (load(&placer(refuses, "")).unwrap(), engine());
    for _ in 0..2 {
        let decision = one(&plugin, &engine, 1).await;
        assert!(decision.plugin.fault.as_deref().is_some_and(|fault| fault.starts_with("trap")));
        assert_eq!(decision.winner_name.as_deref(), Some("host-0"));
    }
    let error = load(&placer("unreachable", "")).err().unwrap();
    assert_eq!(error.code, "plugin.config", "{error:?}");
}

#[tokio::test]
async fn a_question_on_a_snapshot_is_answered_too() {
    let plugin = load(&placer("", "")).unwrap();
    let (id, request) = want(1);
    let decision = plugin.decide(id, fleet(&["VCPU"]), request).await;
    assert_asked(&decision);
    assert!(decision.top.is_empty() && plugin.places());
}
