//! Mischief beside the question itself: while arguments arrive, after the answer was read, in what is kept of the
//! code, and in what one question leaves for the next.

use super::ground::{decide, load};
use super::guests::{
    backend, crowded, install, rule, scorer, scorer_afterwards, scorer_but, scorer_without_memory,
};
use crate::{Cache, Options, Package, PluginHost, Verdict};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

#[tokio::test]
async fn mischief_before_and_after_the_question_is_a_fault_as_any_other() {
    let host = PluginHost::new().unwrap();
    for (what, component, labels) in [
        ("a loop for memory", scorer_without_memory("(loop $l (br $l))"), &["deadline"][..]),
        ("a trap for memory", scorer_without_memory("unreachable"), &["trap"]),
        ("memory that is not there", scorer_without_memory("(return (i32.const -16))"), &["trap", "answer"]),
        (
            "memory at an odd address",
            scorer_without_memory("(return (i32.const 65537))"),
            &["trap", "answer"],
        ),
        ("a loop afterwards", scorer_afterwards("(loop $l (br $l))"), &["deadline"]),
        ("a trap afterwards", scorer_afterwards("unreachable"), &["trap"]),
    ] {
        let plugin = load(&host, &component).unwrap();
        for _ in 0..2 {
            let decision = decide(&plugin, 1).await;
            let fault = decision.plugin.fault.clone().unwrap_or_default();
            assert!(labels.iter().any(|label| fault.starts_with(label)), "{what}: {fault}");
            assert_eq!(decision.winner_name.as_deref(), Some("host-0"), "{what}");
        }
    }
    let healthy = load(&host, &scorer_but("(module", "(module (func $unused)")).unwrap();
    assert_eq!(decide(&healthy, 1).await.plugin.fault, None);
}

#[tokio::test]
async fn more_instances_than_the_limit_do_not_load() {
    let host = PluginHost::new().unwrap();
    assert_eq!(decide(&load(&host, &crowded(&scorer("", "", ""), 40)).unwrap(), 1).await.plugin.fault, None);
    let error = load(&host, &crowded(&scorer("", "", ""), 100)).err().unwrap();
    assert_eq!(error.code, "plugin.config");
    assert!(error.message.contains("memory: ") && error.message.contains("instance"), "{}", error.message);
}

/// Counts its calls, and from the second on answers `then`.
fn from_the_second(then: &str) -> String {
    format!(
        "(i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.const 1)))
         (if (i32.gt_u (i32.load (i32.const 48)) (i32.const 1)) (then {then}))"
    )
}

#[tokio::test]
async fn a_quota_rule_and_a_backend_find_nothing_of_the_question_before() {
    let host = PluginHost::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Denies "cores" because "no".
    let words: String = [(64, 1), (68, 1024), (72, 5), (76, 1029), (80, 2)]
        .map(|(at, value)| format!("(i32.store (i32.const {at}) (i32.const {value}))"))
        .concat();
    install(dir.path(), "quota", &rule(&from_the_second(&words)), "");
    let quota = host.load_quota(dir.path(), Value::Null).unwrap();
    for round in 0..20 {
        let verdicts = quota.check(crate::inspect::question(1)).await;
        assert_eq!(verdicts, [Verdict::Allow], "round {round}");
    }
    let stats = quota.stats().unwrap();
    assert_eq!((stats.calls(), stats.faults()), (20, vec![]));

    let empty = "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 0))
        (i32.store (i32.const 24) (i32.const 0))";
    install(dir.path(), "network", &backend(&(empty.to_owned() + &from_the_second("unreachable"))), "");
    let network = host.load_network(dir.path(), Value::Null).unwrap();
    for _ in 0..3 {
        assert_eq!(network.plan_host(Vec::new()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn poisoned_code_in_the_cache_costs_a_compilation_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), &[7; 32]).unwrap();
    let host = PluginHost::with_options(Options { cache: Some(cache), ..Options::default() }).unwrap();
    let (healthy, other) = (scorer("", "", ""), scorer("", "unreachable", ""));
    let files = || {
        let entries = std::fs::read_dir(dir.path().join("cache")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    load(&host, &healthy).unwrap();
    let path = files().remove(0);
    let good = std::fs::read(&path).unwrap();
    load(&host, &other).unwrap();
    let others = files().into_iter().find(|file| *file != path).unwrap();
    let poison = [
        Vec::new(),
        b"\x7fELF and so on".to_vec(),
        std::fs::read(&others).unwrap(),
        good[..good.len() / 2].to_vec(),
        [&good[..100], &[0x0f, 0x0b][..], &good[102..]].concat(),
    ];
    for (n, bytes) in poison.into_iter().enumerate() {
        std::fs::write(&path, &bytes).unwrap();
        let plugin = load(&host, &healthy).unwrap();
        let decision = decide(&plugin, 13).await;
        assert_eq!((decision.plugin.fault, decision.winner_name.as_deref()), (None, Some("host-1")), "{n}");
        assert_ne!(std::fs::read(&path).unwrap(), bytes, "{n}: the poison is still there");
    }
}

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim() == name).count()
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn a_plugin_that_is_let_go_leaves_neither_thread_nor_memory() {
    let host = PluginHost::new().unwrap();
    let text = "name = \"lingers\"\nversion = \"1\"\nkind = \"scheduler\"\nsdk = \"1.0\"\ncomponent = \"x.wasm\"\n\
                [limits]\nmemory_mib = 16\n";
    // Takes 8 MiB, touches all of it and answers.
    let take = "(if (i32.ne (i32.const -1) (memory.grow (i32.const 128)))
        (then (memory.fill (i32.const 131072) (i32.const 1) (i32.const 8388608))))";
    let package = Package::new(text.to_owned(), scorer("", take, "")).unwrap();
    let once = async || {
        let plugin = host.start_scheduler(&package, Value::Null).unwrap();
        assert_eq!(decide(&plugin, 13).await.plugin.fault, None);
    };
    for _ in 0..5 {
        once().await;
    }
    let before = resident();
    for _ in 0..30 {
        once().await;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while threads("wasm-lingers") > 0 {
        assert!(Instant::now() < deadline, "{} threads are left", threads("wasm-lingers"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let grown = resident().saturating_sub(before);
    // Thirty times 8 MiB went by.
    assert!(grown < 64 << 20, "{} MiB stayed", grown >> 20);
}

#[test]
fn a_folder_that_is_no_plugin_says_what_is_missing() {
    let host = PluginHost::new().unwrap();
    let error = host.load_scheduler(Path::new("/proc/self/nothing"), Value::Null).err().unwrap();
    assert_eq!(error.code, "plugin.file");
    assert!(error.message.contains("plugin.toml"), "{}", error.message);
}
