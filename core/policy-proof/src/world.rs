//! What holds of every request beyond the types, written as a policy so that the solver takes it into
//! account: without it a proof would fail on requests that cannot come, such as one of no known scope.
//!
//! Sound only as long as `canopy-authz` describes callers this way; each line names what makes it true.

use canopy_authz::roles;
use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet};
use std::collections::BTreeSet;

/// The policies and the world: denies what cannot come.
pub fn within(policies: &PolicySet, literals: &BTreeSet<EntityUid>) -> Result<PolicySet, String> {
    let world =
        Policy::parse(Some(PolicyId::new("what can be")), text(literals)).map_err(|e| e.to_string())?;
    let mut policies = policies.clone();
    policies.add(world).map_err(|e| e.to_string())?;
    Ok(policies)
}

/// Entities that policies name, of a type that a request of this kind can have.
pub fn literals<'a>(
    policies: impl Iterator<Item = &'a Policy>,
    question: &crate::prover::Question<'_>,
) -> BTreeSet<EntityUid> {
    let types = [question.env.principal(), question.env.resource()];
    policies.flat_map(Policy::entity_literals).filter(|uid| types.contains(&uid.type_name())).collect()
}

fn text(literals: &BTreeSet<EntityUid>) -> String {
    let mut facts: Vec<String> = [
        // `Scope` has these four, and each carries the ids that it has and no others.
        r#"["project", "domain", "system", "unscoped"].contains(principal.scope)"#,
        r#"(principal.scope == "project") == (principal.project_id != "")"#,
        r#"(["project", "domain"].contains(principal.scope)) == (principal.domain_id != "")"#,
        // A token without a scope carries no role.
        r#"principal.scope != "unscoped" || principal.roles.isEmpty()"#,
        // Every user has an id and a domain.
        r#"principal.id != "" && principal.user_domain_id != """#,
    ]
    .map(|fact| format!("({fact})"))
    .to_vec();
    // `roles::expand` ran over every caller's roles.
    for role in roles::BUILT_IN {
        if let Some(implied) = roles::implied(role) {
            facts.push(format!(
                r#"(!principal.roles.contains("{role}") || principal.roles.contains("{implied}"))"#
            ));
        }
    }
    // An entity's name is its id.
    for uid in literals {
        let id = uid.id().escaped();
        let side = if uid.type_name().to_string() == "User" { "principal" } else { "resource" };
        facts.push(format!(r#"(({side} == {uid}) == ({side}.id == "{id}"))"#));
    }
    format!("forbid (principal, action, resource) unless {{ {} }};", facts.join(" && "))
}
