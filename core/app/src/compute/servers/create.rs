//! Creating: everything a server wants commits in one transaction, or nothing does.
//!
//! Before the transaction: permissions, flavor, image, key, networks, the quota verdict and the placement
//! decisions. In it: quota, the group, the claims on hosts, the rows, ports and addresses, the decisions, the
//! events. A host that another controller filled up in between rolls everything back and the decision is made
//! again. When no host fits, the server is committed in ERROR with the decision that says why, holding no
//! host, port or address, as nova does.

use super::exact::{self, Chosen, Exact};
use super::once::{self, Once};
use super::scene::Scene;
use super::wants::{self, Hints, Wants};
use crate::access;
use crate::compute::server_groups;
use crate::image::{self, BootImage};
use crate::network::{self, NetworkRequest, PortPlan};
use crate::quota::{self, Ask};
use crate::{App, Ctx};
use canopy_agent_api::{DeviceTags, ImageSpec, KeySpec};
use canopy_authz::{Target, Wanted, actions::compute as actions};
use canopy_placement::{Decision, Request};
use canopy_store::events::{self, NewEvent};
use canopy_store::quota::Spend;
use canopy_store::server_groups::{self as groups, Joined, ServerGroup};
use canopy_store::servers::{Fault, FlavorSnapshot, Operation, ServerRow};
use canopy_store::{Conn, hosts, sequences, server_actions, servers};
use canopy_types::quota as resources;
use canopy_types::server::{Hold, Phase, PowerIntent};
use canopy_types::{Error, FlavorId, HostId, ImageId, ProjectId, Result, ServerId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How often a decision is made again because another controller filled its host up.
const ATTEMPTS: usize = 64;

#[derive(Clone, Debug)]
pub enum Networks {
    /// Nothing was said: the only network there is, if there is one.
    Unspecified,
    Auto,
    None,
    These(Vec<NetworkRequest>),
}

/// A validated request, newest model.
#[derive(Clone, Debug)]
pub struct Create {
    pub name: String,
    pub description: Option<String>,
    pub flavor: FlavorId,
    pub image: Option<ImageId>,
    pub networks: Networks,
    pub key_name: Option<String>,
    /// Base64.
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub metadata: BTreeMap<String, String>,
    pub access_ip_v4: Option<Ipv4Addr>,
    pub access_ip_v6: Option<Ipv6Addr>,
    pub availability_zone: Option<String>,
    pub min_count: u32,
    pub max_count: u32,
    pub return_reservation_id: bool,
    pub tags: BTreeSet<String>,
    pub hints: Hints,
    /// By which the guest finds its root disk.
    pub disk_tag: Option<String>,
    /// Whether the image's signature shall lead to certificates that the client trusts.
    pub certificates: bool,
    /// Names, which must all be of one host: no other will do.
    pub on_host: Vec<String>,
    /// Asked again with the same key, nothing more is made.
    pub once: Option<Once>,
}

pub struct Created {
    pub servers: Vec<ServerId>,
    pub reservation_id: String,
}

/// Everything that was looked up, shared by all attempts.
struct Plan {
    create: Create,
    ctx: Ctx,
    project: ProjectId,
    zone: String,
    flavor: FlavorSnapshot,
    /// On the host.
    disk_gib: i64,
    /// What each server asks of a host.
    request: Request,
    /// The same, when a host alone may not be able to serve it.
    exact: Option<Exact>,
    group: Option<ServerGroup>,
    image: Option<ImageSpec>,
    /// The images that the guest is made from, and what was in them.
    contents: Vec<(ImageId, String)>,
    keys: Vec<KeySpec>,
    ports: Vec<PortPlan>,
    reservation_id: String,
    now: Timestamp,
}

/// A server's row apart from what the transaction adds, and its decision.
#[derive(Clone)]
struct Placed {
    id: ServerId,
    index: u32,
    decision: Decision,
    /// What it takes, by provider.
    claim: exact::Claim,
    /// What the decision's document says beside the decision.
    note: Option<serde_json::Value>,
}

pub async fn create(app: &App, ctx: &Ctx, create: Create) -> Result<Created> {
    let project = access::project(ctx)?.clone();
    // Policies see what the request comes to. Where that cannot be looked up they see what it says, so that
    // who may not create is told that, and not what else is wrong.
    let named = wanted(&create);
    let (metadata, once, elsewhere) =
        (create.metadata.clone(), create.once.clone(), create.on_host.is_empty());
    let planned = look_up(app, ctx, project.clone(), create).await;
    let wanted = planned.as_ref().map_or(named, Plan::wanted);
    let target = Target {
        metadata,
        wanted: Some(Box::new(wanted)),
        ..Target::in_project(&project).owner(&ctx.who.user_id)
    };
    access::require(app, ctx, actions::SERVERS_CREATE, &target)?;
    if !elsewhere {
        access::require(app, ctx, actions::SERVERS_CREATE_ON_HOST, &target)?;
    }
    // Before what is wrong with the request: when it was made, it was right.
    if let Some(once) = &once
        && let Some(made) = once::made(app, ctx, &project, once).await?
    {
        return Ok(made);
    }
    let plan = Arc::new(planned?);
    super::notes::bounded(&plan.create.metadata)?;
    let mut count = plan.create.max_count;
    loop {
        match commit(app, &plan, count).await {
            // As many as quota leaves, but not fewer than asked at least.
            Err(error) if error.code == "quota.exceeded" && count > plan.create.min_count => {
                count = plan.create.min_count.max(count / 2);
            }
            Err(error) if error.code == once::TAKEN => {
                let made = match &once {
                    Some(once) => once::made(app, ctx, &project, once).await?,
                    None => None,
                };
                return made.ok_or(error);
            }
            outcome => return outcome,
        }
    }
}

/// What a request names, as far as nothing has to be looked up.
fn wanted(create: &Create) -> Wanted {
    let networks = match &create.networks {
        Networks::These(requests) => requests.iter().filter_map(|request| request.network).collect(),
        _ => Vec::new(),
    };
    Wanted {
        flavor: create.flavor.to_string(),
        image: create.image.map(|id| id.to_string()).unwrap_or_default(),
        networks: networks.iter().map(ToString::to_string).collect(),
        zone: create.availability_zone.clone().unwrap_or_default(),
        ..Wanted::default()
    }
}

impl Plan {
    fn wanted(&self) -> Wanted {
        Wanted {
            vcpus: self.flavor.vcpus,
            ram_mib: self.flavor.memory_mib,
            disk_gib: self.disk_gib,
            networks: self.ports.iter().map(|port| port.network_id.to_string()).collect(),
            ..wanted(&self.create)
        }
    }
}

async fn look_up(app: &App, ctx: &Ctx, project: ProjectId, create: Create) -> Result<Plan> {
    if create.certificates {
        return Err(unverified());
    }
    let flavor = super::super::flavors::for_boot(app, ctx, &create.flavor).await?;
    let bootable = match create.image {
        Some(id) => Some(image::resolve_for_boot(app, ctx, id).await?),
        None => None,
    };
    if let Some(bootable) = &bootable {
        fits(&flavor, bootable)?;
    }
    let keys = match &create.key_name {
        Some(name) => vec![super::super::keypairs::for_boot(app, ctx, name).await?],
        None => Vec::new(),
    };
    let zone = zone(app, create.availability_zone.as_deref()).await?;
    let ports = match &create.networks {
        Networks::None => Vec::new(),
        Networks::These(requests) => network::plan_ports(app, ctx, requests).await?,
        Networks::Auto => network::plan_auto(app, ctx, true).await?,
        Networks::Unspecified => network::plan_auto(app, ctx, false).await?,
    };
    let given = ports.iter().filter(|port| port.is_given()).count();
    if create.max_count > 1 && given > 0 {
        return Err(Error::bad_request(
            "server.ports_for_many",
            "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.",
        ));
    }
    let image = bootable.as_ref().map(|bootable| &bootable.spec);
    let disk = disk_gib(&flavor, bootable.as_ref());
    let networks = ports.iter().map(|port| port.network_id);
    let asked = (create.availability_zone.as_deref(), &create.hints);
    let Wants { mut request, group, exact } =
        wants::request(app, ctx, asked, &flavor, image, disk, networks).await?;
    wants::only_on(app, &mut request, &create.on_host).await?;
    Ok(Plan {
        zone,
        project,
        contents: bootable.as_ref().map(|bootable| bootable.contents.clone()).unwrap_or_default(),
        disk_gib: disk,
        request,
        exact,
        group,
        image: bootable.map(|bootable| bootable.spec),
        flavor,
        keys,
        ports,
        reservation_id: reservation_id(),
        now: app.now(),
        ctx: ctx.clone(),
        create,
    })
}

/// Nobody here checks signatures of images: a server that seems checked, and is not, would be worse than none.
pub(super) fn unverified() -> Error {
    Error::bad_request(
        "server.certificates",
        "Signature verification for the image failed: Image certificate validation is not supported here. Leave trusted_image_certificates out.",
    )
}

/// GiB on the host. A flavor without a root disk gets one as large as the image.
pub(super) fn disk_gib(flavor: &FlavorSnapshot, image: Option<&BootImage>) -> i64 {
    let root = match (flavor.root_gib, image) {
        (0, Some(image)) => image.virtual_size.max(0).saturating_add((1 << 30) - 1) >> 30,
        (root, _) => root,
    };
    root.saturating_add(flavor.ephemeral_gib).saturating_add(flavor.swap_mib.saturating_add(1_023) / 1_024)
}

/// `r-` and eight characters.
fn reservation_id() -> String {
    let simple = ServerId::random().0.as_simple().to_string();
    format!("r-{}", &simple[..8])
}

pub(super) fn fits(flavor: &FlavorSnapshot, image: &BootImage) -> Result<()> {
    if flavor.memory_mib < image.min_ram {
        return Err(Error::bad_request("flavor.memory", "Flavor's memory is too small for requested image."));
    }
    let bytes = flavor.root_gib.saturating_mul(1 << 30);
    if flavor.root_gib > 0 && bytes < image.virtual_size {
        return Err(Error::bad_request(
            "flavor.disk",
            format!(
                "Flavor's disk is too small for requested image. Flavor disk is {bytes} bytes, image is {} bytes.",
                image.virtual_size
            ),
        ));
    }
    if flavor.root_gib > 0 && flavor.root_gib < image.min_disk {
        return Err(Error::bad_request(
            "flavor.disk",
            format!(
                "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {} GiB, minimum size is {} GiB.",
                flavor.root_gib, image.min_disk
            ),
        ));
    }
    Ok(())
}

/// The zone asked for, which must exist, else the default one.
async fn zone(app: &App, asked: Option<&str>) -> Result<String> {
    let Some(asked) = asked else { return Ok(app.settings.zone.clone()) };
    let exists = asked == app.settings.zone
        || crate::compute::hosts::unchecked(app).await?.iter().any(|host| host.zone == asked);
    if exists {
        return Ok(asked.to_owned());
    }
    Err(Error::bad_request("server.zone", "The requested availability zone is not available"))
}

async fn commit(app: &App, plan: &Arc<Plan>, count: u32) -> Result<Created> {
    let ask = ask(plan, count);
    // From here to the commit it is this project's turn: the others of it wait before they reserve a host.
    let mut turn = quota::turn(app, &ask).await?;
    let most = turn.limit(canopy_types::quota::SERVER_GROUP_MEMBERS);
    let _alone = exact::turn(app, plan.exact.as_ref()).await?;
    for _ in 0..ATTEMPTS {
        let ids: Vec<ServerId> = (0..count).map(|_| ServerId::random()).collect();
        let (made, chosen) = exact::choose(app, &plan.request, plan.exact.as_ref(), &ids).await?;
        let place = |(index, (id, chosen))| {
            let Chosen { decision, claim, note } = chosen;
            Placed { id, index, decision, claim, note }
        };
        let placed: Vec<Placed> = (0..).zip(ids.iter().copied().zip(chosen)).map(place).collect();
        let scene = Scene::of(app, &made);
        let plan_in = plan.clone();
        let outcome = turn
            .charge("server.create", move |c| {
                let (plan, placed, scene) = (plan_in.clone(), placed.clone(), scene.clone());
                Box::pin(async move { insert_all(c, &plan, &placed, most, &scene).await })
            })
            .await;
        match outcome {
            Ok(()) => {
                made.reservation.committed();
                return Ok(Created { servers: ids, reservation_id: plan.reservation_id.clone() });
            }
            // Another controller was faster: with the reservation its hosts are read again.
            Err(error) if error.code == RACED => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::unavailable(
        "placement.busy",
        "Hosts are filling up faster than this request can claim one. Try again.",
    ))
}

fn ask(plan: &Plan, count: u32) -> Ask {
    let n = i64::from(count);
    let mut charges = super::charges(&plan.flavor);
    for amount in charges.values_mut() {
        *amount = amount.saturating_mul(n);
    }
    let ports = plan.ports.iter().filter(|port| !port.is_given()).count() as i64 * n;
    if ports > 0 {
        charges.insert(resources::PORTS.into(), ports);
    }
    let items = plan.create.metadata.len();
    if items > 0 {
        charges.insert(resources::METADATA_ITEMS.into(), i64::try_from(items).unwrap_or(i64::MAX));
    }
    Ask {
        project_id: plan.project.clone(),
        limits_of: None,
        user_id: plan.ctx.who.user_id.clone(),
        zone: plan.zone.clone(),
        charges,
        attributes: attributes(plan, count),
    }
}

/// What a quota rule may look at.
fn attributes(plan: &Plan, count: u32) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("flavor".to_owned(), plan.flavor.name.clone()),
        ("flavor-id".to_owned(), plan.flavor.id.to_string()),
        ("count".to_owned(), count.to_string()),
    ];
    attributes.extend(plan.image.iter().map(|image| ("image".to_owned(), image.id.to_string())));
    attributes.extend(plan.ports.iter().map(|port| ("network".to_owned(), port.network_id.to_string())));
    let specs = plan.flavor.extra_specs.iter().map(|(key, value)| (format!("extra:{key}"), value.clone()));
    attributes.extend(specs);
    let tags = plan.create.metadata.iter().map(|(key, value)| (format!("tag:{key}"), value.clone()));
    attributes.extend(tags);
    attributes
}

