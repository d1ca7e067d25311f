//! The role × scope × action matrix, computed from the policies, so that a reviewer sees what an edit
//! of theirs means without reading Cedar.

use crate::{Action, AtStake, Authorizer, Principal, Scope, Target, actions, roles};
use canopy_types::{DomainId, ProjectId, UserId};
use std::fmt::Write;

const COLUMNS: [&str; 6] = ["admin", "manager", "member", "reader", "service", "no role"];

/// The matrix of `authorizer`'s bundle as Markdown.
pub fn matrix(authorizer: &Authorizer) -> String {
    let mut text = String::from(
        "# Who may do what\n\nComputed from `policies/` by `canopy_authz::matrix`; a test fails when it is stale \
         (`CANOPY_UPDATE=1` rewrites it).\nCells: **all** – anybody's; *own* – of the token's project or domain, or \
         one's own; *public* – others' that are marked public or shared; – no.\n",
    );
    for (title, scope) in scopes() {
        let _ =
            write!(text, "\n## {title}\n\n| action | {} |\n|---|{}\n", COLUMNS.join(" | "), "---|".repeat(6));
        for action in actions::all() {
            let cells: Vec<String> =
                COLUMNS.iter().map(|role| cell(authorizer, &caller(role, scope.clone()), action)).collect();
            let _ = writeln!(text, "| `{}` | {} |", action.name, cells.join(" | "));
        }
    }
    text
}

fn scopes() -> [(&'static str, Scope); 4] {
    let project = Scope::Project {
        id: ProjectId::from("p-own"),
        name: "own".into(),
        domain_id: DomainId::from("d-own"),
    };
    [
        ("Project scope", project),
        ("Domain scope", Scope::Domain { id: DomainId::from("d-own") }),
        ("System scope", Scope::System),
        ("No scope", Scope::Unscoped),
    ]
}

fn caller(role: &str, scope: Scope) -> Principal {
    let held = (role != "no role" && scope != Scope::Unscoped).then_some(role);
    Principal {
        user_id: UserId::from("u-own"),
        user_name: "somebody".into(),
        user_domain_id: DomainId::from("d-own"),
        roles: roles::expand(held),
        scope,
    }
}

fn cell(authorizer: &Authorizer, who: &Principal, action: Action) -> String {
    let may = |target: &Target| authorizer.decide(who, action, target).allowed;
    let other = Target {
        id: "other".into(),
        project_id: "p-other".into(),
        domain_id: "d-other".into(),
        user_id: "u-other".into(),
        ..Target::default()
    };
    if may(&other) {
        return "**all**".into();
    }
    let mut words = Vec::new();
    if may(&own(who, action)) {
        words.push("*own*");
    }
    if may(&other.clone().public(true)) {
        words.push("*public*");
    }
    if may(&other.shared(true)) {
        words.push("*shared*");
    }
    if words.is_empty() { "–".into() } else { words.join(", ") }
}

/// What is the caller's own in every respect that its scope has.
fn own(who: &Principal, action: Action) -> Target {
    let (project, domain) = match &who.scope {
        Scope::Project { id, domain_id, .. } => (id.0.clone(), domain_id.0.clone()),
        Scope::Domain { id } => (String::new(), id.0.clone()),
        Scope::System | Scope::Unscoped => (String::new(), String::new()),
    };
    let id = match action.resource {
        "Project" => project.clone(),
        "Domain" => domain.clone(),
        "Account" => who.user_id.0.clone(),
        _ => "own".into(),
    };
    let at_stake = Some(Box::new(AtStake { roles: vec!["reader".into()], holder_domain_id: domain.clone() }));
    let user_id = who.user_id.0.clone();
    Target { id, project_id: project, domain_id: domain, user_id, at_stake, ..Target::default() }
}
