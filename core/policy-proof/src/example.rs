//! From the solver's model to a request that people can read, confirmed by the authorizer that decides
//! real ones, and made as plain as it can be while it is still confirmed.

use canopy_authz::cases::{Caller, On, Stake, Wish};
use canopy_authz::{Action, Snapshot, roles};
use cedar_policy::{Entity, EvalResult};
use cedar_policy_symcc::Env;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A request in the words of `policies/tests/`: it can be pasted there as a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    pub principal: Caller,
    pub target: On,
    /// The policies that decide where the request is allowed.
    pub allowed_by: Vec<String>,
    /// The policies that forbid it where it is denied; none: nothing permits it there.
    pub forbidden_by: Vec<String>,
}

/// The model's request in its plainest form, if `left` allows and `right` denies it.
pub fn confirmed(
    model: &Env,
    action: Action,
    left: &Snapshot,
    right: &Snapshot,
) -> Result<Option<Example>, String> {
    let (caller, on) = read(model)?;
    let decide = |caller: &Caller, on: &On| {
        let (who, how) = caller.resolve().ok()?;
        let target = on.target();
        let allowed = left.decide(&who, &how, action, &target);
        let denied = right.decide(&who, &how, action, &target);
        (allowed.allowed && !denied.allowed).then_some((allowed.policies, denied.policies))
    };
    if decide(&caller, &on).is_none() {
        return Ok(None);
    }
    let (principal, target) = plainer(caller, on, |caller, on| decide(caller, on).is_some());
    let decided = decide(&principal, &target);
    Ok(decided.map(|(allowed_by, forbidden_by)| Example { principal, target, allowed_by, forbidden_by }))
}

fn read(model: &Env) -> Result<(Caller, On), String> {
    let principal = model.request.principal().and_then(|uid| model.entities.get(uid));
    let resource = model.request.resource().and_then(|uid| model.entities.get(uid));
    let (Some(principal), Some(resource)) = (principal, resource) else {
        return Err("the solver's model lacks the caller or the resource".into());
    };
    let context = model.request.context();
    let field = |name: &str| context.and_then(|context| context.get(name));
    let caller = Caller {
        user: string(attr(principal, "id")),
        roles: strings(attr(principal, "roles")),
        scope: string(attr(principal, "scope")),
        project: string(attr(principal, "project_id")),
        domain: string(attr(principal, "domain_id")),
        user_domain: string(attr(principal, "user_domain_id")),
        source: field("source").and_then(address),
        methods: strings(field("methods")),
        application_credential: string(field("application_credential")),
    };
    let metadata: BTreeMap<String, String> =
        resource.tags().map(|(name, value)| (name.to_owned(), string(value.ok()))).collect();
    let on = On {
        id: string(attr(resource, "id")),
        project_id: string(attr(resource, "project_id")),
        domain_id: string(attr(resource, "domain_id")),
        user_id: string(attr(resource, "user_id")),
        public: matches!(attr(resource, "public"), Some(EvalResult::Bool(true))),
        shared: matches!(attr(resource, "shared"), Some(EvalResult::Bool(true))),
        labels: strings(attr(resource, "labels")),
        metadata,
        wanted: field("wanted").and_then(wish),
        at_stake: field("at_stake").and_then(stake),
    };
    Ok((caller, on))
}

fn wish(value: EvalResult) -> Option<Wish> {
    let EvalResult::Record(record) = value else { return None };
    let text = |name| string(record.get(name).cloned());
    let long = |name| match record.get(name) {
        Some(EvalResult::Long(value)) => *value,
        _ => 0,
    };
    Some(Wish {
        flavor: text("flavor"),
        vcpus: long("vcpus"),
        ram_mib: long("ram_mib"),
        disk_gib: long("disk_gib"),
        image: text("image"),
        networks: strings(record.get("networks").cloned()),
        zone: text("zone"),
    })
}

fn stake(value: EvalResult) -> Option<Stake> {
    let EvalResult::Record(record) = value else { return None };
    Some(Stake {
        roles: strings(record.get("roles").cloned()),
        holder_domain_id: string(record.get("holder_domain_id").cloned()),
    })
}

fn attr(entity: &Entity, name: &str) -> Option<EvalResult> {
    entity.attr(name)?.ok()
}

