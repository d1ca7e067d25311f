//! The shipped plugins as they are shipped: real components, loaded with deadline and limits on, held
//! against the built-ins that stand in for them and against the executor that carries their plans out.

#[path = "plugins/backends.rs"]
mod backends;
#[path = "plugins/gate.rs"]
mod gate;
#[path = "plugins/placers.rs"]
mod placers;

use canopy_agent::network::items::Plan;
use canopy_agent_api::{FixedIp, HostRoute, NetworkSpec, PortSpec, SubnetSpec, bridge_name, tap_name};
use canopy_placement::{
    Change, Columns, Decision, Engine, Fleet, GroupPolicy, GroupRule, Host, Names, Request, ResourceColumn,
    Scorer, SignalColumn, spread::Spread,
};
use canopy_plugin_host::{
    Book, Charge, Claim, Countable, Holder, HolderKind, PluginHost, QuotaPlugin, QuotaQuestion, Row,
    SchedulerPlugin,
};
use canopy_types::{DecisionId, HostId, NetworkId, PortId, ProjectId, ServerId, SubnetId, UserId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a built plugin.
fn built(name: &str) -> PathBuf {
    let plugins = std::env::var_os("CANOPY_TEST_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"), PathBuf::from);
    let folder = plugins.join(name);
    assert!(
        folder.join("plugin.toml").is_file(),
        "{} is not built: run `cargo xtask plugins`",
        folder.display()
    );
    folder
}

const SCHEDULERS: [&str; 3] = ["scheduler-binpack", "scheduler-spread", "scheduler-weighted"];

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn each_component_loads_as_what_it_says_and_as_nothing_else() {
    let host = PluginHost::new().unwrap();
    for name in SCHEDULERS.into_iter().chain([
        "placer-bestfit",
        "quota-limits",
        "quota-gpu-cap",
        "network-bridge",
        "network-flat",
    ]) {
        let folder = built(name);
        let outcomes = [
            host.load_scheduler(&folder, Value::Null).map(drop),
            host.load_quota(&folder, Value::Null).map(drop),
            host.load_network(&folder, Value::Null).map(drop),
        ];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{name}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.code, "plugin.kind");
        }
    }
}

#[test]
fn a_configuration_that_the_schema_or_the_plugin_refuses_does_not_load() {
    let host = PluginHost::new().unwrap();
    for config in [json!({"clases": []}), json!({"classes": "VCPU"}), json!({"classes": [""]}), json!(7)] {
        let error = host.load_scheduler(&built("scheduler-spread"), config).err().unwrap();
        assert_eq!(error.code, "plugin.config");
    }
    assert!(host.load_scheduler(&built("scheduler-spread"), json!({"classes": ["VCPU"]})).is_ok());
    assert!(host.load_quota(&built("quota-limits"), json!({"unlisted": "deny"})).is_ok());
    assert!(host.load_network(&built("network-bridge"), json!({"metadata": "yes"})).is_err());
}

fn fleets() -> impl Strategy<Value = (Fleet, Request)> {
    let column = (prop::collection::vec((-2_i64..200, 0_i64..200), 1..40), 0_i64..50);
    prop::collection::vec(column, 1..5).prop_map(|columns| {
        let rows = columns.iter().map(|(rows, _)| rows.len()).min().unwrap_or(0);
        let host = |i: usize| Host::new(HostId::random(), format!("h{i}"), "nova");
        let column = |i: usize, cells: &[(i64, i64)]| {
            let (capacity, used) = cells[..rows].iter().copied().unzip();
            ResourceColumn::new(format!("CLASS_{i}"), capacity, used)
        };
        let resources = columns.iter().enumerate().map(|(i, (cells, _))| column(i, cells)).collect();
        let amounts =
            columns.iter().enumerate().map(|(i, (_, want))| (format!("CLASS_{i}"), *want)).collect();
        let hosts = (0..rows).map(host).collect();
        let fleet = Fleet { revision: 1, hosts, resources, ..Fleet::default() };
        (fleet, Request { amounts, ..Request::default() })
    })
}

