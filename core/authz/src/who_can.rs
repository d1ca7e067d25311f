//! Which kinds of callers may do something to a resource.

use crate::cases::{Caller, On};
use crate::{Action, Snapshot, roles};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// A kind of caller that may, by the weakest role that suffices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Able {
    /// Empty: no role is needed.
    pub role: String,
    pub scope: &'static str,
    /// Where the scope is in relation to the resource: `own`, `other`, or empty.
    pub place: &'static str,
    /// Only the resource's own user.
    pub owner: bool,
    pub policies: Vec<String>,
}

/// The roles that callers are tried with: those that every cloud has and those that policies name.
pub fn roles_named(policies: &Snapshot) -> Vec<String> {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for policy in policies.bundle().policies() {
        if let Ok(json) = policy.to_json() {
            collect(&json["conditions"], &mut named);
        }
    }
    let built_in = roles::BUILT_IN.iter().rev().map(|role| (*role).to_owned());
    let others = named.into_iter().filter(|role| !roles::BUILT_IN.contains(&role.as_str()));
    built_in.chain(others).collect()
}

/// Literals that `principal.roles` is asked for.
fn collect(json: &Value, named: &mut BTreeSet<String>) {
    for operator in ["contains", "containsAny", "containsAll"] {
        let call = &json[operator];
        if call["left"]["."]["attr"] == "roles" {
            strings(&call["right"], named);
        }
    }
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect(item, named)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, named)),
        _ => {}
    }
}

fn strings(json: &Value, found: &mut BTreeSet<String>) {
    match json {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}

/// Tries every role in every scope, as the owner and as somebody else. What depends on where a request
/// comes from is tried without it.
pub fn who_can(policies: &Snapshot, action: Action, on: &On) -> Vec<Able> {
    let named = roles_named(policies);
    let project = if on.project_id.is_empty() { "the-project" } else { &on.project_id };
    let domain = if on.domain_id.is_empty() { "the-domain" } else { &on.domain_id };
    let places = [
        ("project", "own", project, domain),
        ("project", "other", "another-project", "another-domain"),
        ("domain", "own", "", domain),
        ("domain", "other", "", "another-domain"),
        ("system", "", "", ""),
        ("unscoped", "", "", ""),
    ];
    let owner = if on.user_id.is_empty() { "the-owner" } else { &on.user_id };
    let target = On { user_id: owner.to_owned(), ..on.clone() }.target();
    let mut able: Vec<Able> = Vec::new();
    for (scope, place, project, domain) in places {
        for is_owner in [false, true] {
            for role in std::iter::once("").chain(named.iter().map(String::as_str)) {
                if scope == "unscoped" && !role.is_empty() {
                    continue;
                }
                let caller = Caller {
                    user: if is_owner { owner.to_owned() } else { "somebody-else".into() },
                    roles: if role.is_empty() { Vec::new() } else { vec![role.to_owned()] },
                    scope: scope.into(),
                    project: project.into(),
                    domain: domain.into(),
                    ..Caller::default()
                };
                let Ok((who, how)) = caller.resolve() else { continue };
                // Whoever needs less says it all.
                let weaker = able.iter().any(|able| {
                    (able.scope, able.place) == (scope, place)
                        && (is_owner || !able.owner)
                        && (able.role.is_empty() || who.has_role(&able.role))
                });
                let decision = policies.decide(&who, &how, action, &target);
                if decision.allowed && !weaker {
                    let (role, policies) = (role.to_owned(), decision.policies);
                    able.push(Able { role, scope, place, owner: is_owner, policies });
                }
            }
        }
    }
    able
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;
    use crate::cases::action;

    #[test]
    fn the_weakest_role_of_each_place_is_named() {
        let policies = Snapshot::of(Bundle::embedded().unwrap());
        let on = On { id: "s".into(), project_id: "p".into(), domain_id: "d".into(), ..On::default() };
        let able = who_can(&policies, action("compute:servers:delete").unwrap(), &on);
        let rows: Vec<(&str, &str, &str, bool)> =
            able.iter().map(|a| (a.role.as_str(), a.scope, a.place, a.owner)).collect();
        assert_eq!(
            rows,
            [
                ("member", "project", "own", false),
                ("admin", "project", "other", false),
                ("admin", "domain", "own", false),
                ("admin", "domain", "other", false),
                ("admin", "system", "", false),
            ]
        );
        let able = who_can(&policies, action("identity:users:change_password").unwrap(), &on);
        assert!(able.iter().any(|a| a.owner && a.role.is_empty() && a.scope == "unscoped"), "{able:?}");
    }
}
