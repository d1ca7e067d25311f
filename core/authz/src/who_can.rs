//! Which kinds of callers may do something to a resource.

use crate::cases::{Caller, On};
use crate::{Action, Snapshot, roles};
use cedar_policy::Effect;
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
        for (one, other) in [("left", "right"), ("right", "left")] {
            if call[one]["."]["attr"] == "roles" {
                strings(&call[other], named);
            }
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

/// A policy of the action that decided for nobody who was tried: it looks at what was not, as the source of a
/// request, one user, or two roles at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Untried {
    pub policy: String,
    pub file: String,
    /// Whether it would forbid what the others permit.
    pub forbids: bool,
}

pub fn untried(policies: &Snapshot, action: Action, able: &[Able]) -> Vec<Untried> {
    let bundle = policies.bundle();
    let seen: BTreeSet<&str> = able.iter().flat_map(|able| &able.policies).map(String::as_str).collect();
    let mut untried: Vec<Untried> = bundle
        .action(action.name)
        .into_iter()
        .flat_map(|prepared| prepared.policies.policies())
        .filter(|policy| !seen.contains(AsRef::<str>::as_ref(policy.id())))
        .map(|policy| {
            let id = policy.id().to_string();
            let file = bundle.file_of(&id).unwrap_or_default().to_owned();
            Untried { policy: id, file, forbids: policy.effect() == Effect::Forbid }
        })
        .collect();
    untried.sort_by(|a, b| a.policy.cmp(&b.policy));
    untried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;
    use crate::cases::action;

    #[test]
    fn what_depends_on_more_than_a_role_is_told_apart() {
        let mut files = crate::embedded_files();
        let more = "@id(\"far\") permit (principal, action == Action::\"compute:servers:stop\", resource)\n\
            when { principal.roles.contains(\"ops\") && context has source && context.source.isInRange(ip(\"10.0.0.0/8\")) };\n\
            @id(\"near\") permit (principal, action == Action::\"compute:servers:stop\", resource)\n\
            when { [\"helpers\"].containsAny(principal.roles) };\n\
            @id(\"not\") forbid (principal, action == Action::\"compute:servers:stop\", resource)\n\
            when { resource.id == \"x\" };\n";
        files.push(("more.cedar".into(), more.into()));
        let policies = Snapshot::of(Bundle::build(&files).unwrap());
        let on = On { id: "s".into(), project_id: "p".into(), domain_id: "d".into(), ..On::default() };
        let stop = action("compute:servers:stop").unwrap();
        let able = who_can(&policies, stop, &on);
        assert!(able.iter().any(|able| able.role == "helpers"), "{able:?}");
        let untried: Vec<(String, bool)> = untried(&policies, stop, &able)
            .into_iter()
            .filter(|untried| untried.file == "more.cedar")
            .map(|untried| (untried.policy, untried.forbids))
            .collect();
        assert_eq!(untried, [("far".to_owned(), false), ("not".to_owned(), true)]);
    }

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