const RACED: &str = "placement.raced";

/// `most` is how many servers a group may have, `scene` where the journal has what was decided on.
async fn insert_all(conn: &mut Conn, plan: &Plan, placed: &[Placed], most: i64, scene: &Scene) -> Result<()> {
    if let Some(once) = &plan.create.once {
        let ids = placed.iter().map(|placed| placed.id).collect();
        let made = (ids, plan.reservation_id.as_str());
        once::keep(conn, &plan.ctx, &plan.project, once, made, plan.now).await?;
    }
    // An image may have been deleted since it was looked up.
    image::pin(conn, &plan.contents).await?;
    let raced = || Error::conflict(RACED, "The host filled up.");
    if let Some(group) = &plan.group {
        let servers = i64::try_from(placed.len()).unwrap_or(i64::MAX);
        match groups::join(conn, group.id, servers, most).await? {
            Joined::Yes => {}
            Joined::Full => return Err(groups::full()),
            Joined::Gone => return Err(server_groups::absent(&group.id.to_string())),
        }
    }
    // Hosts are claimed in id order, so that two requests cannot wait for each other.
    let mut claims: Vec<(HostId, &Placed)> =
        placed.iter().filter_map(|placed| placed.decision.winner.map(|host| (host, placed))).collect();
    claims.sort_by_key(|(host, _)| *host);
    for (host, placed) in claims {
        if let Some(group) = &plan.group
            && !groups::count(conn, group, host).await?
        {
            return Err(raced());
        }
        let claimant =
            hosts::Claimant { server: placed.id, project: &plan.project, user: &plan.ctx.who.user_id };
        if !hosts::claim_from(conn, &claimant, &placed.claim, plan.now).await? {
            return Err(raced());
        }
        hosts::touch(conn, host).await?;
    }
    for placed in placed {
        insert_one(conn, plan, placed, scene).await?;
    }
    Ok(())
}

