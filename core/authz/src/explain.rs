//! Why a request is answered as it is: the policies that decide it, or how near the others came.

use crate::{Action, Circumstances, Principal, Snapshot, Target};
use cedar_policy::{Effect, Policy, PolicyId, PolicySet};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub allowed: bool,
    /// The determining policies: what permits, or what forbids. None: nothing permits.
    pub policies: Vec<String>,
    /// For a denial that no policy decides: the permits for the action, the nearest first.
    pub nearest: Vec<Near>,
    /// The conditions of the determining policies, all of which hold.
    pub because: Vec<Near>,
}

/// One policy and which of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Near {
    pub policy: String,
    pub file: String,
    pub met: Vec<String>,
    pub unmet: Vec<String>,
}

/// Asks the question and takes the policies for the action apart.
pub fn explain(
    policies: &Snapshot,
    who: &Principal,
    how: &Circumstances,
    action: Action,
    target: &Target,
) -> Explanation {
    let decision = policies.decide(who, how, action, target);
    let near = |policy: &Policy| {
        let id = policy.id().to_string();
        let file = policies.bundle().file_of(&id).unwrap_or_default().to_owned();
        let (met, unmet): (Vec<Part>, Vec<Part>) =
            parts(policy).into_iter().partition(|part| holds(policies, part, who, how, action, target));
        let texts = |parts: Vec<Part>| parts.into_iter().map(|part| part.text).collect();
        Near { policy: id, file, met: texts(met), unmet: texts(unmet) }
    };
    let of_action: Vec<Policy> = policies
        .bundle()
        .action(action.name)
        .map(|prepared| prepared.policies.policies().cloned().collect())
        .unwrap_or_default();
    let because = of_action
        .iter()
        .filter(|policy| decision.policies.contains(&policy.id().to_string()))
        .map(near)
        .collect();
    let mut nearest: Vec<Near> = Vec::new();
    if !decision.allowed && decision.policies.is_empty() {
        nearest = of_action.iter().filter(|policy| policy.effect() == Effect::Permit).map(near).collect();
        nearest.sort_by(|a, b| (a.unmet.len(), &a.policy).cmp(&(b.unmet.len(), &b.policy)));
    }
    Explanation { allowed: decision.allowed, policies: decision.policies, nearest, because }
}

/// One condition as a policy of its own.
struct Part {
    text: String,
    policy: Policy,
}

/// The scope and each operand of the conditions' outermost `&&`.
fn parts(policy: &Policy) -> Vec<Part> {
    let Ok(json) = policy.to_json() else { return Vec::new() };
    let mut bodies = Vec::new();
    for condition in json["conditions"].as_array().into_iter().flatten() {
        if condition["kind"] == "unless" {
            operands(&condition["body"], "||", &mut |body| bodies.push(json!({"!": {"arg": body}})));
        } else {
            operands(&condition["body"], "&&", &mut |body| bodies.push(body.clone()));
        }
    }
    let mut parts = Vec::new();
    for (name, scope) in [("principal", &json["principal"]), ("resource", &json["resource"])] {
        if scope["op"] == "All" {
            continue;
        }
        let mut alone = condition(&json!({"Value": true}));
        alone[name] = scope.clone();
        let text = format!("{name} {} {}", scope["op"].as_str().unwrap_or_default(), named(scope));
        parts.extend(part(alone, Some(text)));
    }
    parts.extend(bodies.iter().filter_map(|body| part(condition(body), None)));
    parts
}

fn named(scope: &Value) -> String {
    let entity = &scope["entity"];
    match (entity["type"].as_str(), entity["id"].as_str()) {
        (Some(kind), Some(id)) => format!("{kind}::\"{id}\""),
        _ => scope["entity_type"].as_str().unwrap_or("another").to_owned(),
    }
}

fn condition(body: &Value) -> Value {
    json!({
        "effect": "permit",
        "principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"},
        "conditions": [{"kind": "when", "body": body}],
    })
}

