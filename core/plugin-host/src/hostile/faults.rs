//! Faults of a scorer that loaded well.

use super::ground::{self, decide, fleet};
use super::guests::scorer;
use crate::{PluginHost, SchedulerPlugin};
use canopy_placement::{Columns, Decision, Fleet, Host, Names, Request, ResourceColumn};
use canopy_types::{DecisionId, HostId};
use std::sync::Arc;

fn load(component: &[u8]) -> SchedulerPlugin {
    ground::load(&PluginHost::new().unwrap(), component).unwrap()
}

/// The guest's own choice.
fn assert_asked(decision: &Decision) {
    assert_eq!(decision.plugin.fault, None);
    assert_eq!(decision.winner_name.as_deref(), Some("host-1"));
}

/// The built-in's choice, with the fault named.
fn assert_fell_back(decision: &Decision, fault: &str) {
    let named = decision.plugin.fault.as_deref().unwrap();
    assert!(named.starts_with(fault), "{fault}: {named}");
    assert_eq!(&*decision.plugin.name, "hostile");
    assert_eq!(decision.winner_name.as_deref(), Some("host-0"));
}

#[tokio::test]
async fn every_mischief_costs_one_decision_and_the_next_is_the_guests_again() {
    let store_at_list = |value: &str| format!("(f32.store (local.get $list) {value})");
    let corpus = [
        ("an endless loop", "deadline", "(loop $ever (br $ever))".to_owned()),
        ("an endless loop with work in it", "deadline", "(loop $ever (f64.store (i32.const 32) (f64.sqrt (f64.load (i32.const 32)))) (br $ever))".into()),
        ("an endless chain of tail calls", "deadline", "(call $spin)".into()),
        ("a panic", "trap", "unreachable".into()),
        ("a division by zero", "trap", "(drop (i32.div_u (i32.const 1) (i32.const 0)))".into()),
        ("an access out of bounds", "trap", "(drop (i32.load (i32.const -8)))".into()),
        ("a recursion without end", "trap", "(drop (call $deep (i32.const 0)))".into()),
        ("a memory bomb", "memory", "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))) unreachable)".into()),
        ("all memory at once", "memory", "(if (i32.eq (i32.const -1) (memory.grow (i32.const 65000))) (then unreachable))".into()),
        ("a table bomb", "memory", "(loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 100000)))) unreachable)".into()),
        ("a score too many", "answer", "(i32.store (i32.const 20) (i32.add (local.get $rows) (i32.const 1)))".into()),
        ("a score too few", "answer", "(i32.store (i32.const 20) (i32.sub (local.get $rows) (i32.const 1)))".into()),
        ("no score at all", "answer", "(i32.store (i32.const 20) (i32.const 0))".into()),
        ("not a number", "answer", store_at_list("(f32.const nan)")),
        ("a signalling not-a-number", "answer", store_at_list("(f32.const nan:0x200000)")),
        ("a list outside memory", "answer", "(i32.store (i32.const 16) (i32.const -16))".into()),
        ("a list of four thousand million", "answer", "(i32.store (i32.const 20) (i32.const -1))".into()),
        ("a list at an odd address", "answer", "(i32.store (i32.const 16) (i32.const 65537))".into()),
        ("a result outside memory", "trap", "(return (i32.const -4))".into()),
    ];
    for (what, fault, mischief) in corpus {
        let plugin = load(&scorer("", &mischief, ""));
        for round in 0..3 {
            assert_asked(&decide(&plugin, 1).await);
            let decision = decide(&plugin, 13).await;
            let named = decision.plugin.fault.clone().unwrap_or_default();
            // What wasmtime calls a result outside memory is its own affair.
            let named = if fault == "trap" { named.replacen("answer:", "trap:", 1) } else { named };
            assert!(named.starts_with(fault), "{what}, round {round}: {named}");
            assert_fell_back(&decision, "");
        }
        assert_asked(&decide(&plugin, 1).await);
    }
}

#[tokio::test]
async fn a_guest_that_copes_without_the_memory_it_wanted_is_not_at_fault() {
    let plugin = load(&scorer("", "(drop (memory.grow (i32.const 65000)))", ""));
    assert_asked(&decide(&plugin, 13).await);
}

