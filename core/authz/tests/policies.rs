//! The shipped policies against their cases, their schema, the action list and the checked-in matrix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_authz::{Action, Authorizer, Principal, Scope, Target, actions, roles};
use canopy_types::{DomainId, ProjectId, UserId};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    principals: BTreeMap<String, Caller>,
    targets: BTreeMap<String, On>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    user: String,
    roles: Vec<String>,
    scope: String,
    project: Option<String>,
    domain: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct On {
    id: String,
    project_id: String,
    domain_id: String,
    user_id: String,
    public: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    action: String,
    principal: String,
    target: String,
    allowed: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files() -> Vec<(String, File)> {
    let mut files: Vec<(String, File)> = std::fs::read_dir(root().join("policies/tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.display().to_string(), file)
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn principal(caller: &Caller) -> Principal {
    let domain = DomainId::from(caller.domain.clone().unwrap_or_default());
    Principal {
        user_id: UserId::from(caller.user.as_str()),
        user_name: caller.user.clone(),
        user_domain_id: DomainId::from("default"),
        roles: roles::expand(caller.roles.iter().map(String::as_str)),
        scope: match caller.scope.as_str() {
            "project" => Scope::Project {
                id: ProjectId::from(caller.project.clone().unwrap()),
                name: "p".into(),
                domain_id: domain,
            },
            "domain" => Scope::Domain { id: domain },
            "system" => Scope::System,
            "unscoped" => Scope::Unscoped,
            other => panic!("scope {other}"),
        },
    }
}

fn action(name: &str) -> Action {
    actions::all().find(|action| action.name == name).unwrap_or_else(|| panic!("there is no action {name}"))
}

#[test]
fn every_case_holds() {
    let authorizer = Authorizer::load(&root().join("policies")).unwrap();
    let mut wrong = Vec::new();
    for (path, file) in files() {
        for case in &file.cases {
            let on = &file.targets[&case.target];
            let target = Target {
                id: on.id.clone(),
                project_id: on.project_id.clone(),
                domain_id: on.domain_id.clone(),
                user_id: on.user_id.clone(),
                public: on.public,
            };
            let decision = authorizer.decide(
                &principal(&file.principals[&case.principal]),
                action(&case.action),
                &target,
            );
            if decision.allowed != case.allowed {
                let (action, who, on) = (&case.action, &case.principal, &case.target);
                wrong.push(format!("{path}: {action} by {who} on {on}: {decision:?}"));
            }
            assert_eq!(decision.allowed, !decision.policies.is_empty(), "an allow names its policies");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_action_has_a_case_that_allows_and_one_that_denies() {
    let mut allowed = BTreeSet::new();
    let mut denied = BTreeSet::new();
    for case in files().into_iter().flat_map(|(_, file)| file.cases) {
        if case.allowed {
            allowed.insert(case.action)
        } else {
            denied.insert(case.action)
        };
    }
    let all: BTreeSet<String> = actions::all().map(|action| action.name.to_owned()).collect();
    assert_eq!(allowed, all, "allowing cases against actions.rs");
    assert_eq!(denied, all, "denying cases against actions.rs");
}

#[test]
fn every_policy_decides_some_case() {
    let authorizer = Authorizer::embedded().unwrap();
    let mut seen = BTreeSet::new();
    for (_, file) in files() {
        for case in &file.cases {
            let on = &file.targets[&case.target];
            let target = Target {
                id: on.id.clone(),
                project_id: on.project_id.clone(),
                domain_id: on.domain_id.clone(),
                user_id: on.user_id.clone(),
                public: on.public,
            };
            let who = principal(&file.principals[&case.principal]);
            seen.extend(authorizer.decide(&who, action(&case.action), &target).policies);
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), authorizer.policy_ids());
}

#[test]
fn the_compiled_in_bundle_is_the_folder() {
    let folder = Authorizer::load(&root().join("policies")).unwrap();
    assert_eq!(folder.digest(), Authorizer::embedded().unwrap().digest(), "list the new file in bundle.rs");
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
