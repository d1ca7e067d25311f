//! Plugins in other languages than Rust: the C templates as they are written, and the recipes of `sdk/languages.md`.

mod guide;

use crate::plugin_new::{canopy, run, target};
use crate::plugins::{network, questions, runtime};
use canopy_placement::{Columns, Names, Scorer};
use canopy_plugin_host::{Item, PluginHost, QuotaPlugin};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const KINDS: [&str; 3] = ["scheduler", "quota", "network"];

/// `cargo xtask test` installs one; without it nothing is promised.
fn has_clang() -> bool {
    let found = ["clang", "clang-19"].iter().any(|name| Command::new(name).arg("--version").output().is_ok());
    if !found {
        assert!(std::env::var_os("CANOPY_BIN").is_none(), "`cargo xtask test` installs clang-19 and lld-19");
        eprintln!("skipped: there is no clang here (apt-get install clang-19 lld-19)");
    }
    found
}

/// A project in C of this kind, tested and built as its README says; its `dist`.
pub(crate) fn built_in_c(folder: &Path, kind: &str) -> PathBuf {
    let name = format!("{kind}-in-c");
    run(canopy(folder).args(["new", "--kind", kind, "--lang", "c", &name]));
    let project = folder.join(name);
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    for wanted in ["$ make test", "$ canopy plugin build", "$ canopy plugin check dist"] {
        assert!(readme.contains(wanted), "{readme}");
    }
    run(Command::new("make").arg("test").current_dir(&project));
    run(canopy(&project).arg("build"));
    let said = run(canopy(&project).args(["check", "dist", "--json"]));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["fit"], &said["imports"]), (&json!(true), &json!([])), "{said}");
    project.join("dist")
}

fn runner() -> TestRunner {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(Default::default()))
}

fn columns() -> impl Strategy<Value = Columns> {
    let number = || prop_oneof![(-50_i16..400).prop_map(f32::from), Just(0.1_f32), Just(16_777_216.0_f32)];
    let resources = prop::sample::subsequence(vec!["DISK_GB", "MEMORY_MB", "VGPU"], 0..=3);
    (resources, 0..4_usize, 1..200_usize).prop_flat_map(move |(names, at, rows)| {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.insert(at.min(names.len()), "VCPU".to_owned());
        let cells = rows * names.len();
        let column = || prop::collection::vec(number(), cells);
        (column(), column(), Just(names), Just(rows)).prop_map(|(capacity, free, names, rows)| Columns {
            want: vec![1.0; names.len()],
            names: Arc::new(Names { resources: names, signals: Vec::new() }),
            hosts: (0..u32::try_from(rows).unwrap()).collect(),
            capacity,
            free,
            signals: Vec::new(),
        })
    })
}

fn bits(scores: Result<Vec<f32>, String>) -> Vec<u32> {
    scores.unwrap().into_iter().map(f32::to_bits).collect()
}

/// What both answer to the same random questions is the same.
pub(crate) fn decide_alike(kind: &str, one: &Path, other: &Path) {
    let (host, runtime) = (PluginHost::new().unwrap(), runtime());
    match kind {
        "scheduler" => {
            let config = || json!({"weight": 0.3});
            let load = |dir| std::cell::RefCell::new(host.load_scorer(dir, config()).unwrap());
            let (one, other) = (load(one), load(other));
            let ask = |columns: Columns| {
                let (mut one, mut other) = (one.borrow_mut(), other.borrow_mut());
                prop_assert_eq!(bits(one.score(&columns)), bits(other.score(&columns)));
                prop_assert_eq!(one.explain(&columns).unwrap(), other.explain(&columns).unwrap());
                Ok(())
            };
            runner().run(&columns(), ask).unwrap();
        }
        "quota" => {
            let load = |dir| host.load_quota(dir, json!({"at_once": 7})).unwrap();
            let (one, other) = (load(one), load(other));
            let ask = |question: canopy_plugin_host::QuotaQuestion| {
                let said = [&one, &other].map(|rule| runtime.block_on(rule.check(question.clone())));
                prop_assert_eq!(&said[0], &said[1]);
                Ok(())
            };
            runner().run(&questions(), ask).unwrap();
            for rule in [one, other] {
                assert_eq!(rule.stats().unwrap().faults(), []);
            }
        }
        _ => {
            let load = |dir| host.load_network(dir, Value::Null).unwrap();
            let (one, other) = (load(one), load(other));
            for segments in [&[][..], &[1], &[7, 999_999_999_999]] {
                let networks: Vec<_> = segments.iter().map(|segment| network(*segment)).collect();
                let plans = [&one, &other].map(|b| runtime.block_on(b.plan_host(networks.clone())).unwrap());
                assert_eq!(plans[0], plans[1]);
            }
            for backend in [one, other] {
                let far = vec![network(1_000_000_000_000)];
                assert_eq!(runtime.block_on(backend.validate(far)).unwrap_err().code, "network.refused");
            }
        }
    }
}