#[test]
fn scheduler_spread_decides_as_the_built_in_does() {
    let plugin = PluginHost::new().unwrap().load_scheduler(&built("scheduler-spread"), Value::Null).unwrap();
    let runtime = runtime();
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 200, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(Default::default()),
    );
    runner
        .run(&fleets(), |(fleet, request)| {
            let (fleet, id) = (Arc::new(fleet), DecisionId::random());
            let decide = |plugin: &SchedulerPlugin| -> Decision {
                runtime.block_on(plugin.decide(id, Arc::clone(&fleet), request.clone()))
            };
            let (guest, native) = (decide(&plugin), decide(&SchedulerPlugin::built_in()));
            prop_assert_eq!(&guest.plugin.fault, &None);
            prop_assert_eq!(&*guest.plugin.name, "scheduler-spread");
            prop_assert_eq!(guest.plugin.digest.len(), 64);
            prop_assert_eq!(Decision { plugin: native.plugin.clone(), ..guest }, native);
            Ok(())
        })
        .unwrap();
}

#[test]
fn scheduler_spread_explains_each_row_with_its_score() {
    let plugin = PluginHost::new().unwrap().load_scheduler(&built("scheduler-spread"), Value::Null).unwrap();
    let rows = 9000;
    let columns = Columns {
        names: Arc::new(Names { resources: vec!["VCPU".into()], signals: Vec::new() }),
        want: vec![4.0],
        hosts: (0..rows).collect(),
        capacity: vec![64.0; rows as usize],
        free: (0..rows).map(|n| 64.0 - (n % 60) as f32).collect(),
        signals: Vec::new(),
    };
    let reasons = runtime().block_on(plugin.explain(columns.clone())).unwrap();
    assert_eq!(reasons, Spread.explain(&columns).unwrap());
}

/// Hosts that differ in everything that a shipped scheduler looks at.
fn varied(hosts: usize) -> Fleet {
    let column = |class: &str, capacity: usize, step: usize| {
        let capacities = (0..hosts).map(|n| (capacity + n % 3 * capacity) as i64).collect();
        ResourceColumn::new(class, capacities, (0..hosts).map(|n| (n * step % capacity) as i64).collect())
    };
    let id = |n: usize| HostId(format!("00000000-0000-4000-8000-{n:012}").parse().unwrap());
    let zone = |n: usize| if n.is_multiple_of(2) { "a" } else { "b" };
    let signal = |name: &str, step: usize| SignalColumn {
        name: name.to_owned(),
        values: (0..hosts).map(|n| (n * step % 5) as f64).collect(),
    };
    Fleet {
        revision: 1,
        hosts: (0..hosts).map(|n| Host::new(id(n), format!("h{n:04}"), zone(n))).collect(),
        resources: vec![column("DISK_GB", 500, 7), column("MEMORY_MB", 65_536, 4_099), column("VCPU", 32, 5)],
        signals: vec![signal("build-failures", 1), signal("cpu.percent", 3)],
        ..Fleet::default()
    }
}

#[test]
fn the_index_through_each_component_decides_as_asking_about_every_host_does() {
    let host = PluginHost::new().unwrap();
    for name in SCHEDULERS {
        let mut scorer = host.load_scorer(&built(name), Value::Null).unwrap();
        let mut engine = Engine::new(varied(300));
        for n in 0..200_i64 {
            let amounts = [("VCPU", 1 + n % 3), ("MEMORY_MB", 1024 * (1 + n % 5)), ("DISK_GB", n % 2 * 10)];
            let policies =
                [GroupPolicy::SoftAffinity, GroupPolicy::SoftAntiAffinity, GroupPolicy::AntiAffinity];
            let group = GroupRule { id: "g".into(), policy: policies[n as usize % 3], max_per_host: 2 };
            let request = Request {
                amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
                zone: (n % 4 == 0).then(|| "a".to_owned()),
                home_zone: (n % 7 == 0).then(|| "b".to_owned()),
                group: (n % 3 == 0).then_some(group),
                ..Request::default()
            };
            let id = DecisionId::random();
            let indexed = engine.decide(id, &request, &mut scorer);
            let mut plain = canopy_placement::decide(id, engine.fleet(), &request, &mut scorer);
            assert_eq!(indexed.plugin.fault, None, "{name}");
            // Over so many hosts a success does not count its refusals.
            plain.refused.clear();
            assert_eq!(indexed, plain, "{name}, {n}: {request:?}");
            let Some(host) = indexed.winner else { continue };
            for (class, delta) in &request.amounts {
                engine.apply(&Change::Used { host, class: class.clone(), delta: *delta });
            }
            if let Some(group) = request.group {
                engine.apply(&Change::Group { group: group.id, host, delta: 1 });
            }
            engine.apply(&Change::Signal { host, name: "cpu.percent".into(), value: n as f64 });
        }
    }
}

