//! What a server asks of placement: its flavor's amounts and traits, its zone, and the hints of its create.

use super::exact::{self, Exact};
use super::specs::Specs;
use crate::compute::server_groups;
use crate::network::provider;
use crate::{App, Ctx};
use canopy_agent_api::ImageSpec;
use canopy_placement::{GroupPolicy, GroupRule, NameSet, Request};
use canopy_store::server_groups::ServerGroup;
use canopy_store::servers::FlavorSnapshot;
use canopy_types::{Error, HostId, NetworkId, ProjectId, Result, ServerGroupId, ServerId};

/// Scheduler hints, as far as they mean something here; nova passes over others too.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    pub group: Option<ServerGroupId>,
    /// On a host of one of these servers.
    pub same_host: Vec<ServerId>,
    /// On none of their hosts.
    pub different_host: Vec<ServerId>,
}

/// What each server of a create asks.
pub(super) struct Wants {
    pub request: Request,
    /// The group that they join.
    pub group: Option<ServerGroup>,
    /// The request as more than a host must serve it.
    pub exact: Option<Exact>,
}

pub(super) async fn request(
    app: &App,
    ctx: &Ctx,
    (zone, hints): (Option<&str>, &Hints),
    flavor: &FlavorSnapshot,
    image: Option<&ImageSpec>,
    disk_gib: i64,
    networks: impl Iterator<Item = NetworkId>,
) -> Result<Wants> {
    let mut request = Request {
        amounts: super::amounts(flavor.vcpus, flavor.memory_mib, disk_gib).into(),
        zone: zone.map(str::to_owned),
        ..Request::default()
    };
    let mut specs = Specs::of(&flavor.extra_specs, image.map(|image| &image.properties))?;
    // A host that is not in the operator's network could not plug the guest in.
    specs.marks.required.extend(provider::traits(app, networks).await?);
    request.amounts.extend(specs.amounts.clone());
    let exact = exact::needed(app, &request, &specs).await?;
    request.required_traits = NameSet::from_iter(specs.marks.required);
    request.forbidden_traits = NameSet::from_iter(specs.marks.forbidden);
    let project = crate::access::project(ctx)?;
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
    Ok(Wants { request, group, exact })
}

/// Leaves the one host that has all of these names, if the hints let it; its other rules stay.
pub(super) async fn only_on(app: &App, request: &mut Request, names: &[String]) -> Result<()> {
    let Some(first) = names.first() else { return Ok(()) };
    let name = first.clone();
    let host = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::hosts::by_name(c, &name).await }))
        .await?;
    // A host and its hypervisor have one name here.
    let strange = names.iter().find(|name| host.as_ref().is_none_or(|host| host.name != **name));
    let host = match (strange, host) {
        (None, Some(host)) => host.id,
        (strange, _) => {
            let shown = strange.unwrap_or(first);
            let message = format!("Compute host {shown} could not be found.");
            return Err(Error::bad_request("server.host", message));
        }
    };
    let suits = request.only_hosts.is_empty() || request.only_hosts.contains(&host);
    // No host has the other id.
    request.only_hosts = vec![if suits { host } else { HostId(Default::default()) }];
    Ok(())
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
