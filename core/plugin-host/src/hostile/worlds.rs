//! Faults of quota rules and network backends.

use super::guests::{backend, cluster_backend, install, rule};
use crate::{
    Book, Charge, Claim, ClusterNetwork, Countable, Holder, HolderKind, NetworkPlugin, PluginHost,
    QuotaPlugin, QuotaQuestion, Row, Verdict,
};
use canopy_agent_api::{NetworkSpec, ProviderSpec};
use canopy_types::UserId;
use serde_json::{Value, json};

const NETWORK: &str = "11111111-2222-4333-8444-555555555555";

fn load_rule(check: &str) -> QuotaPlugin {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "quota", &rule(check), "");
    PluginHost::new().unwrap().load_quota(dir.path(), Value::Null).unwrap()
}

/// 18 of 20 cores are used.
fn question(charges: Vec<Charge>) -> QuotaQuestion {
    let claim = Claim {
        user_id: UserId::random(),
        zone: "nova".into(),
        charges,
        attributes: vec![("flavor".into(), "small".into())],
    };
    let book = Book {
        resources: vec![Countable { name: "cores".into(), per_claim: false }],
        holders: vec![Holder { kind: HolderKind::Project, id: "p".into(), zone: String::new() }],
        rows: vec![Row { holder: 0, resource: 0, limit: 20, used: 18 }],
    };
    QuotaQuestion { book, claims: vec![claim] }
}

async fn ask(plugin: &QuotaPlugin, amount: i64) -> Verdict {
    plugin.check(question(vec![Charge { resource: 0, amount }])).await.remove(0)
}

/// Stores `values` as words from an address on.
fn words_at(address: usize, values: &[i64]) -> String {
    let store = |(i, value): (usize, &i64)| {
        format!("(i32.store (i32.const {}) (i32.const {value}))", address + 4 * i)
    };
    values.iter().enumerate().map(store).collect()
}

/// Stores `values` where an answer lies.
fn words(values: &[i64]) -> String {
    words_at(16, values)
}

/// Stores `values` where the one verdict of a rule lies.
fn verdict(values: &[i64]) -> String {
    words_at(64, values)
}

#[tokio::test]
async fn a_verdict_is_the_guests_when_it_keeps_the_contract() {
    // Denies "cores" (1024, 5 bytes) because "no" (1029, 2 bytes), whatever the limit.
    let plugin = load_rule(&verdict(&[1, 1024, 5, 1029, 2]));
    assert_eq!(ask(&plugin, 1).await, Verdict::Deny { resource: "cores".into(), reason: "no".into() });
    assert_eq!(ask(&load_rule(&verdict(&[0])), 1000).await, Verdict::Allow);
}

#[tokio::test]
async fn a_rule_at_fault_is_replaced_by_the_limit_check() {
    for check in [
        "unreachable",
        "(loop $ever (br $ever))",
        "(if (i32.eq (i32.const -1) (memory.grow (i32.const 65000))) (then unreachable))",
        // No such verdict; a denial of what was not asked for; without a reason; reasons that are no text.
        &verdict(&[7]),
        &verdict(&[1, 1025, 4, 1029, 2]),
        &verdict(&[1, 1024, 5, 1029, 0]),
        &verdict(&[1, 1024, 5, 1029, 64]),
        &verdict(&[1, 1024, 5, -16, 1024]),
        &verdict(&[1, 1024, 5, 0, 60_000]),
        // No verdict, two, and more than there is memory for.
        &words(&[64, 0]),
        &words(&[64, 2]),
        &words(&[64, 1 << 24]),
    ] {
        let plugin = load_rule(check);
        for _ in 0..2 {
            assert_eq!(ask(&plugin, 2).await, Verdict::Allow, "{check}");
            let Verdict::Deny { reason, .. } = ask(&plugin, 5).await else { panic!("{check}: allowed") };
            assert_eq!(reason, "Quota exceeded for cores: Requested 5, but already used 18 of 20 cores");
        }
    }
}

#[tokio::test]
async fn more_rows_than_the_contract_has_are_not_sent() {
    let charges = vec![Charge { resource: 0, amount: 0 }; 10_001];
    // The guest would deny.
    let verdicts = load_rule(&verdict(&[1, 1024, 5, 1029, 2])).check(question(charges)).await;
    assert_eq!(verdicts, [Verdict::Allow]);
}

fn load_backend(plan: &str) -> NetworkPlugin {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "network", &backend(plan), "");
    PluginHost::new().unwrap().load_network(dir.path(), Value::Null).unwrap()
}

fn networks() -> Vec<NetworkSpec> {
    let network = json!({"id": NETWORK, "project_id": "0".repeat(32), "segment": 1, "mtu": 1500, "dns_domain": "",
                         "subnets": [], "ports": []});
    vec![serde_json::from_value(network).unwrap()]
}

/// One item: kind at 1024 (8 bytes), an empty body at 1032 (2 bytes), key at 1034 (36 bytes), body at 1070 (26 bytes), unless
/// said otherwise.
fn one(kind: (i64, i64), key: (i64, i64), body: (i64, i64)) -> String {
    words_at(64, &[kind.0, kind.1, key.0, key.1, body.0, body.1]) + &words(&[0, 64, 1])
}