#[test]
fn every_score_has_reasons_that_add_up_to_it() {
    let host = PluginHost::new().unwrap();
    let fleet = varied(50);
    let amounts = [("VCPU", 2), ("MEMORY_MB", 4096)].map(|(class, amount)| (class.to_owned(), amount)).into();
    let request = Request { amounts, home_zone: Some("a".into()), ..Request::default() };
    let columns = canopy_placement::decide::columns(&fleet, &request, (0..50).collect());
    for name in SCHEDULERS {
        let mut scorer = host.load_scorer(&built(name), Value::Null).unwrap();
        let scores = scorer.score(&columns).unwrap();
        for (reasons, score) in scorer.explain(&columns).unwrap().iter().zip(scores) {
            let sum: f64 = reasons.iter().map(|reason| reason.value).sum();
            assert!((sum - f64::from(score)).abs() < 1e-3, "{name}: {score} is not {reasons:?}");
        }
    }
}

fn holder(kind: HolderKind, id: &str, zone: &str) -> Holder {
    Holder { kind, id: id.to_owned(), zone: zone.to_owned() }
}

/// One claim on a book of one resource, of which the project has `limit` and uses `used`.
fn one_claim(resource: &str, rows: Vec<Row>, amount: i64) -> QuotaQuestion {
    let book = Book {
        resources: vec![Countable { name: resource.to_owned(), per_claim: false }],
        holders: vec![holder(HolderKind::Project, "p", "")],
        rows,
    };
    let claim = Claim {
        user_id: UserId::random(),
        zone: String::new(),
        charges: vec![Charge { resource: 0, amount }],
        attributes: vec![("flavor".into(), "m1.tiny".into())],
    };
    QuotaQuestion { book, claims: vec![claim] }
}

pub(crate) fn questions() -> impl Strategy<Value = QuotaQuestion> {
    let number = prop_oneof![6 => -2_i64..40, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let holders = vec![
        holder(HolderKind::Project, "p", ""),
        holder(HolderKind::Ancestor, "above", ""),
        holder(HolderKind::Ancestor, "домен", ""),
        holder(HolderKind::User, "u", ""),
        holder(HolderKind::User, "v", ""),
        holder(HolderKind::User, "u", "a"),
    ];
    let names = ["instances", "cores", "ключ", "metadata_items"];
    let resources: Vec<Countable> =
        names.map(|name| Countable { name: name.into(), per_claim: name == "metadata_items" }).into();
    let cells = (0..holders.len() as u32, 0..names.len() as u32);
    let rows = prop::collection::btree_map(cells, (number.clone(), number.clone()), 0..16);
    let charges = prop::collection::vec((0..names.len() as u32, number), 0..6);
    let claim = (charges, 0..3_usize, any::<bool>()).prop_map(|(charges, user, zoned)| Claim {
        user_id: ["u", "v", "w"][user].into(),
        zone: if zoned { "a".into() } else { String::new() },
        charges: charges.into_iter().map(|(resource, amount)| Charge { resource, amount }).collect(),
        attributes: vec![("flavor".into(), "m1.tiny".into())],
    });
    (rows, prop::collection::vec(claim, 0..6)).prop_map(move |(rows, claims)| {
        let row = |((holder, resource), (limit, used))| Row { holder, resource, limit, used };
        let rows = rows.into_iter().map(row).collect();
        QuotaQuestion { book: Book { resources: resources.clone(), holders: holders.clone(), rows }, claims }
    })
}

#[test]
fn quota_limits_says_what_the_built_in_says() {
    let plugin = PluginHost::new().unwrap().load_quota(&built("quota-limits"), Value::Null).unwrap();
    let runtime = runtime();
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 500, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(Default::default()),
    );
    runner
        .run(&questions(), |question| {
            let guest = runtime.block_on(plugin.check(question.clone()));
            prop_assert_eq!(guest, runtime.block_on(QuotaPlugin::built_in().check(question)));
            Ok(())
        })
        .unwrap();
}

#[test]
fn quota_limits_configured_to_deny_really_is_asked() {
    let host = PluginHost::new().unwrap();
    let strict = host.load_quota(&built("quota-limits"), json!({"unlisted": "deny"})).unwrap();
    let question = one_claim("widgets", Vec::new(), 1);
    let verdict = runtime().block_on(strict.check(question)).remove(0);
    // The built-in would allow it, so this is the guest's own answer.
    let canopy_plugin_host::Verdict::Deny { resource, .. } = verdict else { panic!("allowed") };
    assert_eq!(resource, "widgets");
}

