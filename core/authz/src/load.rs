//! From files to a bundle that can decide: parse, validate strictly, and say where what is wrong.

use crate::answers::Answers;
use crate::bundle::SCHEMA;
use crate::depth::{STACK, too_deep};
use crate::files::{self, Files, invalid};
use crate::{Action, actions};
use canopy_types::{Error, Result};
use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::str::FromStr;

/// The only principal there is.
pub const PRINCIPAL: &str = "User";

/// What is told of one line.
const REPEATED: usize = 3;

/// Valid policies and everything a decision needs of them, made once per bundle.
pub struct Bundle {
    pub(crate) actions: HashMap<&'static str, Prepared>,
    schema: Schema,
    /// Sorted by id, with the file each stands in.
    policies: Vec<(Policy, String)>,
    warnings: Vec<String>,
    digest: String,
    digests: BTreeMap<String, String>,
    commit: Option<String>,
    pub(crate) answers: Answers,
}

impl Bundle {
    /// Loads `schema.cedarschema` and every `*.cedar` of a folder. An invalid bundle is an error that
    /// lists file and line of everything wrong.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::build(&files::read_dir(dir)?)
    }

    /// The default policies, compiled in.
    pub fn embedded() -> Result<Self> {
        Self::build(&embedded_files())
    }

    /// As [`Bundle::read`], from texts.
    pub fn build(files: &[(String, String)]) -> Result<Self> {
        files::bounded(files)?;
        build(files, Missing::Refused)
    }

    /// As [`Bundle::build`], for a bundle of another version, to compare with: an action that it does not
    /// declare is one that nobody may do.
    pub fn build_other_version(files: &[(String, String)]) -> Result<Self> {
        files::bounded(files)?;
        build(files, Missing::Denied)
    }

    /// Says which commit the files came from.
    #[must_use]
    pub fn at(mut self, commit: Option<String>) -> Self {
        self.commit = commit;
        self
    }

    /// sha256 of one file's text, hex.
    pub fn digest_of(&self, file: &str) -> Option<&str> {
        self.digests.get(file).map(String::as_str)
    }

    /// sha256 over names and texts of the files, hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The git commit that the files came from; none for a plain folder and the compiled-in bundle.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All policies, sorted by id.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(|(policy, _)| policy)
    }

    /// Ids of all policies, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.policies().map(|policy| policy.id().to_string()).collect()
    }

    /// The file that a policy stands in.
    pub fn file_of(&self, id: &str) -> Option<&str> {
        self.policies
            .iter()
            .find(|(policy, _)| AsRef::<str>::as_ref(policy.id()) == id)
            .map(|(_, file)| file.as_str())
    }

    /// What the validator finds odd but not wrong, with file and line.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// An action with the policies that can concern it.
    pub fn action(&self, name: &str) -> Option<&Prepared> {
        self.actions.get(name)
    }
}

/// Name and text of the compiled-in files.
pub fn embedded_files() -> Files {
    crate::bundle::FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Actions whose policies may ask which roles are at stake.
const PUTS_ROLES_AT_STAKE: [Action; 8] = [
    actions::identity::USERS_UPDATE,
    actions::identity::USERS_DELETE,
    actions::identity::GROUPS_UPDATE,
    actions::identity::GROUPS_DELETE,
    actions::identity::GROUPS_ADD_MEMBER,
    actions::identity::GROUPS_REMOVE_MEMBER,
    actions::identity::GRANTS_ADD,
    actions::identity::GRANTS_REMOVE,
];

/// One action with only the policies whose scope can match it: the others could never be satisfied, so
/// leaving them out changes no answer and makes a decision's cost independent of the bundle's size.
pub struct Prepared {
    pub principal: EntityTypeName,
    pub uid: EntityUid,
    pub resource: EntityTypeName,
    pub policies: PolicySet,
    /// The action and its groups, when it is in any.
    pub entities: Vec<Entity>,
    /// Its context says what the new server is to be.
    pub wanted: bool,
    /// Its policies may ask which roles are at stake.
    pub at_stake: bool,
    /// What of a resource its policies look at.
    pub visible: crate::visible::Visible,
}

/// What becomes of an action that the schema does not declare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Refused,
    Denied,
}

/// Builds a bundle, or lists everything that is wrong with it. On a stack of its own: whose thread this is does
/// not decide what can be read.
fn build(files: &[(String, String)], missing: Missing) -> Result<Bundle> {
    let deep: Vec<String> = files
        .iter()
        .filter_map(|(name, text)| too_deep(text).map(|(line, why)| format!("{name}:{line}: {why}")))
        .collect();
    if !deep.is_empty() {
        return Err(invalid(deep.join("\n")));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policies".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || build_here(files, missing));
        let built = thread.map_err(|e| Error::internal("policy.thread", e))?.join();
        built.unwrap_or_else(|_| Err(Error::internal("policy.thread", "reading the policies panicked")))
    })
}

