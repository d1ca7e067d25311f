//! What a server asks of placement: its flavor's amounts and traits, its zone, and the hints of its create.

use super::create::Create;
use crate::compute::server_groups;
use crate::{App, Ctx};
use canopy_agent_api::ImageSpec;
use canopy_placement::{GroupPolicy, GroupRule, NameSet, Request};
use canopy_store::server_groups::ServerGroup;
use canopy_store::servers::FlavorSnapshot;
use canopy_types::{Error, HostId, ProjectId, Result, ServerGroupId, ServerId};
use std::collections::BTreeMap;

/// Scheduler hints, as far as they mean something here; nova passes over others too.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    pub group: Option<ServerGroupId>,
    /// On a host of one of these servers.
    pub same_host: Vec<ServerId>,
    /// On none of their hosts.
    pub different_host: Vec<ServerId>,
}

/// The request of each server of a create, and the group that they join.
pub(super) async fn request(
    app: &App,
    ctx: &Ctx,
    create: &Create,
    flavor: &FlavorSnapshot,
    image: Option<&ImageSpec>,
    disk_gib: i64,
) -> Result<(Request, Option<ServerGroup>)> {
    let mut request = Request {
        amounts: super::amounts(flavor.vcpus, flavor.memory_mib, disk_gib),
        zone: create.availability_zone.clone(),
        ..Request::default()
    };
    specs(&mut request, &flavor.extra_specs, image.map(|image| &image.properties))?;
    let project = crate::access::project(ctx)?;
    let hints = &create.hints;
    if !hints.same_host.is_empty() {
        request.only_hosts = hosts_of(app, project, &hints.same_host).await?;
        if request.only_hosts.is_empty() {
            // None of them is anywhere: no host is right, and no host has this id.
            request.only_hosts.push(HostId(Default::default()));
        }
    }
    if !hints.different_host.is_empty() {
        request.forbidden_hosts = hosts_of(app, project, &hints.different_host).await?;
    }
    let group = match hints.group {
        Some(id) => Some(server_groups::for_boot(app, ctx, id).await?),
        None => None,
    };
    request.group = group.as_ref().map(rule);
    Ok((request, group))
}

fn rule(group: &ServerGroup) -> GroupRule {
    let policy = match group.policy.as_str() {
        "affinity" => GroupPolicy::Affinity,
        "anti-affinity" => GroupPolicy::AntiAffinity,
        "soft-affinity" => GroupPolicy::SoftAffinity,
        _ => GroupPolicy::SoftAntiAffinity,
    };
    let max_per_host = u32::try_from(group.max_per_host).unwrap_or(1);
    GroupRule { id: group.id.to_string(), policy, max_per_host }
}

/// Hosts of the project's own servers among these, each once. Another's server is as absent as none.
async fn hosts_of(app: &App, project: &ProjectId, servers: &[ServerId]) -> Result<Vec<HostId>> {
    let (servers, project) = (servers.to_vec(), project.clone());
    let mut hosts = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let mut hosts = Vec::new();
                for id in servers {
                    let server = canopy_store::servers::get(c, id).await?;
                    let own = server.filter(|s| s.project_id == project && s.deleted_at.is_none());
                    hosts.extend(own.and_then(|server| server.host_id));
                }
                Ok(hosts)
            })
        })
        .await?;
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

/// `resources:CLASS` replaces an amount; `trait:NAME` of flavor and image requires or forbids one.
fn specs(
    request: &mut Request,
    flavor: &BTreeMap<String, String>,
    image: Option<&BTreeMap<String, String>>,
) -> Result<()> {
    for (key, value) in flavor {
        let Some(class) = key.strip_prefix("resources:") else { continue };
        let amount: i64 =
            value.parse().ok().filter(|n| (0..=i64::from(i32::MAX)).contains(n)).ok_or_else(|| {
                Error::bad_request(
                    "flavor.resources",
                    format!("The flavor's extra spec {key} is '{value}': a whole number from 0 is wanted."),
                )
            })?;
        request.amounts.insert(class.to_owned(), amount);
    }
    let (mut required, mut forbidden) = (Vec::new(), Vec::new());
    for (key, value) in flavor.iter().chain(image.into_iter().flatten()) {
        let Some(name) = key.strip_prefix("trait:") else { continue };
        match value.as_str() {
            "required" => required.push(name),
            "forbidden" => forbidden.push(name),
            _ => {
                return Err(Error::bad_request(
                    "flavor.trait",
                    format!("Unknown value '{value}' for {key}: it is 'required' or 'forbidden'."),
                ));
            }
        }
    }
    request.required_traits = NameSet::from_iter(required);
    request.forbidden_traits = NameSet::from_iter(forbidden);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_specs_change_amounts_and_ask_for_traits() {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let mut request = Request { amounts: super::super::amounts(2, 512, 1), ..Request::default() };
        let flavor = text(&[
            ("resources:VCPU", "0"),
            ("resources:CUSTOM_GPU", "1"),
            ("trait:CUSTOM_FAST", "required"),
            ("hw:cpu_policy", "dedicated"),
        ]);
        let image = text(&[("trait:CUSTOM_OLD", "forbidden"), ("os_type", "linux")]);
        specs(&mut request, &flavor, Some(&image)).unwrap();
        assert_eq!((request.amounts["VCPU"], request.amounts["CUSTOM_GPU"]), (0, 1));
        assert!(request.required_traits.contains("CUSTOM_FAST"));
        assert!(request.forbidden_traits.contains("CUSTOM_OLD"));
        for (key, value) in [("resources:VCPU", "-1"), ("resources:X", "many"), ("trait:X", "maybe")] {
            assert!(specs(&mut Request::default(), &text(&[(key, value)]), None).is_err(), "{key}={value}");
        }
    }
}
