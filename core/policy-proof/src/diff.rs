//! What a change of policies grants and takes away, action by action.

use crate::example::{self, Example};
use crate::prover::{Prover, Question, policies_of};
use crate::world;
use canopy_authz::{Action, SCHEMA, Snapshot, actions};
use cedar_policy::{EntityUid, Policy, PolicySet};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a change means for one action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub action: &'static str,
    /// Whether there is a request that only the new policies allow.
    pub granted: Verdict,
    /// Whether there is a request that only the old policies allow.
    pub removed: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Proved: there is none.
    Nothing,
    /// This one, as the authorizer itself confirms.
    Example(Box<Example>),
    /// Neither could be shown, and why.
    Undecided(String),
}

/// Compares two bundles over all actions.
pub async fn diff(prover: &mut Prover, old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    for action in actions::all() {
        let (granted, removed) = match of_action(prover, old, new, action).await {
            Ok(verdicts) => verdicts,
            Err(reason) => (Verdict::Undecided(reason.clone()), Verdict::Undecided(reason)),
        };
        changes.push(Change { action: action.name, granted, removed });
    }
    changes
}

async fn of_action(
    prover: &mut Prover,
    old: &Snapshot,
    new: &Snapshot,
    action: Action,
) -> Result<(Verdict, Verdict), String> {
    let before = policies_of(old.bundle(), action);
    let after = policies_of(new.bundle(), action);
    // With the same policies and types there is nothing to prove.
    if old.bundle().digest_of(SCHEMA) == new.bundle().digest_of(SCHEMA) && texts(&before) == texts(&after) {
        return Ok((Verdict::Nothing, Verdict::Nothing));
    }
    let prepared = new.bundle().action(action.name).ok_or("the new schema does not declare the action")?;
    if old.bundle().action(action.name).is_some_and(|old| groups(old) != groups(prepared)) {
        return Err("the two schemas put the action in different groups, which cannot be compared".into());
    }
    let question = Question::new(new.bundle().schema(), prepared);
    for policy in before.policies().chain(after.policies()) {
        if !prover.never_fails(&question, policy).await? {
            let id = policy.id();
            return Err(format!(
                "{id} can fail to evaluate, by an overflow: such a policy cannot be compared"
            ));
        }
    }
    let literals = world::literals(before.policies().chain(after.policies()), &question);
    let granted = one_way(prover, &question, action, (&after, new), (&before, old), &literals).await?;
    let removed = one_way(prover, &question, action, (&before, old), (&after, new), &literals).await?;
    Ok((granted, removed))
}

/// Looks for a request that `left` allows and `right` denies.
async fn one_way(
    prover: &mut Prover,
    question: &Question<'_>,
    action: Action,
    left: (&PolicySet, &Snapshot),
    right: (&PolicySet, &Snapshot),
    literals: &BTreeSet<EntityUid>,
) -> Result<Verdict, String> {
    let possible = world::within(left.0, literals)?;
    Ok(match prover.counterexample(question, &possible, right.0).await? {
        None => Verdict::Nothing,
        Some(model) => match example::confirmed(&model, action, left.1, right.1)? {
            Some(example) => Verdict::Example(Box::new(example)),
            None => Verdict::Undecided(
                "the solver names a request that the authorizer does not confirm, which should not be".into(),
            ),
        },
    })
}

fn texts(policies: &PolicySet) -> BTreeSet<String> {
    policies.policies().map(Policy::to_string).collect()
}

fn groups(action: &canopy_authz::Prepared) -> BTreeSet<EntityUid> {
    action.entities.iter().map(cedar_policy::Entity::uid).collect()
}
