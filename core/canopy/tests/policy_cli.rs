//! `canopy policy` as people and pipelines run it: output and exit codes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn canopy(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_canopy"))
        .current_dir(folder)
        .arg("policy")
        .args(arguments)
        .output()
        .unwrap();
    (status.code(), format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
}

/// A repository whose first commit has the shipped policies.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("policies");
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(policies()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
    }
    git(dir.path(), &["init", "-q"]);
    commit(dir.path(), "first");
    dir
}

fn git(dir: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
    let status = Command::new("git").current_dir(dir).args(identity).args(arguments).status().unwrap();
    assert!(status.success());
}

fn commit(dir: &Path, message: &str) {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", message]);
}

fn edit(dir: &Path, file: &str, from: &str, to: &str) {
    let path = dir.join("policies").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn the_shipped_policies_have_nothing_wrong_and_their_cases_hold() {
    let dir = policies();
    let (code, text) = canopy(&dir, &["check", "."]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(" policies, 0 findings"), "{text}");
    let (code, text) = canopy(&dir, &["test", ".", "--full-coverage"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(" 0 wrong; actions with an allowed and a denied case: "), "{text}");
}

#[test]
fn without_cases_nothing_was_tested() {
    let dir = repository();
    let (code, text) = canopy(dir.path(), &["test", "policies"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("0 cases"), "{text}");
}

#[test]
fn what_never_holds_or_changes_nothing_is_found() {
    let dir = repository();
    let more = "\n@id(\"copy\")\npermit (principal, action == Action::\"compute:zones:list\", resource)\n\
        when { principal.roles.contains(\"admin\") };\n\
        @id(\"never\")\npermit (principal, action == Action::\"compute:zones:list\", resource)\n\
        when { principal.scope == \"system\" && principal.project_id == \"p\" };\n\
        @id(\"idle\")\nforbid (principal, action == Action::\"compute:servers:list_all\", resource)\n\
        unless { principal.roles.contains(\"admin\") };\n";
    let path = dir.path().join("policies/compute.cedar");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{more}")).unwrap();
    let (code, text) = canopy(dir.path(), &["check"]);
    assert_eq!(code, Some(1), "{text}");
    for expected in [
        "compute.cedar: @id(\"copy\") changes nothing",
        "compute.cedar: @id(\"never\") never holds",
        "compute.cedar: @id(\"idle\") changes nothing",
        "3 findings",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let (code, text) = canopy(dir.path(), &["check", "--without-solver"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing proved"), "{text}");

    edit(dir.path(), "compute.cedar", "principal.project_id == \"p\"", "principal.project_id == 1");
    let (code, text) = canopy(dir.path(), &["check"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("compute.cedar:"), "{text}");
}

#[test]
fn a_change_between_commits_and_folders_is_told_by_exit_code_and_example() {
    let dir = repository();
    edit(
        dir.path(),
        "compute.cedar",
        "principal.roles.contains(\"member\")",
        "principal.roles.contains(\"reader\")",
    );
    commit(dir.path(), "readers may write");

    let (code, text) = canopy(dir.path(), &["diff", "HEAD~1", "HEAD"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("compute:servers:delete\n  newly allowed, for example:"), "{text}");
    assert!(text.contains("allowed by compute-write-own-project"), "{text}");

    // The other way round nothing is granted, and a folder does as well as a revision.
    let (code, text) = canopy(dir.path(), &["diff", "HEAD", "HEAD~1:policies"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no longer allowed"), "{text}");
    let (code, text) = canopy(dir.path(), &["diff", "HEAD", "policies"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Nothing new is granted, nothing removed."), "{text}");

    let (code, text) = canopy(dir.path(), &["diff", "HEAD~1", "HEAD", "--json"]);
    assert_eq!(code, Some(3), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["grants_something_new"], true);
    let delete =
        report["actions"].as_array().unwrap().iter().find(|a| a["action"] == "compute:servers:delete");
    let delete = delete.unwrap();
    assert_eq!(delete["removed"], "nothing");
    assert_eq!(delete["granted"]["example"]["principal"]["roles"], serde_json::json!(["reader"]));
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let dir = repository();
    for other in ["no-such-revision", "--output=/tmp/x", "HEAD:nowhere", "/nowhere"] {
        let (code, text) = canopy(dir.path(), &["diff", "--", "HEAD", other]);
        assert_eq!(code, Some(1), "{other}: {text}");
        assert!(text.starts_with("canopy: "), "{text}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_canopy"))
        .current_dir(dir.path())
        .env("CVC5", "/nowhere/cvc5")
        .args(["policy", "diff", "HEAD", "HEAD"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Debian package cvc5"));
}

#[test]
fn formatting_leaves_what_is_formatted() {
    let dir = repository();
    assert_eq!(canopy(dir.path(), &["format"]).0, Some(0));
    let (code, text) = canopy(dir.path(), &["format", "--check"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let (code, text) = canopy(dir.path(), &["diff", "HEAD", "policies"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing removed"), "{text}");
}

#[test]
fn the_pull_request_recipe_passes_what_grants_nothing_and_stops_the_rest() {
    let dir = repository();
    let tests = dir.path().join("policies/tests");
    std::fs::create_dir(&tests).unwrap();
    for entry in std::fs::read_dir(policies().join("tests")).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), tests.join(entry.file_name())).unwrap();
    }
    commit(dir.path(), "cases");
    let script = policies().join("../examples/policy-ci/check.sh");
    let run = |agreed: &str| {
        let output = Command::new(&script)
            .current_dir(dir.path())
            .env("CANOPY", env!("CARGO_BIN_EXE_canopy"))
            .args(["HEAD", agreed])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run("no").0, Some(0));
    let auditors = policies().join("../examples/policies-auditors");
    std::fs::copy(auditors.join("auditors.cedar"), dir.path().join("policies/auditors.cedar")).unwrap();
    std::fs::copy(auditors.join("tests/auditors.json"), tests.join("auditors.json")).unwrap();
    let (code, text) = run("no");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("auditors-read"), "{text}");
    assert_eq!(run("yes").0, Some(0));
    edit(dir.path(), "auditors.cedar", "\"auditor\"", "\"auditr\"");
    assert_eq!(run("yes").0, Some(1), "the cases no longer hold");
}

#[test]
fn a_denial_is_explained_and_who_may_is_told() {
    let question = r#"{"action": "compute:servers:delete",
        "principal": {"user": "u", "roles": ["reader"], "scope": "project", "project": "p", "domain": "d"},
        "target": {"id": "s", "project_id": "p"}}"#;
    let here = policies();
    let (code, text) = canopy(&here, &["why", question]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("denied, because no policy permits it"), "{text}");
    assert!(text.contains("@id(\"compute-write-own-project\"): 2 of 3 conditions hold"), "{text}");
    assert!(text.contains("fails: principal"), "{text}");
    let (code, text) = canopy(&here, &["who-can", "compute:servers:delete", r#"{"project_id": "p"}"#]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("role member in the resource's project: compute-write-own-project"), "{text}");
    for bad in [["why", "{}"], ["why", "req-1"], ["who-can", "no:such:action"]] {
        let (code, text) = canopy(&here, &[bad[0], bad[1], "--config", "/nowhere"]);
        assert_eq!(code, Some(1), "{bad:?}: {text}");
    }
}
