//! What of a resource the policies of one action look at: resources that are alike in that get one answer,
//! so that a list of a thousand takes a few decisions.

use crate::Target;
use cedar_policy::{Policy, PolicySet, ResourceConstraint};
use serde_json::Value;
use std::collections::BTreeSet;

/// Names of the attributes that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    attributes: BTreeSet<String>,
    /// Which resource it is counts.
    entity: bool,
    metadata: bool,
    principal: Looked,
    context: Looked,
}

/// What is looked at of the caller or of the circumstances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Looked {
    attributes: BTreeSet<String>,
    /// It is used otherwise than by naming an attribute: any may count.
    whole: bool,
}

impl Looked {
    fn at(&self, name: &str) -> bool {
        self.whole || self.attributes.contains(name)
    }
}

impl Visible {
    pub fn of(policies: &PolicySet) -> Self {
        let mut visible = Self::default();
        for policy in policies.policies() {
            visible.policy(policy);
        }
        visible
    }

    fn policy(&mut self, policy: &Policy) {
        let scoped =
            !matches!(policy.resource_constraint(), ResourceConstraint::Any | ResourceConstraint::Is(_));
        self.entity |= scoped;
        match policy.to_json() {
            Ok(json) => self.walk(&json["conditions"]),
            // What cannot be looked into may look at anything.
            Err(_) => {
                (self.entity, self.metadata) = (true, true);
                (self.principal.whole, self.context.whole) = (true, true);
            }
        }
    }

