//! From files to a bundle that can decide: parse, validate strictly, and say where what is wrong.

use crate::actions;
use crate::bundle::SCHEMA;
use canopy_types::{Error, Kind, Result};
use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::str::FromStr;

/// Largest policy or schema file, bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Most files in a bundle.
pub const MAX_FILES: usize = 256;
/// The only principal there is.
pub const PRINCIPAL: &str = "User";

/// Everything a decision needs, made once per bundle.
pub struct Bundle {
    pub actions: HashMap<&'static str, Prepared>,
    pub principal: EntityTypeName,
    pub digest: String,
    /// Ids of all policies, sorted.
    pub ids: Vec<String>,
}

/// One action with only the policies whose scope can match it: the others could never be satisfied, so
/// leaving them out changes no answer and makes a decision's cost independent of the bundle's size.
pub struct Prepared {
    pub uid: EntityUid,
    pub resource: EntityTypeName,
    pub policies: PolicySet,
    /// The action and its groups, when it is in any.
    pub entities: Vec<Entity>,
}

/// The files of a folder: the schema and every `*.cedar`, by name.
pub fn read_dir(dir: &Path) -> Result<Vec<(String, String)>> {
    let fault = |path: &Path, e: std::io::Error| invalid(format!("{}: cannot be read: {e}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| fault(dir, e))? {
        let path = entry.map_err(|e| fault(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name != SCHEMA && path.extension().is_none_or(|extension| extension != "cedar") {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|e| fault(&path, e))?.len();
        if size > MAX_FILE {
            return Err(invalid(format!("{}: is larger than {MAX_FILE} bytes", path.display())));
        }
        files.push((name.to_owned(), std::fs::read_to_string(&path).map_err(|e| fault(&path, e))?));
        if files.len() > MAX_FILES {
            return Err(invalid(format!("{}: holds more than {MAX_FILES} policy files", dir.display())));
        }
    }
    files.sort();
    Ok(files)
}

/// Builds a bundle, or lists everything that is wrong with it.
pub fn build(files: &[(String, String)]) -> Result<Bundle> {
    let schema = schema(files)?;
    let validator = Validator::new(schema);
    let mut faults = Vec::new();
    let mut policies: BTreeMap<String, (Policy, &str)> = BTreeMap::new();
    for (name, text) in files.iter().filter(|(name, _)| name != SCHEMA) {
        match PolicySet::from_str(text) {
            Ok(set) => file(name, text, &set, &validator, &mut policies, &mut faults),
            Err(errors) => {
                faults.extend(errors.iter().map(|error| format!("{}: {error}", place(name, text, error))));
            }
        }
    }
    if !faults.is_empty() {
        return Err(invalid(faults.join("\n")));
    }
    let policies: Vec<Policy> = policies.into_values().map(|(policy, _)| policy).collect();
    let groups = validator.schema().action_entities().map_err(|e| invalid(format!("{SCHEMA}: {e}")))?;
    Ok(Bundle {
        actions: prepare(&policies, &groups)?,
        principal: type_name(PRINCIPAL)?,
        digest: digest(files),
        ids: policies.iter().map(|policy| policy.id().to_string()).collect(),
    })
}

fn schema(files: &[(String, String)]) -> Result<Schema> {
    let text = files.iter().find(|(name, _)| name == SCHEMA).map(|(_, text)| text.as_str());
    let text = text.ok_or_else(|| invalid(format!("{SCHEMA}: is missing")))?;
    let (schema, warnings) = Schema::from_cedarschema_str(text)
        .map_err(|e| invalid(format!("{}: {}", place(SCHEMA, text, &e), chain(&e))))?;
    for warning in warnings {
        tracing::warn!(file = SCHEMA, %warning, "policy schema");
    }
    let faults: Vec<String> = actions::all().filter_map(|action| undeclared(&schema, action)).collect();
    if faults.is_empty() { Ok(schema) } else { Err(invalid(faults.join("\n"))) }
}

/// An action of the program that the schema lacks would be denied for ever without a word: refuse instead.
fn undeclared(schema: &Schema, action: crate::Action) -> Option<String> {
    let uid = action_uid(action.name).ok()?;
    let resources: Vec<String> = schema
        .resources_for_action(&uid)
        .map(|types| types.map(ToString::to_string).collect())
        .unwrap_or_default();
    let principals: Vec<String> = schema
        .principals_for_action(&uid)
        .map(|types| types.map(ToString::to_string).collect())
        .unwrap_or_default();
    if resources.iter().any(|name| name == action.resource) && principals.iter().any(|name| name == PRINCIPAL)
    {
        return None;
    }
    Some(format!(
        "{SCHEMA}: action \"{}\" must be declared with principal {PRINCIPAL} and resource {}",
        action.name, action.resource
    ))
}

fn file<'a>(
    name: &'a str,
    text: &str,
    set: &PolicySet,
    validator: &Validator,
    policies: &mut BTreeMap<String, (Policy, &'a str)>,
    faults: &mut Vec<String>,
) {
    for template in set.templates() {
        faults.push(format!(
            "{name}: {} is a template: write a policy without ?principal and ?resource",
            template.id()
        ));
    }
    let outcome = validator.validate(set, ValidationMode::Strict);
    faults.extend(outcome.validation_errors().map(|error| format!("{}: {error}", place(name, text, error))));
    for warning in outcome.validation_warnings() {
        tracing::warn!(file = place(name, text, warning), %warning, "policy");
    }
    for policy in set.policies() {
        let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
            faults.push(format!("{name}: a policy has no @id(\"…\"): {}", first_line(policy)));
            continue;
        };
        if let Some((_, other)) = policies.get(id) {
            faults.push(format!("{name}: @id(\"{id}\") is taken already, in {other}"));
            continue;
        }
        policies.insert(id.to_owned(), (policy.new_id(PolicyId::new(id)), name));
    }
}

fn prepare(policies: &[Policy], groups: &Entities) -> Result<HashMap<&'static str, Prepared>> {
    let mut prepared = HashMap::new();
    for action in actions::all() {
        let uid = action_uid(action.name)?;
        let ancestors: Vec<&EntityUid> = groups.ancestors(&uid).map(Iterator::collect).unwrap_or_default();
        let concerns = |other: &EntityUid| *other == uid || ancestors.contains(&other);
        let of_action = policies.iter().filter(|policy| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(other) => other == uid,
            ActionConstraint::In(others) => others.iter().any(concerns),
        });
        let policies = PolicySet::from_policies(of_action.cloned())
            .map_err(|e| Error::internal("policy.partition", e))?;
        let entities = if ancestors.is_empty() {
            Vec::new()
        } else {
            std::iter::once(&uid)
                .chain(ancestors.iter().copied())
                .filter_map(|uid| groups.get(uid).cloned())
                .collect()
        };
        let resource = type_name(action.resource)?;
        prepared.insert(action.name, Prepared { uid, resource, policies, entities });
    }
    Ok(prepared)
}

fn action_uid(name: &str) -> Result<EntityUid> {
    Ok(EntityUid::from_type_name_and_id(type_name("Action")?, EntityId::new(name)))
}

fn type_name(name: &str) -> Result<EntityTypeName> {
    EntityTypeName::from_str(name).map_err(|e| Error::internal("policy.type_name", e))
}

fn digest(files: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in files {
        for part in [name, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `file:line`, as far as the diagnostic says where.
fn place(name: &str, text: &str, error: &dyn Diagnostic) -> String {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    match offset.and_then(|offset| text.get(..offset)) {
        Some(before) => format!("{name}:{}", before.matches('\n').count() + 1),
        None => name.to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

fn first_line(policy: &Policy) -> String {
    policy.to_string().lines().next().unwrap_or_default().chars().take(120).collect()
}

fn invalid(message: String) -> Error {
    Error::new(Kind::Unprocessable, "policy.invalid", message)
}
