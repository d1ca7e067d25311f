//! From Canopy's words to Cedar's: the caller, the resource and the circumstances as typed entities, with what
//! the action's policies look at and nothing else: making a value costs more than deciding by it.

use crate::load::Prepared;
use crate::{AtStake, Circumstances, Principal, Scope, Target, Wanted};
use cedar_policy::{Context, Entities, Entity, EntityId, EntityUid, Request, RestrictedExpression};
use std::collections::{HashMap, HashSet};

type Made<T> = std::result::Result<T, String>;
type Fields = Vec<(String, RestrictedExpression)>;

/// The request and the entities that it is about.
pub fn ask(
    action: &Prepared,
    who: &Principal,
    how: &Circumstances,
    target: &Target,
) -> Made<(Request, Entities)> {
    let principal =
        EntityUid::from_type_name_and_id(action.principal.clone(), EntityId::new(who.user_id.as_str()));
    let resource =
        EntityUid::from_type_name_and_id(action.resource.clone(), EntityId::new(target.id.as_str()));
    let entities = [caller(action, principal.clone(), who)?, resource_of(action, resource.clone(), target)?]
        .into_iter()
        .chain(action.entities.iter().cloned());
    let entities = Entities::from_entities(entities, None).map_err(|e| e.to_string())?;
    let context = context(action, how, target)?;
    let request =
        Request::new(principal, action.uid.clone(), resource, context, None).map_err(|e| e.to_string())?;
    Ok((request, entities))
}

fn caller(action: &Prepared, uid: EntityUid, who: &Principal) -> Made<Entity> {
    let (scope, project_id, domain_id) = match &who.scope {
        Scope::Unscoped => ("unscoped", "", ""),
        Scope::Project { id, domain_id, .. } => ("project", id.as_str(), domain_id.as_str()),
        Scope::Domain { id } => ("domain", "", id.as_str()),
        Scope::System => ("system", "", ""),
    };
    let mut attributes = HashMap::new();
    for (name, value) in [
        ("id", who.user_id.as_str()),
        ("scope", scope),
        ("project_id", project_id),
        ("domain_id", domain_id),
        ("user_domain_id", who.user_domain_id.as_str()),
    ] {
        if action.visible.of_principal(name) {
            attributes.insert(name.to_owned(), text(value));
        }
    }
    if action.visible.of_principal("roles") {
        attributes.insert("roles".to_owned(), texts(&who.roles));
    }
    Entity::new(uid, attributes, HashSet::new()).map_err(|e| e.to_string())
}

fn resource_of(action: &Prepared, uid: EntityUid, target: &Target) -> Made<Entity> {
    let visible = &action.visible;
    let mut attributes = HashMap::new();
    for (name, value) in [
        ("id", &target.id),
        ("project_id", &target.project_id),
        ("domain_id", &target.domain_id),
        ("user_id", &target.user_id),
    ] {
        if visible.of_resource(name) {
            attributes.insert(name.to_owned(), text(value));
        }
    }
    if visible.of_resource("public") {
        attributes.insert("public".to_owned(), RestrictedExpression::new_bool(target.public));
    }
    if visible.of_resource("shared") {
        attributes.insert("shared".to_owned(), RestrictedExpression::new_bool(target.shared));
    }
    if visible.of_resource("labels") {
        attributes.insert("labels".to_owned(), texts(&target.labels));
    }
    if target.metadata.is_empty() || !visible.of_metadata() {
        return Entity::new(uid, attributes, HashSet::new()).map_err(|e| e.to_string());
    }
    let metadata = target.metadata.iter().map(|(name, value)| (name.clone(), text(value)));
    Entity::new_with_tags(uid, attributes, HashSet::new(), metadata).map_err(|e| e.to_string())
}

fn context(action: &Prepared, how: &Circumstances, target: &Target) -> Made<Context> {
    let visible = &action.visible;
    let mut fields: Fields = Vec::new();
    if visible.of_context("methods") {
        fields.push(("methods".to_owned(), texts(&how.methods)));
    }
    if visible.of_context("application_credential") {
        fields.push(("application_credential".to_owned(), text(&how.application_credential)));
    }
    if let Some(source) = how.source.filter(|_| visible.of_context("source")) {
        // An IPv4 client on an IPv6 socket is still the IPv4 address that a policy names.
        fields.push(("source".to_owned(), RestrictedExpression::new_ip(source.to_canonical().to_string())));
    }
    if action.wanted && visible.of_context("wanted") {
        fields.push(("wanted".to_owned(), wanted(target.wanted.as_deref().unwrap_or(&Wanted::default()))?));
    }
    // Absent where nothing is known: a policy then has nothing to permit by.
    if let Some(stake) =
        target.at_stake.as_deref().filter(|_| action.at_stake && visible.of_context("at_stake"))
    {
        fields.push(("at_stake".to_owned(), at_stake(stake)?));
    }
    if fields.is_empty() {
        return Ok(Context::empty());
    }
    Context::from_pairs(fields).map_err(|e| e.to_string())
}

fn wanted(wanted: &Wanted) -> Made<RestrictedExpression> {
    let long = RestrictedExpression::new_long;
    let fields: Fields = vec![
        ("flavor".to_owned(), text(&wanted.flavor)),
        ("vcpus".to_owned(), long(wanted.vcpus)),
        ("ram_mib".to_owned(), long(wanted.ram_mib)),
        ("disk_gib".to_owned(), long(wanted.disk_gib)),
        ("image".to_owned(), text(&wanted.image)),
        ("networks".to_owned(), texts(&wanted.networks)),
        ("zone".to_owned(), text(&wanted.zone)),
    ];
    RestrictedExpression::new_record(fields).map_err(|e| e.to_string())
}

fn at_stake(stake: &AtStake) -> Made<RestrictedExpression> {
    let fields: Fields = vec![
        ("roles".to_owned(), texts(&stake.roles)),
        ("holder_domain_id".to_owned(), text(&stake.holder_domain_id)),
    ];
    RestrictedExpression::new_record(fields).map_err(|e| e.to_string())
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts(values: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().map(|value| text(value)))
}