#[tokio::test]
async fn infinities_are_opinions_and_not_faults() {
    let plugin = load(&scorer("", "(f32.store (local.get $list) (f32.const -inf))", ""));
    let decision = decide(&plugin, 13).await;
    assert_asked(&decision);
    assert_eq!((decision.refused[0].rule.as_str(), decision.refused[0].hosts), ("veto", 1));
}

#[tokio::test]
async fn a_guest_that_refuses_new_names_falls_back_until_it_hears_the_old_ones() {
    let refuse = "(if (i32.eq (local.get $resources_len) (i32.const 1)) (then
        (i32.store8 (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.const 1024))
        (i32.store (i32.const 24) (i32.const 32))))";
    let plugin = load(&scorer(refuse, "", ""));
    let decision = decide(&plugin, 1).await;
    assert_fell_back(&decision, "init: this configuration is not for me");
    let request = Request { amounts: [("VCPU".to_owned(), 1)].into(), ..Request::default() };
    let fleet = fleet(&["VCPU", "MEMORY_MB", "DISK_GB"]);
    assert_asked(&plugin.decide(DecisionId::random(), fleet, request).await);
}

#[tokio::test]
async fn an_explanation_that_would_fill_the_hosts_memory_is_cut_off() {
    // Three rows that each claim the same 800,000 reasons.
    let explain = r#"
        (memory.fill (i32.const 1024) (i32.const 0) (i32.const 64))
        (drop (call $alloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 12800000)))
        (i32.store (i32.const 1024) (i32.const 65536)) (i32.store (i32.const 1028) (i32.const 800000))
        (i32.store (i32.const 1032) (i32.const 65536)) (i32.store (i32.const 1036) (i32.const 800000))
        (i32.store (i32.const 1040) (i32.const 65536)) (i32.store (i32.const 1044) (i32.const 800000))
        (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (local.get $rows))"#;
    let plugin = load(&scorer("", "", explain));
    let columns = Columns {
        names: Arc::new(Names { resources: vec!["VCPU".into()], signals: Vec::new() }),
        want: vec![1.0],
        hosts: vec![0, 1, 2],
        capacity: vec![8.0; 3],
        free: vec![8.0; 3],
        signals: Vec::new(),
    };
    let error = plugin.explain(columns).await.unwrap_err();
    assert!(error.message.contains("answer: ") && error.message.contains("fuel"), "{}", error.message);
    assert_asked(&decide(&plugin, 1).await);
}

#[tokio::test]
async fn a_fleet_larger_than_one_call_is_scored_in_full() {
    let plugin = load(&scorer("", "", ""));
    let hosts = 20_000;
    let host = |i: usize| Host::new(HostId::random(), format!("host-{i}"), "nova");
    let fleet = Fleet {
        revision: 1,
        hosts: (0..hosts).map(host).collect(),
        resources: vec![ResourceColumn::new("VCPU", vec![8; hosts], vec![0; hosts])],
        ..Fleet::default()
    };
    let request = Request { amounts: [("VCPU".to_owned(), 1)].into(), ..Request::default() };
    let decision = plugin.decide(DecisionId::random(), Arc::new(fleet), request).await;
    assert_asked(&decision);
    assert_eq!(decision.hosts_feasible, 20_000);
}

#[tokio::test]
async fn a_looping_guest_holds_up_nobody_for_long() {
    let plugin = load(&scorer("", "(loop $ever (br $ever))", ""));
    let started = std::time::Instant::now();
    let asked: Vec<_> = (0..64)
        .map(|_| {
            let p = plugin.clone();
            tokio::spawn(async move { decide(&p, 13).await })
        })
        .collect();
    let mut overloaded = 0;
    for decision in asked {
        let decision = decision.await.unwrap();
        assert_eq!(decision.winner_name.as_deref(), Some("host-0"));
        overloaded += usize::from(decision.plugin.fault.unwrap().starts_with("overload"));
    }
    // 64 deadlines in a row would be 6.4 s; whoever waited a second is let go.
    assert!(overloaded > 0, "nobody was let go");
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