    fn walk(&mut self, json: &Value) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let of = value["left"]["Var"].as_str().unwrap_or_default();
                    let of_resource = of == "resource";
                    match (name.as_str(), value["attr"].as_str()) {
                        ("." | "has", Some(attribute)) if of_resource => {
                            self.attributes.insert(attribute.to_owned());
                        }
                        ("." | "has", Some(attribute)) if of == "principal" => {
                            self.principal.attributes.insert(attribute.to_owned());
                        }
                        ("." | "has", Some(attribute)) if of == "context" => {
                            self.context.attributes.insert(attribute.to_owned());
                        }
                        ("hasTag" | "getTag", _) if of_resource => {
                            self.metadata = true;
                            self.walk(&value["right"]);
                        }
                        ("Var", _) => {
                            self.entity |= value == "resource";
                            self.principal.whole |= value == "principal";
                            self.context.whole |= value == "context";
                        }
                        _ => self.walk(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether any policy may look at this attribute of the resource. What none looks at need not be told.
    pub fn of_resource(&self, name: &str) -> bool {
        self.entity || self.attributes.contains(name)
    }

    /// The same of the caller.
    pub fn of_principal(&self, name: &str) -> bool {
        self.principal.at(name)
    }

    /// The same of the circumstances.
    pub fn of_context(&self, name: &str) -> bool {
        self.context.at(name)
    }

    /// Whether a policy may use the resource otherwise than by naming an attribute.
    pub fn of_whole_resource(&self) -> bool {
        self.entity
    }

    /// Whether any policy may look at the resource's metadata.
    pub fn of_metadata(&self) -> bool {
        self.entity || self.metadata
    }

    /// The target with everything left out that no policy looks at.
    pub fn part_of(&self, target: &Target) -> Target {
        let sees = |name: &str| self.attributes.contains(name);
        let text = |name: &str, value: &String| if sees(name) { value.clone() } else { String::new() };
        Target {
            id: if self.entity || sees("id") { target.id.clone() } else { String::new() },
            project_id: text("project_id", &target.project_id),
            domain_id: text("domain_id", &target.domain_id),
            user_id: text("user_id", &target.user_id),
            public: sees("public") && target.public,
            shared: sees("shared") && target.shared,
            labels: if sees("labels") { target.labels.clone() } else { Vec::new() },
            metadata: if self.metadata { target.metadata.clone() } else { Default::default() },
            wanted: target.wanted.clone(),
            at_stake: target.at_stake.clone(),
        }
    }

    /// Whether [`Self::part_of`] both is the same.
    pub fn alike(&self, a: &Target, b: &Target) -> bool {
        let unseen = |name: &str| !self.attributes.contains(name);
        (a.id == b.id || (!self.entity && unseen("id")))
            && (a.project_id == b.project_id || unseen("project_id"))
            && (a.domain_id == b.domain_id || unseen("domain_id"))
            && (a.user_id == b.user_id || unseen("user_id"))
            && (a.public == b.public || unseen("public"))
            && (a.shared == b.shared || unseen("shared"))
            && (a.labels == b.labels || unseen("labels"))
            && (a.metadata == b.metadata || !self.metadata)
            && a.wanted == b.wanted
            && a.at_stake == b.at_stake
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn seen(text: &str) -> Target {
        let target = Target {
            id: "i".into(),
            project_id: "p".into(),
            domain_id: "d".into(),
            user_id: "u".into(),
            public: true,
            shared: true,
            labels: vec!["l".into()],
            metadata: [("k".to_owned(), "v".to_owned())].into(),
            wanted: None,
            at_stake: None,
        };
        Visible::of(&PolicySet::from_str(text).unwrap()).part_of(&target)
    }

    #[test]
    fn of_caller_and_circumstances_too_and_what_is_used_whole_is_looked_at_whole() {
        let looks = |text: &str| {
            let visible = Visible::of(&PolicySet::from_str(text).unwrap());
            let of = |names: [&str; 2], looked: &dyn Fn(&str) -> bool| names.map(looked);
            (
                of(["roles", "scope"], &|name| visible.of_principal(name)),
                of(["source", "methods"], &|name| visible.of_context(name)),
                visible.of_resource("id"),
            )
        };
        let none = ([false; 2], [false; 2], false);
        assert_eq!(looks("permit (principal, action, resource);"), none);
        assert_eq!(looks("permit (principal == User::\"u\", action, resource);"), none);
        assert_eq!(
            looks("permit (principal, action, resource) when { principal.roles.contains(\"a\") };"),
            ([true, false], [false; 2], false)
        );
        assert_eq!(
            looks(
                "forbid (principal, action, resource) unless { context has source && context.source.isLoopback() };"
            ),
            ([false; 2], [true, false], false)
        );
        let whole = looks(
            "permit (principal, action, resource) when { (if true then principal else principal).scope == \"x\" };",
        );
        assert_eq!(whole, ([true; 2], [false; 2], false));
        assert_eq!(
            looks(
                "permit (principal, action, resource) when { [context] == [context] || resource == principal };"
            ),
            ([true; 2], [true; 2], true)
        );
    }

    #[test]
    fn only_what_a_policy_looks_at_counts() {
        let none = Target::default();
        assert_eq!(seen("permit (principal, action, resource) when { principal.id == \"x\" };"), none);
        assert_eq!(
            seen(
                "permit (principal, action, resource) when { resource.project_id == principal.project_id };"
            ),
            Target { project_id: "p".into(), ..none.clone() }
        );
        let id = Target { id: "i".into(), ..none.clone() };
        assert_eq!(seen("permit (principal, action, resource == Image::\"i\");"), id);
        assert_eq!(seen("permit (principal, action, resource) when { resource == Image::\"i\" };"), id);
        assert_eq!(seen("permit (principal, action, resource is Image in Image::\"i\");"), id);
        assert_eq!(seen("permit (principal, action, resource) unless { resource.id like \"a*\" };"), id);
        let tags = seen(
            "permit (principal, action, resource) when { resource.hasTag(\"k\") && resource.labels.contains(\"l\") && resource.public };",
        );
        assert_eq!((tags.metadata.len(), tags.labels.len(), tags.public, tags.id.as_str()), (1, 1, true, ""));
    }

    #[test]
    fn targets_are_alike_when_their_visible_parts_are() {
        let one = Target::default();
        let others = [
            Target { id: "i".into(), ..one.clone() },
            Target { project_id: "p".into(), ..one.clone() },
            Target { domain_id: "d".into(), ..one.clone() },
            Target { user_id: "u".into(), ..one.clone() },
            Target { public: true, ..one.clone() },
            Target { shared: true, ..one.clone() },
            Target { labels: vec!["l".into()], ..one.clone() },
            Target { metadata: [("k".to_owned(), "v".to_owned())].into(), ..one.clone() },
            Target { wanted: Some(Box::default()), ..one.clone() },
            Target { at_stake: Some(Box::default()), ..one.clone() },
            one.clone(),
        ];
        let conditions = [
            "true",
            "resource == Image::\"i\"",
            "resource.id == \"i\"",
            "resource.project_id == \"p\"",
            "resource.domain_id == \"d\" && resource.public",
            "resource.user_id == \"u\" || resource.shared",
            "resource.labels.contains(\"l\")",
            "resource.hasTag(\"k\")",
        ];
        let (mut alike, mut unlike) = (0, 0);
        for condition in conditions {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            let visible = Visible::of(&PolicySet::from_str(&text).unwrap());
            for other in &others {
                let same = visible.part_of(&one) == visible.part_of(other);
                assert_eq!(visible.alike(&one, other), same, "{condition}: {other:?}");
                if same { alike += 1 } else { unlike += 1 }
            }
        }
        assert!(alike > others.len() && unlike > conditions.len());
    }
}