#[test]
fn a_c_project_of_each_kind_tests_builds_passes_check_and_decides_as_it_is_written() {
    if !has_clang() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [scheduler, quota, backend] = KINDS.map(|kind| built_in_c(dir.path(), kind));
    let (host, runtime) = (PluginHost::new().unwrap(), runtime());

    let scorer = std::cell::RefCell::new(host.load_scorer(&scheduler, json!({"weight": 0.3})).unwrap());
    let expected = |columns: &Columns| -> Vec<u32> {
        let rows = columns.hosts.len();
        let vcpu = columns.names.resources.iter().position(|name| name == "VCPU").unwrap();
        columns.free[vcpu * rows..(vcpu + 1) * rows].iter().map(|free| (free * 0.3_f32).to_bits()).collect()
    };
    let ask = |columns: Columns| {
        prop_assert_eq!(bits(scorer.borrow_mut().score(&columns)), expected(&columns));
        let reasons = scorer.borrow_mut().explain(&columns).unwrap();
        prop_assert_eq!(reasons.len(), columns.hosts.len());
        Ok(())
    };
    runner().run(&columns(), ask).unwrap();
    assert_eq!(scorer.borrow().stats().faults(), []);
    // Nothing is freed and nothing leaks: 64 MiB would not hold these.
    assert!(scorer.borrow().stats().memory_peak() < 4 << 20);

    // The guest library's limits are the built-in's, claim by claim.
    let rule = host.load_quota(&quota, json!({"at_once": i64::MAX})).unwrap();
    let ask = |mut question: canopy_plugin_host::QuotaQuestion| {
        for resource in question.book.resources.iter_mut().filter(|r| r.name == "instances") {
            resource.name = "volumes".to_owned();
        }
        let said = runtime.block_on(rule.check(question.clone()));
        prop_assert_eq!(said, runtime.block_on(QuotaPlugin::built_in().check(question)));
        Ok(())
    };
    runner().run(&questions(), ask).unwrap();
    assert_eq!(rule.stats().unwrap().faults(), []);

    let backend = host.load_network(&backend, Value::Null).unwrap();
    let spec = network(7);
    let plan = runtime.block_on(backend.plan_host(vec![spec.clone()])).unwrap();
    let bridge = Item {
        kind: "bridge@1".into(),
        key: spec.id.to_string(),
        body: format!(r#"{{"mtu":{},"name":"cnb7"}}"#, spec.mtu),
    };
    assert!(plan.contains(&bridge), "{plan:?}");
    let guests = spec.ports.iter().filter(|port| port.server_id.is_some() && port.port_security).count();
    assert_eq!(plan.len(), 1 + guests, "{plan:?}");
}

/// The recipes as they are written. Without the tool chain, or without a registry to get it from, they prove nothing.
fn recipe(language: &str, needs: &[&str]) {
    for tool in needs {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!(
                "skipped: {tool} is not installed, so the {language} recipe of sdk/languages.md was NOT tried"
            );
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let steps = guide::steps("languages.md", &format!("## {language}"));
    let outcome = guide::Room::new(dir.path()).follow(&steps);
    if let Err(said) = outcome {
        let offline = [
            "ENOTFOUND",
            "ETIMEDOUT",
            "ECONNREFUSED",
            "EAI_AGAIN",
            "Could not find a version",
            "ConnectionError",
        ];
        assert!(offline.iter().any(|word| said.contains(word)), "{said}");
        eprintln!(
            "skipped: no registry answers, so the {language} recipe of sdk/languages.md was NOT tried:\n{said}"
        );
        return;
    }
    let dist = dir.path().join("dist");
    let mut scorer = PluginHost::new().unwrap().load_scorer(&dist, json!({"weight": 2.5})).unwrap();
    let names = Names { resources: vec!["MEMORY_MB".into(), "VCPU".into()], signals: Vec::new() };
    let columns = Columns {
        names: Arc::new(names),
        want: vec![1.0, 1.0],
        hosts: vec![0, 1, 2],
        capacity: vec![64.0; 6],
        free: vec![1.0, 1.0, 1.0, 7.0, 0.0, -2.0],
        signals: Vec::new(),
    };
    assert_eq!(scorer.score(&columns).unwrap(), [17.5, 0.0, -5.0]);
    assert_eq!(scorer.explain(&columns).unwrap()[0][0].value, 17.5);
    let stats = scorer.stats();
    println!("{language}: {} KiB of guest memory", stats.memory_peak() / 1024);
    assert_eq!(stats.faults(), []);
}

#[test]
#[ignore = "installs componentize-js and compiles 12 MB, which takes minutes: `cargo xtask test --all`"]
fn the_javascript_recipe_builds_passes_check_and_decides() {
    recipe("JavaScript", &["node", "npm"]);
}

#[test]
#[ignore = "installs componentize-py and compiles 18 MB, which takes minutes: `cargo xtask test --all`"]
fn the_python_recipe_builds_passes_check_and_decides() {
    recipe("Python", &["python3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_holds_word_for_word() {
    let cloud = canopy_tests::Cloud::start().await;
    let config = cloud.dir().join("canopy.toml");
    let url = cloud.url.strip_prefix("http://").unwrap();
    let data = cloud.config.data_dir.display();
    std::fs::write(&config, format!("listen = \"{url}\"\ndata_dir = \"{data}\"\n")).unwrap();
    let steps = guide::steps("README.md", "## Your first plugin in ten minutes");
    let commands = steps.iter().filter(|step| matches!(step, guide::Step::Command(_))).count();
    assert!(commands >= 10, "{steps:?}");
    let room = cloud.dir().join("room");
    std::fs::create_dir(&room).unwrap();
    let followed = tokio::task::spawn_blocking(move || {
        let room = guide::Room::new(&room).with("CANOPY_CONFIG", &config).with("CARGO_TARGET_DIR", &target());
        room.follow(&steps)
    });
    followed.await.unwrap().unwrap_or_else(|said| panic!("{said}"));
    // The last of its commands is a rollback.
    let admin = cloud.admin().await;
    let log = admin.get("/canopy/v1/plugin-log").await;
    let done: Vec<&str> =
        log.json["log"].as_array().unwrap().iter().filter_map(|line| line["what"].as_str()).collect();
    for what in ["install", "shadow", "activate", "rollback"] {
        assert!(done.contains(&what), "{what}: {done:?}");
    }
}
