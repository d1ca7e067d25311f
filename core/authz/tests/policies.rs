//! The shipped policies against their cases, their schema, the action list and the checked-in matrix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_authz::{Authorizer, Bundle, Snapshot, actions, cases};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn report() -> cases::Report {
    let dir = root().join("policies");
    cases::run(&Snapshot::of(Bundle::read(&dir).unwrap()), &cases::read(&dir).unwrap())
}

#[test]
fn every_case_holds() {
    let report = report();
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    assert!(report.cases > 500, "the cases are not read");
}

#[test]
fn every_action_has_a_case_that_allows_and_one_that_denies() {
    assert_eq!(report().untried_actions, Vec::<String>::new());
}

#[test]
fn every_policy_decides_some_case() {
    assert_eq!(report().untried_policies, Vec::<String>::new());
}

#[test]
fn a_wrong_case_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tests")).unwrap();
    let file = r#"{"principals": {"r": {"user": "u", "roles": ["reader"], "scope": "project", "project": "p"},
                                  "bad": {"user": "u", "scope": "galaxy"}},
        "targets": {"none": {}},
        "cases": [{"action": "compute:servers:list", "principal": "r", "target": "none", "allowed": false},
                  {"action": "compute:servers:list", "principal": "bad", "target": "none", "allowed": false},
                  {"action": "compute:servers:list", "principal": "nobody", "target": "none", "allowed": false},
                  {"action": "compute:servers:fly", "principal": "r", "target": "none", "allowed": false}]}"#;
    std::fs::write(dir.path().join("tests/a.json"), file).unwrap();
    let policies = Snapshot::of(Bundle::embedded().unwrap());
    let wrong = cases::run(&policies, &cases::read(dir.path()).unwrap()).wrong;
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(wrong[0].contains("allowed by compute-list-servers"), "{}", wrong[0]);
    assert!(wrong[1].contains("galaxy") && wrong[2].contains("nobody") && wrong[3].contains("fly"));

    std::fs::write(dir.path().join("tests/a.json"), r#"{"principals": {}, "targets": {}, "casses": []}"#)
        .unwrap();
    assert!(cases::read(dir.path()).unwrap_err().message.contains("a.json"));
    assert!(cases::read(Path::new("/nowhere")).unwrap().is_empty());
}

#[test]
fn the_compiled_in_bundle_is_the_folder() {
    let folder = Bundle::read(&root().join("policies")).unwrap();
    assert_eq!(folder.digest(), Bundle::embedded().unwrap().digest(), "list the new file in bundle.rs");
}

#[test]
fn schema_and_action_list_name_the_same_actions() {
    let text = std::fs::read_to_string(root().join("policies/schema.cedarschema")).unwrap();
    let declared: BTreeSet<&str> =
        text.split('"').filter(|word| word.contains(':') && !word.contains(char::is_whitespace)).collect();
    let listed: BTreeSet<&str> = actions::all().map(|action| action.name).collect();
    assert_eq!(declared, listed);
    assert_eq!(actions::all().count(), listed.len(), "an action is listed twice");
}

#[test]
fn the_matrix_is_fresh() {
    let path = root().join("core/docs/policy-matrix.md");
    let matrix = canopy_authz::matrix(&Authorizer::embedded().unwrap());
    if std::env::var_os("CANOPY_UPDATE").is_some() {
        std::fs::write(&path, &matrix).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == matrix,
        "core/docs/policy-matrix.md is stale: run with CANOPY_UPDATE=1 and review it"
    );
}