#[tokio::test]
async fn a_plan_is_taken_whole_or_not_at_all() {
    let good = load_backend(&one((1024, 8), (1034, 36), (1070, 26)));
    let plan = good.plan_host(networks()).await.unwrap();
    assert_eq!(
        (plan[0].kind.as_str(), plan[0].key.as_str(), plan[0].body.as_str()),
        ("bridge@1", NETWORK, r#"{"mtu":1500,"name":"cnb1"}"#)
    );
    // The same answer for a host without networks is about nothing.
    assert_eq!(good.plan_host(Vec::new()).await.unwrap_err().code, "plugin.fault");
    assert!(good.validate(networks()).await.is_ok());

    for (plan, why) in [
        (one((1024, 7), (1034, 36), (1070, 26)), "is unknown here"),
        (one((1024, 8), (1034, 35), (1070, 26)), "nothing on this host"),
        (one((1024, 8), (1034, 36), (1070, 25)), "no JSON"),
        // A body that is not of its kind never gets to an agent.
        (one((1024, 8), (1034, 36), (1032, 2)), "does not fit the kind"),
        // A plan of 20,001 items, all of the same.
        (words_at(64, &[1024, 8, 1034, 36, 1070, 26]) + &words(&[0, 1024, 20_001]), "answer"),
        (one((1024, 8), (1034, 36), (-16, 1024)), "answer"),
        (words(&[0, 1024, -1]), "answer"),
        ("unreachable".to_owned(), "trap"),
        ("(loop $ever (br $ever))".to_owned(), "deadline"),
    ] {
        let error = load_backend(&plan).plan_host(networks()).await.unwrap_err();
        assert_eq!(error.code, "plugin.fault");
        assert!(error.message.contains(why), "{plan}: {}", error.message);
    }
}

#[tokio::test]
async fn a_backends_no_is_told_as_its_own() {
    let error = load_backend(&words(&[1, 1024, 8])).plan_host(networks()).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("network.refused", "Plugin hostile refuses: bridge@1"));
}

/// One assignment: kind at 2048 (9 bytes), body at 2057 (24 bytes) or a malformed one at 2081 (22 bytes), the key of an
/// item.
fn place(kind: (i64, i64), key: (i64, i64), body: (i64, i64)) -> String {
    one(kind, key, body)
}

fn load_cluster_backend(mischief: &str, places: &str) -> NetworkPlugin {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "network", &cluster_backend(mischief, places), "");
    PluginHost::new().unwrap().load_network(dir.path(), Value::Null).unwrap()
}

fn cluster(provider: Option<ProviderSpec>) -> Vec<ClusterNetwork> {
    let id = NETWORK.parse().unwrap();
    vec![ClusterNetwork { id, project_id: "p".into(), mtu: 1500, provider }]
}

#[tokio::test]
async fn places_are_taken_whole_or_not_at_all_and_each_fault_is_one_explained_error() {
    let good = load_cluster_backend("", &place((2048, 9), (1034, 36), (2057, 24)));
    assert!(good.places() && good.plan_host(Vec::new()).await.is_ok());
    let x = ProviderSpec { physical_network: "x".into(), segmentation_id: None };
    let places = good.plan_cluster(cluster(None)).await.unwrap();
    assert_eq!(places, [(NETWORK.parse().unwrap(), x.clone())].into());
    // The same answer about a network that has a place already.
    assert_eq!(good.plan_cluster(cluster(Some(x))).await.unwrap_err().code, "plugin.fault");
    assert_eq!(good.stats().unwrap().notes().len(), 1);

    for (answer, why) in [
        (place((2048, 8), (1034, 36), (2057, 24)), "no assignment"),
        (place((2048, 9), (1034, 35), (2057, 24)), "no new network"),
        (place((2048, 9), (1034, 36), (2081, 22)), "does not fit the kind"),
        (place((2048, 9), (1034, 36), (2057, 23)), "no JSON"),
        (words(&[0, 1024, -1]), "answer"),
        (words_at(64, &[2048, 9, 1034, 36, 2057, 24]) + &words(&[0, 1024, 20_001]), "answer"),
        ("unreachable".to_owned(), "trap"),
        ("(loop $ever (br $ever))".to_owned(), "deadline"),
        ("(drop (memory.grow (i32.const 60000))) unreachable".to_owned(), "memory"),
    ] {
        let plugin = load_cluster_backend("", &answer);
        let error = plugin.plan_cluster(cluster(None)).await.unwrap_err();
        assert_eq!(error.code, "plugin.fault");
        assert!(error.message.contains(why), "{answer}: {}", error.message);
        assert_eq!(plugin.stats().unwrap().notes().len(), 1, "{answer}");
        // The next question gets an instance of its own.
        assert!(plugin.validate(networks()).await.is_ok());
    }
}

#[tokio::test]
async fn a_fault_of_validate_is_no_refusal() {
    let plugin = load_cluster_backend("unreachable", "");
    assert_eq!(plugin.validate(networks()).await.unwrap_err().code, "plugin.fault");
    let no = load_cluster_backend(&format!("{} (return (i32.const 16))", words(&[1, 1024, 8])), "");
    assert_eq!(no.validate(networks()).await.unwrap_err().code, "network.refused");
}

#[tokio::test]
async fn who_was_built_without_places_has_none() {
    let old = load_backend("");
    assert!(!old.places());
    assert_eq!(old.plan_cluster(cluster(None)).await.unwrap(), crate::Places::new());
}

#[test]
fn places_that_are_not_the_contracts_are_refused_at_loading() {
    // The interface's name with a function of another type.
    let whole = cluster_backend("", "");
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!(text.contains("plan-cluster"));
    let mut bent = whole.clone();
    let needle = b"plan-cluster";
    while let Some(at) = bent.windows(needle.len()).position(|window| window == needle) {
        bent[at..at + needle.len()].copy_from_slice(b"plan-clouted");
    }
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "network", &bent, "");
    let error = PluginHost::new().unwrap().load_network(dir.path(), Value::Null).err().unwrap();
    assert!(["plugin.kind", "plugin.component"].contains(&error.code), "{}", error.code);
}
