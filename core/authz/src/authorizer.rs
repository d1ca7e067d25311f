//! The bundle in force, and the one question it answers.

use crate::load::Bundle;
use crate::{Action, Circumstances, Principal, Target};
use crate::{answers, request};
use canopy_types::Result;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Holds the bundle in force; cheap to clone. Clones share it, also after another is installed.
#[derive(Clone)]
pub struct Authorizer {
    current: Arc<RwLock<Arc<Bundle>>>,
}

/// The bundle that was in force at one moment. A request keeps one, so that all its decisions come from
/// one version however often the bundle is replaced meanwhile.
#[derive(Clone)]
pub struct Snapshot(Arc<Bundle>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Ids of the determining policies, sorted.
    pub policies: Vec<String>,
}

impl Authorizer {
    pub fn new(bundle: Bundle) -> Self {
        tracing::info!(
            policies = bundle.policies().count(),
            digest = bundle.digest(),
            commit = bundle.commit(),
            "policies loaded"
        );
        for warning in bundle.warnings() {
            tracing::warn!(warning, "policy");
        }
        Self { current: Arc::new(RwLock::new(Arc::new(bundle))) }
    }

    /// As [`Bundle::read`].
    pub fn load(dir: &Path) -> Result<Self> {
        Ok(Self::new(Bundle::read(dir)?))
    }

    /// The default policies, compiled in.
    pub fn embedded() -> Result<Self> {
        Ok(Self::new(Bundle::embedded()?))
    }

    /// Puts a bundle in force, for this and all clones. A decision in progress ends with the bundle it
    /// began with.
    pub fn install(&self, bundle: Bundle) {
        let bundle = Arc::new(bundle);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = bundle;
    }

    /// The bundle in force now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// One decision by the bundle in force now, with nothing known about how the caller comes.
    pub fn decide(&self, who: &Principal, action: Action, target: &Target) -> Decision {
        self.snapshot().decide(who, &Circumstances::default(), action, target)
    }
}

impl Snapshot {
    pub fn of(bundle: Bundle) -> Self {
        Self(Arc::new(bundle))
    }

    pub fn bundle(&self) -> &Bundle {
        &self.0
    }

    /// The part of `target` that decides about `action`: targets alike in it get the same answer.
    pub fn visible(&self, action: Action, target: &Target) -> Target {
        self.0.actions.get(action.name).map_or_else(|| target.clone(), |known| known.visible.part_of(target))
    }

    /// Whether [`Self::visible`] of both is the same.
    pub fn alike(&self, action: Action, a: &Target, b: &Target) -> bool {
        self.0.actions.get(action.name).map_or_else(|| a == b, |known| known.visible.alike(a, b))
    }

    /// Whether `who` may do `action` to `target`, and which policies say so. What cannot be evaluated is
    /// denied and logged.
    pub fn decide(&self, who: &Principal, how: &Circumstances, action: Action, target: &Target) -> Decision {
        let question =
            self.0.actions.get(action.name).and_then(|known| answers::question(known, who, how, target));
        let Some(question) = question else { return self.decide_anew(who, how, action, target).0 };
        if let Some(decision) = self.0.answers.get(&question) {
            return decision;
        }
        let (decision, sound) = self.decide_anew(who, how, action, target);
        if sound {
            self.0.answers.keep(question, decision.clone());
        }
        decision
    }

    /// The same, by asking Cedar, and whether everything could be evaluated.
    pub(crate) fn decide_anew(
        &self,
        who: &Principal,
        how: &Circumstances,
        action: Action,
        target: &Target,
    ) -> (Decision, bool) {
        let denied = (Decision { allowed: false, policies: Vec::new() }, false);
        let Some(prepared) = self.0.actions.get(action.name) else {
            tracing::error!(action = action.name, "an action that no policy bundle knows was denied");
            return denied;
        };
        let (request, entities) = match request::ask(prepared, who, how, target) {
            Ok(question) => question,
            Err(error) => {
                tracing::error!(action = action.name, error, "a decision that could not be asked was denied");
                return denied;
            }
        };
        let answer = cedar_policy::Authorizer::new().is_authorized(&request, &prepared.policies, &entities);
        let mut failed = false;
        for error in answer.diagnostics().errors() {
            failed = true;
            tracing::error!(action = action.name, %error, "a policy could not be evaluated, so this was denied");
        }
        let mut policies: Vec<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        // Cedar skips a policy that fails. A forbid skipped would grant, so any failure denies.
        let allowed = !failed && answer.decision() == cedar_policy::Decision::Allow;
        (Decision { allowed, policies }, !failed)
    }
}