async fn insert_one(conn: &mut Conn, plan: &Plan, placed: &Placed, scene: &Scene) -> Result<()> {
    let number = sequences::next(conn, "server").await?;
    let server = row(plan, placed, number)?;
    servers::insert(conn, &server).await?;
    if let Some(group) = &plan.group {
        groups::add_member(conn, group.id, server.id, server.host_id, server.number).await?;
    }
    let charged = plan.ports.iter().filter(|port| !port.is_given()).count() as i64;
    if server.host_id.is_some() {
        let made = network::create_server_ports(
            conn,
            server.id,
            server.host_id,
            &plan.project,
            &plan.ports,
            plan.now,
        )
        .await?;
        let ports = made.iter().zip(&plan.ports).filter_map(|(id, port)| Some((*id, port.tag.clone()?)));
        let tags = DeviceTags { v: 1, root: plan.create.disk_tag.clone(), ports: ports.collect() };
        if !tags.is_empty() {
            servers::set_device_tags(conn, server.id, &tags).await?;
        }
    } else if charged > 0 {
        // A refused server holds no port, so it is not charged for one.
        let spend = Spend {
            project_id: plan.project.clone(),
            user_id: server.user_id.clone(),
            zone: plan.zone.clone(),
            amounts: [(resources::PORTS.to_owned(), charged)].into(),
        };
        canopy_store::quota::uncharge(conn, &spend).await?;
    }
    scene.keep(conn, &server, &placed.decision, placed.note.as_ref(), plan.now).await?;
    let waits = server.host_id.map(|_| server.power.n);
    let who = (&plan.ctx.request_id, &server.user_id);
    server_actions::record(conn, &server, "create", who, waits, plan.now).await?;
    if let Some(fault) = &server.fault {
        server_actions::fail(conn, server.id, &plan.ctx.request_id, "create", &fault.message).await?;
    }
    let event = NewEvent {
        at: plan.now,
        kind: "server.create",
        project_id: &plan.project,
        subject: server.id.to_string(),
        host_id: server.host_id,
    };
    events::append(conn, &event).await?;
    Ok(())
}