fn part(policy: Value, text: Option<String>) -> Option<Part> {
    let policy = Policy::from_json(Some(PolicyId::new("part")), policy).ok()?;
    let text = text.unwrap_or_else(|| {
        let whole = policy.to_string();
        let body = whole.split_once("when {").and_then(|(_, rest)| rest.rsplit_once('}'));
        body.map_or(whole.as_str(), |(body, _)| body.trim()).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    Some(Part { text, policy })
}

fn operands(body: &Value, operator: &str, each: &mut impl FnMut(&Value)) {
    match body.get(operator) {
        Some(both) => {
            operands(&both["left"], operator, each);
            operands(&both["right"], operator, each);
        }
        None => each(body),
    }
}

/// Whether a condition holds by itself. One that cannot be evaluated, such as a field that is not there,
/// does not.
fn holds(
    policies: &Snapshot,
    part: &Part,
    who: &Principal,
    how: &Circumstances,
    action: Action,
    target: &Target,
) -> bool {
    let Some(prepared) = policies.bundle().action(action.name) else { return false };
    let Ok((request, entities)) = crate::request::ask(prepared, who, how, target) else { return false };
    let Ok(alone) = PolicySet::from_policies([part.policy.clone()]) else { return false };
    let answer = cedar_policy::Authorizer::new().is_authorized(&request, &alone, &entities);
    answer.decision() == cedar_policy::Decision::Allow
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{Caller, On, action};
    use crate::{Bundle, SCHEMA, embedded_files};

    fn ask(policies: &Snapshot, action_name: &str, caller: &Caller, on: &On) -> Explanation {
        let (who, how) = caller.resolve().unwrap();
        explain(policies, &who, &how, action(action_name).unwrap(), &on.target())
    }

    fn caller(role: &str) -> Caller {
        Caller {
            user: "u".into(),
            roles: vec![role.into()],
            scope: "project".into(),
            project: "p".into(),
            domain: "d".into(),
            ..Caller::default()
        }
    }

    #[test]
    fn a_denial_names_the_permits_that_came_nearest_and_what_failed() {
        let policies = Snapshot::of(Bundle::embedded().unwrap());
        let on = On { id: "s".into(), project_id: "p".into(), ..On::default() };
        let answer = ask(&policies, "compute:servers:delete", &caller("reader"), &on);
        assert!(!answer.allowed && answer.policies.is_empty());
        let near = answer.nearest.iter().find(|near| near.policy == "compute-write-own-project").unwrap();
        assert_eq!(near.unmet, [r#"principal.roles.contains("member")"#.to_owned()]);
        assert_eq!((near.met.len(), near.file.as_str()), (2, "compute.cedar"));

        let answer = ask(&policies, "compute:servers:delete", &caller("member"), &on);
        assert_eq!(answer.policies, ["compute-write-own-project"]);
        assert_eq!(answer.because[0].met.len(), 3);
        assert!(answer.nearest.is_empty());
    }

    #[test]
    fn a_forbid_unless_and_a_scope_are_taken_apart_too() {
        let text = "@id(\"no\")\nforbid (principal == User::\"u\", action, resource)\n\
            unless { resource.public || context has source };\n\
            @id(\"yes\")\npermit (principal, action, resource == Server::\"t\") when { context has source && context.source.isLoopback() };\n";
        let schema = embedded_files().into_iter().find(|(name, _)| name == SCHEMA).unwrap();
        let policies = Snapshot::of(Bundle::build(&[("a.cedar".into(), text.into()), schema]).unwrap());
        let on = On { id: "s".into(), ..On::default() };
        let answer = ask(&policies, "compute:servers:delete", &caller("member"), &on);
        assert_eq!(answer.policies, ["no"]);
        assert_eq!((answer.because[0].met.len(), answer.because[0].unmet.len()), (3, 0));
        let answer =
            ask(&policies, "compute:servers:delete", &Caller { user: "v".into(), ..caller("member") }, &on);
        assert_eq!(answer.nearest[0].unmet.len(), 3, "{answer:?}");
    }
}
