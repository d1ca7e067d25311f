//! What is refused before it runs.

use super::guests::{install, scorer, scorer_with};
use crate::PluginHost;
use canopy_placement::{Fleet, Request};
use canopy_types::{DecisionId, Error};
use serde_json::{Value, json};
use std::sync::Arc;

fn load(component: &[u8], kind: &str, more: &str) -> Result<crate::SchedulerPlugin, Error> {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), kind, component, more);
    PluginHost::new().unwrap().load_scheduler(dir.path(), Value::Null)
}

fn refusal(component: &[u8], kind: &str, more: &str) -> Error {
    load(component, kind, more).err().expect("it must not load")
}

#[test]
fn imports_are_refused_by_name() {
    let wasi = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#).unwrap();
    let error = refusal(&wasi, "scheduler", "");
    assert_eq!(error.code, "plugin.imports");
    assert!(error.message.contains("wasi:clocks/wall-clock@0.2.0"), "{}", error.message);
}

#[test]
fn what_is_no_component_is_refused() {
    let module = wat::parse_str("(module)").unwrap();
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh", &module] {
        assert_eq!(refusal(bytes, "scheduler", "").code, "plugin.component");
    }
}

#[test]
fn another_kind_than_it_says_or_than_is_wanted_is_refused() {
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(refusal(&empty, "scheduler", "").code, "plugin.kind");
    let scorer = scorer("", "", "");
    assert!(
        refusal(&scorer, "quota", "").message.contains("is a quota plugin; a scheduler plugin is wanted")
    );
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "quota", &scorer, "");
    let error = PluginHost::new().unwrap().load_quota(dir.path(), Value::Null).err().unwrap();
    assert_eq!(error.code, "plugin.kind");
    assert!(error.message.contains("not those of a quota plugin"), "{}", error.message);
}

#[test]
fn a_digest_that_is_not_the_components_is_refused() {
    let sha256 = format!("sha256 = \"{}\"", "0".repeat(64));
    assert_eq!(refusal(&scorer("", "", ""), "scheduler", &sha256).code, "plugin.digest");
}

#[test]
fn a_missing_file_and_a_configuration_that_nobody_wants_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let host = PluginHost::new().unwrap();
    assert_eq!(host.load_scheduler(dir.path(), Value::Null).err().unwrap().code, "plugin.file");
    install(dir.path(), "scheduler", &scorer("", "", ""), "");
    assert_eq!(host.load_scheduler(dir.path(), json!({"a": 1})).err().unwrap().code, "plugin.config");
    std::fs::remove_file(dir.path().join("hostile.wasm")).unwrap();
    assert_eq!(host.load_scheduler(dir.path(), Value::Null).err().unwrap().code, "plugin.file");
}

#[test]
fn a_guest_that_fails_at_init_does_not_load_and_says_why() {
    let refuse = "(i32.store8 (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 32))";
    for (init, why) in [
        (refuse, "this configuration is not for me"),
        ("unreachable", "trap"),
        ("(loop $ever (br $ever))", "deadline"),
        ("(if (i32.eq (i32.const -1) (memory.grow (i32.const 65000))) (then unreachable))", "memory"),
        ("(i32.store8 (i32.const 16) (i32.const 9))", "answer"),
    ] {
        let error = refusal(&scorer(init, "", ""), "scheduler", "");
        assert_eq!(error.code, "plugin.config");
        assert!(error.message.contains(why), "{}", error.message);
    }
}

#[test]
fn a_guest_that_fails_before_init_does_not_load() {
    for (what, why) in [
        ("(memory $large 1000)", "memory"),
        ("(table $large 2000000 funcref)", "memory"),
        ("(func $s unreachable) (start $s)", "trap"),
        ("(func $s (loop $ever (br $ever))) (start $s)", "deadline"),
    ] {
        let error = refusal(&scorer_with(what), "scheduler", "");
        assert_eq!(error.code, "plugin.config");
        assert!(error.message.contains(why), "{what}: {}", error.message);
    }
}

#[test]
fn no_truncation_loads() {
    let whole = scorer("", "", "");
    for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        // Cut between two sections it is a component still, but none of any kind.
        let code = refusal(&whole[..length], "scheduler", "").code;
        assert!(["plugin.component", "plugin.kind"].contains(&code), "{length} bytes: {code}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_harmless() {
    let whole = scorer("", "", "");
    let dir = tempfile::tempdir().unwrap();
    let host = PluginHost::new().unwrap();
    let (mut refused, mut loaded) = (0, 0);
    for position in (0..whole.len()).step_by(61) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        install(dir.path(), "scheduler", &bytes, "");
        match host.load_scheduler(dir.path(), Value::Null) {
            Err(error) => {
                assert!(error.code.starts_with("plugin."), "{}", error.chain());
                refused += 1;
            }
            Ok(plugin) => {
                let fleet = Arc::new(Fleet::default());
                let decision = plugin.decide(DecisionId::random(), fleet, Request::default()).await;
                assert_eq!(decision.hosts_considered, 0);
                loaded += 1;
            }
        }
    }
    assert!(refused > 0 && loaded > 0, "{refused} refused, {loaded} loaded");
}
