//! Policies that say nothing: never true, covered by others, or unable to be evaluated.

use crate::prover::{Prover, Question};
use crate::world;
use canopy_authz::{Action, Bundle, actions};
use cedar_policy::{Effect, Policy, PolicySet};
use serde::Serialize;

/// Something about one policy that its author should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub policy: String,
    pub file: String,
    pub text: String,
}

/// Looks at every policy of a bundle.
pub async fn check(prover: &mut Prover, bundle: &Bundle) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for policy in bundle.policies() {
        if let Some(text) = of_policy(prover, bundle, policy).await? {
            let id = policy.id().to_string();
            let file = bundle.file_of(&id).unwrap_or_default().to_owned();
            findings.push(Finding { policy: id, file, text });
        }
    }
    Ok(findings)
}

async fn of_policy(prover: &mut Prover, bundle: &Bundle, policy: &Policy) -> Result<Option<String>, String> {
    let (mut can_hold, mut matters) = (false, false);
    for action in actions::all() {
        let Some(prepared) = bundle.action(action.name) else { continue };
        if prepared.policies.policy(policy.id()).is_none() {
            continue;
        }
        let question = Question::new(bundle.schema(), prepared);
        if !prover.never_fails(&question, policy).await? {
            let text = "can fail to evaluate, because a number overflows; the request is denied then";
            return Ok(Some(format!("{text} ({})", action.name)));
        }
        can_hold = can_hold || holds(prover, &question, policy).await?;
        matters = matters || changes(prover, &question, &prepared.policies, policy, action).await?;
        if can_hold && matters {
            return Ok(None);
        }
    }
    Ok(Some(match (can_hold, policy.effect()) {
        (false, _) => "never holds: no request that there can be meets its conditions".into(),
        (true, Effect::Permit) => {
            "changes nothing: other policies permit, or forbid, all that it permits".into()
        }
        (true, Effect::Forbid) => "changes nothing: all that it forbids is denied without it".into(),
    }))
}

/// Whether some request meets the policy's conditions.
async fn holds(prover: &mut Prover, question: &Question<'_>, policy: &Policy) -> Result<bool, String> {
    let alone = PolicySet::from_policies([permit(policy)?]).map_err(|e| e.to_string())?;
    let literals = world::literals(std::iter::once(policy), question);
    Ok(!prover.always_denies(question, &world::within(&alone, &literals)?).await?)
}

/// The same scope and conditions with the effect that can be asked about.
fn permit(policy: &Policy) -> Result<Policy, String> {
    let mut json = policy.to_json().map_err(|e| e.to_string())?;
    json["effect"] = "permit".into();
    Policy::from_json(Some(policy.id().clone()), json).map_err(|e| e.to_string())
}

/// Whether some request is answered otherwise without the policy.
async fn changes(
    prover: &mut Prover,
    question: &Question<'_>,
    all: &PolicySet,
    policy: &Policy,
    action: Action,
) -> Result<bool, String> {
    let rest = all.policies().filter(|other| other.id() != policy.id()).cloned();
    let rest = PolicySet::from_policies(rest).map_err(|e| e.to_string())?;
    let literals = world::literals(all.policies(), question);
    let (left, right) = match policy.effect() {
        Effect::Permit => (all, &rest),
        Effect::Forbid => (&rest, all),
    };
    let difference = prover.counterexample(question, &world::within(left, &literals)?, right).await;
    Ok(difference.map_err(|e| format!("{}: {e}", action.name))?.is_some())
}