fn build_here(files: &[(String, String)], missing: Missing) -> Result<Bundle> {
    let (schema, mut warnings) = schema(files, missing)?;
    let validator = Validator::new(schema);
    let mut faults = Vec::new();
    let mut policies: BTreeMap<String, (Policy, &str)> = BTreeMap::new();
    for (name, text) in files.iter().filter(|(name, _)| name != SCHEMA) {
        match PolicySet::from_str(text) {
            Ok(set) => file(name, text, &set, &validator, &mut policies, &mut faults, &mut warnings),
            Err(errors) => {
                faults.extend(errors.iter().map(|error| format!("{}: {error}", place(name, text, error))));
            }
        }
    }
    if !faults.is_empty() {
        return Err(invalid(faults.join("\n")));
    }
    let policies: Vec<(Policy, String)> =
        policies.into_values().map(|(policy, file)| (policy, file.to_owned())).collect();
    let groups = validator.schema().action_entities().map_err(|e| invalid(format!("{SCHEMA}: {e}")))?;
    Ok(Bundle {
        actions: prepare(validator.schema(), &policies, &groups)?,
        schema: validator.schema().clone(),
        policies,
        warnings,
        digest: digest(files),
        digests: files.iter().map(|file| (file.0.clone(), digest(std::slice::from_ref(file)))).collect(),
        commit: None,
        answers: Answers::default(),
    })
}

fn schema(files: &[(String, String)], missing: Missing) -> Result<(Schema, Vec<String>)> {
    let text = files.iter().find(|(name, _)| name == SCHEMA).map(|(_, text)| text.as_str());
    let text = text.ok_or_else(|| invalid(format!("{SCHEMA}: is missing")))?;
    let (schema, warnings) = Schema::from_cedarschema_str(text)
        .map_err(|e| invalid(format!("{}: {}", place(SCHEMA, text, &e), chain(&e))))?;
    let warnings = warnings.map(|warning| format!("{SCHEMA}: {warning}")).collect();
    let faults: Vec<String> = actions::all().filter_map(|action| undeclared(&schema, action)).collect();
    if faults.is_empty() || missing == Missing::Denied {
        Ok((schema, warnings))
    } else {
        Err(invalid(faults.join("\n")))
    }
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
    warnings: &mut Vec<String>,
) {
    for template in set.templates() {
        faults.push(format!(
            "{name}: {} is a template: write a policy without ?principal and ?resource",
            template.id()
        ));
    }
    let outcome = validator.validate(&named(set), ValidationMode::Strict);
    let told = |odd: &dyn Diagnostic| (line(text, odd), odd.to_string());
    faults.extend(by_place(name, outcome.validation_errors().map(|error| told(error)).collect()));
    warnings.extend(by_place(name, outcome.validation_warnings().map(|odd| told(odd)).collect()));
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

/// The same policies under their own ids where they have one, so that what is wrong is told of these.
fn named(set: &PolicySet) -> PolicySet {
    let mut taken = BTreeSet::new();
    let renamed = set.policies().map(|policy| match policy.annotation("id") {
        Some(id) if !id.is_empty() && taken.insert(id.to_owned()) => policy.new_id(PolicyId::new(id)),
        _ => policy.clone(),
    });
    // An id that is like the name of one without: the parser's names do as well.
    PolicySet::from_policies(renamed.collect::<Vec<_>>()).unwrap_or_else(|_| set.clone())
}

/// What is told of one file, in the order of its lines. A slip in a policy for every action is found once an
/// action: what is said of one line over and over is said a few times.
fn by_place(name: &str, mut told: Vec<(Option<usize>, String)>) -> Vec<String> {
    told.sort();
    told.dedup();
    let mut lines = Vec::new();
    for same in told.chunk_by(|a, b| a.0 == b.0) {
        let place = at(name, same[0].0);
        lines.extend(same.iter().take(REPEATED).map(|(_, text)| format!("{place}: {text}")));
        if same.len() > REPEATED {
            lines.push(format!("{place}: and {} more of this line", same.len() - REPEATED));
        }
    }
    lines
}

fn prepare(
    schema: &Schema,
    policies: &[(Policy, String)],
    groups: &Entities,
) -> Result<HashMap<&'static str, Prepared>> {
    let mut prepared = HashMap::new();
    for action in actions::all().filter(|action| undeclared(schema, *action).is_none()) {
        let uid = action_uid(action.name)?;
        let ancestors: Vec<&EntityUid> = groups.ancestors(&uid).map(Iterator::collect).unwrap_or_default();
        let concerns = |other: &EntityUid| *other == uid || ancestors.contains(&other);
        let of_action =
            policies.iter().map(|(policy, _)| policy).filter(|policy| match policy.action_constraint() {
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
        let visible = crate::visible::Visible::of(&policies);
        let one = Prepared {
            principal: type_name(PRINCIPAL)?,
            uid,
            resource,
            policies,
            entities,
            wanted: action == actions::compute::SERVERS_CREATE,
            at_stake: PUTS_ROLES_AT_STAKE.contains(&action),
            visible,
        };
        prepared.insert(action.name, one);
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
    canopy_types::hex(hash.finalize())
}

/// `file:line`, as far as the diagnostic says where.
fn place(name: &str, text: &str, error: &dyn Diagnostic) -> String {
    at(name, line(text, error))
}

fn at(name: &str, line: Option<usize>) -> String {
    line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"))
}

fn line(text: &str, error: &dyn Diagnostic) -> Option<usize> {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset())?;
    Some(text.get(..offset)?.matches('\n').count() + 1)
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