pub(crate) fn network(segment: i64) -> NetworkSpec {
    let (id, subnet) = (NetworkId::random(), SubnetId::random());
    let port = |server_id: Option<ServerId>, ip: &str, mac: &str| PortSpec {
        id: PortId::random(),
        network_id: id,
        mac: mac.to_owned(),
        fixed_ips: vec![FixedIp { subnet_id: subnet, ip_address: ip.parse().unwrap() }],
        admin_state_up: true,
        port_security: true,
        server_id,
        hostname: "web \"1\"\n".to_owned(),
    };
    NetworkSpec {
        provider: None,
        id,
        project_id: ProjectId::random(),
        segment,
        mtu: 1450,
        dns_domain: "cloud.example.".to_owned(),
        subnets: vec![SubnetSpec {
            id: subnet,
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway_ip: Some("10.0.0.1".parse().unwrap()),
            enable_dhcp: true,
            dns_nameservers: vec!["9.9.9.9".parse().unwrap()],
            host_routes: vec![HostRoute {
                destination: "192.168.0.0/16".parse().unwrap(),
                nexthop: "10.0.0.9".parse().unwrap(),
            }],
            service_ip: Some("10.0.0.2".parse().unwrap()),
        }],
        ports: vec![
            port(None, "10.0.0.2", "fa:16:3e:00:00:01"),
            port(Some(ServerId::random()), "10.0.0.5", "FA:16:3E:00:00:02"),
        ],
    }
}

#[test]
fn network_bridges_plan_is_one_that_the_executor_takes() {
    let plugin = PluginHost::new().unwrap().load_network(&built("network-bridge"), Value::Null).unwrap();
    // Two tenants with the same addresses.
    let networks = vec![network(7), network(123_456_789)];
    let items = runtime().block_on(plugin.plan_host(networks.clone())).unwrap();
    runtime().block_on(plugin.validate(networks.clone())).unwrap();
    assert!(items.is_sorted());
    let plan = Plan::parse(&items).unwrap();
    for network in &networks {
        let namespace = &plan.namespaces[&network.id];
        assert_eq!(plan.bridges[&network.id].name, bridge_name(network.segment));
        assert_eq!(namespace.name, format!("canopy-{}", network.id));
        assert_eq!(namespace.mac.to_string(), network.ports[0].mac);
        assert_eq!(plan.metadata[&network.id].port, 80);
        let dhcp = &plan.dhcp[&network.id];
        assert_eq!((dhcp.hosts.len(), dhcp.subnets.len()), (1, 1));
        assert_eq!(dhcp.subnets[0].routes[0].destination.to_string(), "169.254.169.254/32");
        // The agent names the guest's device by the same rule.
        assert_eq!(plan.antispoof[&network.ports[1].id].tap, tap_name(network.ports[1].id));
        assert!(!plan.antispoof.contains_key(&network.ports[0].id), "a service's port has no filter");
    }
    let again = runtime().block_on(plugin.plan_host(networks.into_iter().rev().collect())).unwrap();
    assert_eq!(items, again, "a plan is a set");
}

#[test]
fn damaged_components_are_refused_or_harmless() {
    let host = PluginHost::new().unwrap();
    let source = built("quota-limits");
    let whole = std::fs::read(source.join("quota-limits.wasm")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("plugin.toml"), dir.path().join("plugin.toml")).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(dir.path().join("quota-limits.wasm"), bytes).unwrap();
        host.load_quota(dir.path(), Value::Null)
    };
    for length in [0, 100, whole.len() / 2, whole.len() - 1] {
        assert_eq!(load(&whole[..length]).err().unwrap().code, "plugin.component", "{length} bytes");
    }
    for nth in 1..8 {
        let mut bytes = whole.clone();
        let position = whole.len() / 8 * nth;
        bytes[position] ^= 0x10;
        match load(&bytes) {
            Err(error) => assert!(error.code.starts_with("plugin."), "{}", error.code),
            Ok(plugin) => {
                let question = one_claim("cores", Vec::new(), 1);
                // Whatever it says, it says something.
                let _ = runtime().block_on(plugin.check(question));
            }
        }
    }
}

/// Components as the first release's SDK made them: whatever the contract has gained since, they answer.
#[test]
fn plugins_of_the_first_release_still_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/plugins-1.0");
    let host = PluginHost::new().unwrap();
    for name in ["scheduler-spread", "quota-limits", "network-bridge"] {
        let package = canopy_plugin_host::Package::read(&folder.join(name)).unwrap();
        let found = host.inspect(&package, Value::Null);
        assert!(found.is_fit(), "{name}: {found:?}");
        assert!(found.imports.is_empty() && found.held.len() > 1, "{name}: {found:?}");
    }
}