fn string(value: Option<EvalResult>) -> String {
    match value {
        Some(EvalResult::String(text)) => text,
        _ => String::new(),
    }
}

fn strings(value: Option<EvalResult>) -> Vec<String> {
    let Some(EvalResult::Set(set)) = value else { return Vec::new() };
    set.iter().map(|item| string(Some(item.clone()))).collect()
}

/// Of a range the first address: a request comes from one.
fn address(value: EvalResult) -> Option<IpAddr> {
    let EvalResult::ExtensionValue(text) = value else { return None };
    let text = text.split('"').nth(1).unwrap_or(&text).to_owned();
    text.split('/').next()?.parse().ok()
}

/// Tries plainer values one field at a time and keeps what is still an example.
fn plainer(mut caller: Caller, mut on: On, holds: impl Fn(&Caller, &On) -> bool) -> (Caller, On) {
    for roles in role_sets(&caller.roles) {
        let plain = Caller { roles, ..caller.clone() };
        if holds(&plain, &on) {
            caller = plain;
            break;
        }
    }
    // Two fields that hold the same text may have to go on doing so: they are renamed together.
    for (field, name) in [
        (caller.user.clone(), "a-user"),
        (caller.project.clone(), "a-project"),
        (caller.domain.clone(), "a-domain"),
        (on.project_id.clone(), "another-project"),
        (on.domain_id.clone(), "another-domain"),
        (on.user_id.clone(), "another-user"),
        (on.id.clone(), "a-resource"),
    ] {
        if field.is_empty() {
            continue;
        }
        let (mut plain_caller, mut plain_on) = (caller.clone(), on.clone());
        for text in texts(&mut plain_caller, &mut plain_on).into_iter().filter(|text| **text == field) {
            name.clone_into(text);
        }
        if holds(&plain_caller, &plain_on) {
            (caller, on) = (plain_caller, plain_on);
        }
    }
    let callers: [fn(&mut Caller); 5] = [
        |c| c.source = None,
        |c| c.methods.clear(),
        |c| c.application_credential.clear(),
        |c| "default".clone_into(&mut c.user_domain),
        |c| c.user_domain.clear(),
    ];
    for change in callers {
        let mut plain = caller.clone();
        change(&mut plain);
        if holds(&plain, &on) {
            caller = plain;
        }
    }
    let targets: [fn(&mut On); 11] = [
        |t| t.wanted = None,
        |t| t.at_stake = None,
        |t| t.at_stake.iter_mut().for_each(|stake| stake.roles.clear()),
        |t| t.metadata.clear(),
        |t| t.labels.clear(),
        |t| t.public = false,
        |t| t.shared = false,
        |t| t.domain_id.clear(),
        |t| t.user_id.clear(),
        |t| t.id.clear(),
        |t| t.project_id.clear(),
    ];
    for change in targets {
        let mut plain = on.clone();
        change(&mut plain);
        if holds(&caller, &plain) {
            on = plain;
        }
    }
    (caller, on)
}

fn texts<'a>(caller: &'a mut Caller, on: &'a mut On) -> Vec<&'a mut String> {
    let Caller { user, project, domain, .. } = caller;
    let On { id, project_id, domain_id, user_id, at_stake, .. } = on;
    let holder = at_stake.as_mut().map(|stake| &mut stake.holder_domain_id);
    [user, project, domain, id, project_id, domain_id, user_id].into_iter().chain(holder).collect()
}

/// None, each role alone, and all without those that another brings along.
fn role_sets(held: &[String]) -> Vec<Vec<String>> {
    let weakest_first = roles::BUILT_IN.iter().rev().map(|role| (*role).to_owned());
    let mut singles: Vec<String> = weakest_first.filter(|role| held.contains(role)).collect();
    singles.extend(held.iter().filter(|role| !roles::BUILT_IN.contains(&role.as_str())).cloned());
    let brought = |role: &String| held.iter().any(|other| roles::implied(other) == Some(role.as_str()));
    let all: Vec<String> = held.iter().filter(|role| !brought(role)).cloned().collect();
    std::iter::once(Vec::new()).chain(singles.into_iter().map(|role| vec![role])).chain([all]).collect()
}