fn row(plan: &Plan, placed: &Placed, number: i64) -> Result<ServerRow> {
    let create = &plan.create;
    let name = if create.max_count > 1 {
        format!("{}-{}", create.name, placed.index + 1)
    } else {
        create.name.clone()
    };
    let json = |e: serde_json::Error| Error::internal("server.serialise", e);
    let refused = placed.decision.winner.is_none();
    Ok(ServerRow {
        id: placed.id,
        number,
        project_id: plan.project.clone(),
        user_id: plan.ctx.who.user_id.clone(),
        hostname: hostname(&name, placed.id),
        name,
        description: create.description.clone(),
        flavor: plan.flavor.clone(),
        image_id: create.image,
        image: plan.image.as_ref().map(serde_json::to_value).transpose().map_err(json)?,
        key_name: create.key_name.clone(),
        keys: serde_json::to_value(&plan.keys).map_err(json)?,
        user_data: create.user_data.clone(),
        config_drive: create.config_drive,
        metadata: create.metadata.clone(),
        access_ip_v4: create.access_ip_v4,
        access_ip_v6: create.access_ip_v6,
        availability_zone: plan.zone.clone(),
        reservation_id: plan.reservation_id.clone(),
        launch_index: i64::from(placed.index),
        request_id: plan.ctx.request_id.clone(),
        decision_id: placed.decision.id,
        host_id: placed.decision.winner,
        power: PowerIntent::plain(true, 1),
        deleting: false,
        refused,
        broken: false,
        lock: None,
        hold: Hold::None,
        hold_since: None,
        operation: Operation::default(),
        tags: create.tags.clone(),
        device_tags: DeviceTags::default(),
        phase: Phase::Pending,
        observed_n: 0,
        failed_n: 0,
        observed_generation: 0,
        fault: refused.then(|| Fault {
            v: 1,
            code: 500,
            message: placed.decision.refusal(),
            created: plan.now,
        }),
        created_at: plan.now,
        updated_at: plan.now,
        launched_at: None,
        deleted_at: None,
    })
}

/// A host name from any name, as nova makes one: letters, digits and dashes, at most 63 characters. It has no domain:
/// a guest would take a name with dots for its host's name and the domain that it is in.
fn hostname(name: &str, id: ServerId) -> String {
    let mut text: String = name
        .to_lowercase()
        .chars()
        .map(|c| if matches!(c, ' ' | '_' | '.') { '-' } else { c })
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(63)
        .collect();
    text = text.trim_matches('-').to_owned();
    if text.is_empty() { format!("server-{id}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_safe_whatever_the_server_is_called() {
        let id = ServerId::random();
        assert_eq!(hostname("Web_1 blue", id), "web-1-blue");
        assert_eq!(hostname("日本", id), format!("server-{id}"));
        assert_eq!(hostname(&"a".repeat(255), id).len(), 63);
        assert_eq!(hostname("a\n,b;$(x)", id), "abx");
        assert_eq!(hostname("guest-1.example.com.", id), "guest-1-example-com");
    }
}
