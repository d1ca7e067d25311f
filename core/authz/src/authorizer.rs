//! The policy bundle and the one question it answers.

use crate::load::{self, Bundle, Prepared};
use crate::{Action, Principal, Scope, Target, bundle};
use canopy_types::Result;
use cedar_policy::{Context, Entities, Entity, EntityId, EntityUid, Request, RestrictedExpression};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// A loaded, strictly validated bundle; cheap to clone. Clones share the bundle, also after a swap.
#[derive(Clone)]
pub struct Authorizer {
    current: Arc<RwLock<Arc<Bundle>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Ids of the determining policies, sorted.
    pub policies: Vec<String>,
}

impl Authorizer {
    /// Loads `schema.cedarschema` and every `*.cedar` of a folder. An invalid bundle is an error that
    /// lists file and line of everything wrong.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::from_files(&load::read_dir(dir)?)
    }

    /// The default policies, compiled in.
    pub fn embedded() -> Result<Self> {
        let files: Vec<(String, String)> =
            bundle::FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Self::from_files(&files)
    }

    fn from_files(files: &[(String, String)]) -> Result<Self> {
        let bundle = load::build(files)?;
        tracing::info!(policies = bundle.ids.len(), digest = bundle.digest, "policies loaded");
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(bundle))) })
    }

    /// Replaces the bundle by another's, for this and all clones. A decision in progress ends with the
    /// bundle it began with.
    pub fn swap(&self, other: &Self) {
        let bundle = other.bundle();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = bundle;
    }

    /// sha256 over names and texts of the bundle's files, hex.
    pub fn digest(&self) -> String {
        self.bundle().digest.clone()
    }

    /// Ids of all policies, sorted.
    pub fn policy_ids(&self) -> Vec<String> {
        self.bundle().ids.clone()
    }

    /// Whether `who` may do `action` to `target`, and which policies say so. What cannot be evaluated is
    /// denied and logged.
    pub fn decide(&self, who: &Principal, action: Action, target: &Target) -> Decision {
        let denied = Decision { allowed: false, policies: Vec::new() };
        let bundle = self.bundle();
        let Some(prepared) = bundle.actions.get(action.name) else {
            tracing::error!(action = action.name, "an action that no policy bundle knows was denied");
            return denied;
        };
        let (request, entities) = match ask(&bundle, prepared, who, target) {
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
        Decision { allowed: !failed && answer.decision() == cedar_policy::Decision::Allow, policies }
    }

    fn bundle(&self) -> Arc<Bundle> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn ask(
    bundle: &Bundle,
    action: &Prepared,
    who: &Principal,
    target: &Target,
) -> std::result::Result<(Request, Entities), String> {
    let principal =
        EntityUid::from_type_name_and_id(bundle.principal.clone(), EntityId::new(who.user_id.as_str()));
    let resource =
        EntityUid::from_type_name_and_id(action.resource.clone(), EntityId::new(target.id.as_str()));
    let entities = [caller(principal.clone(), who)?, resource_of(resource.clone(), target)?]
        .into_iter()
        .chain(action.entities.iter().cloned());
    let entities = Entities::from_entities(entities, None).map_err(|e| e.to_string())?;
    let request = Request::new(principal, action.uid.clone(), resource, Context::empty(), None)
        .map_err(|e| e.to_string())?;
    Ok((request, entities))
}

fn caller(uid: EntityUid, who: &Principal) -> std::result::Result<Entity, String> {
    let (scope, project_id, domain_id) = match &who.scope {
        Scope::Unscoped => ("unscoped", "", ""),
        Scope::Project { id, domain_id, .. } => ("project", id.as_str(), domain_id.as_str()),
        Scope::Domain { id } => ("domain", "", id.as_str()),
        Scope::System => ("system", "", ""),
    };
    let roles = who.roles.iter().map(|role| RestrictedExpression::new_string(role.clone()));
    let attributes = HashMap::from([
        ("id".to_owned(), text(who.user_id.as_str())),
        ("scope".to_owned(), text(scope)),
        ("project_id".to_owned(), text(project_id)),
        ("domain_id".to_owned(), text(domain_id)),
        ("user_domain_id".to_owned(), text(who.user_domain_id.as_str())),
        ("roles".to_owned(), RestrictedExpression::new_set(roles)),
    ]);
    Entity::new(uid, attributes, HashSet::new()).map_err(|e| e.to_string())
}

fn resource_of(uid: EntityUid, target: &Target) -> std::result::Result<Entity, String> {
    let attributes = HashMap::from([
        ("id".to_owned(), text(&target.id)),
        ("project_id".to_owned(), text(&target.project_id)),
        ("domain_id".to_owned(), text(&target.domain_id)),
        ("user_id".to_owned(), text(&target.user_id)),
        ("public".to_owned(), RestrictedExpression::new_bool(target.public)),
    ]);
    Entity::new(uid, attributes, HashSet::new()).map_err(|e| e.to_string())
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}
