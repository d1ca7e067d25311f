//! Networks.

use super::provider::{self, Ground, PLACE_TAKEN, WantedPlace};
use super::{change_needs, errors, event, refund, scope};
use crate::{App, Ctx, access};
use canopy_agent_api::ProviderSpec;
use canopy_authz::Target;
use canopy_authz::actions::network as actions;
use canopy_plugin_host::ClusterNetwork;
use canopy_store::listing::Listing;
use canopy_store::networks::{self as rows, Network};
use canopy_store::{Conn, hosts, ports, subnets};
use canopy_types::{Error, NetworkId, ProjectId, Result, Timestamp};
use std::collections::BTreeMap;

/// Bytes: the smallest that carries IPv4 (RFC 791), the largest a bridge takes.
pub const MTU: std::ops::RangeInclusive<i64> = 68..=65_535;
pub const DEFAULT_MTU: i64 = 1_500;
/// How often new networks are placed again because others got their places first.
const ATTEMPTS: usize = 8;
/// Ports that an error names.
const SHOWN: i64 = 20;

#[derive(Clone, Debug)]
pub struct NewNetwork {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    pub shared: bool,
    pub mtu: Option<i64>,
    pub port_security: bool,
    pub place: WantedPlace,
}

/// A network that is to be made.
#[derive(Clone)]
struct Draft {
    id: NetworkId,
    wanted: NewNetwork,
    place: Option<ProviderSpec>,
    /// The client's own choice of a place.
    asked: bool,
}

#[derive(Clone, Debug, Default)]
pub struct NetworkChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub admin_state_up: Option<bool>,
    pub shared: Option<bool>,
    pub mtu: Option<i64>,
    pub port_security: Option<bool>,
}

pub fn target(network: &Network) -> Target {
    Target::in_project(&network.project_id).id(network.id).public(network.shared)
}

/// The network, if the caller may see it.
pub(super) async fn visible(app: &App, ctx: &Ctx, id: NetworkId) -> Result<Network> {
    let network = app.store.read(move |c| Box::pin(async move { rows::get(c, id).await })).await?;
    network
        .filter(|network| access::seen(app, ctx, actions::NETWORKS_SHOW, &[target(network)]))
        .ok_or_else(|| errors::network_not_found(id))
}

/// Whether the caller may see what the network is made of.
pub fn shows_provider(app: &App, ctx: &Ctx) -> bool {
    access::allowed(app, ctx, actions::NETWORKS_SHOW_PROVIDER, &super::anywhere())
}

pub async fn list(app: &App, ctx: &Ctx, mut listing: Listing) -> Result<Vec<Network>> {
    listing.scope = scope(app, ctx, actions::NETWORKS_LIST)?;
    let mut may = access::Rows::default();
    access::readable(
        &listing,
        |network: &Network| network.id.to_string(),
        |part: Listing| app.store.read(move |c| Box::pin(async move { rows::list(c, &part).await })),
        |network| may.allowed(app, ctx, actions::NETWORKS_SHOW, &target(network)),
    )
    .await
}

pub async fn show(app: &App, ctx: &Ctx, id: NetworkId) -> Result<Network> {
    visible(app, ctx, id).await
}

pub async fn create(app: &App, ctx: &Ctx, wanted: Vec<NewNetwork>) -> Result<Vec<Network>> {
    super::check_bulk(wanted.len())?;
    let mut owners = Vec::with_capacity(wanted.len());
    for one in &wanted {
        owners.push(super::owner(app, ctx, actions::NETWORKS_CREATE, one.project_id.as_ref())?);
        if one.shared && !access::allowed(app, ctx, actions::NETWORKS_SHARE, &super::anywhere()) {
            return Err(errors::disallowed("create_network:shared"));
        }
        if !one.place.says_nothing() && !allowed_to_place(app, ctx) {
            return Err(errors::disallowed(&format!("create_network:provider:{}", one.place.first())));
        }
        check_mtu(one.mtu)?;
    }
    let owner = super::one_owner(&owners)?;
    let places = app.plugins.network().now().places();
    let _turn = if places { Some(app.plugins.placing().await?) } else { None };
    let mut attempt = 1;
    loop {
        let drafts = draft(app, &owner, wanted.clone()).await?;
        match make(app, ctx, &owner, drafts).await {
            Err(error) if error.code == PLACE_TAKEN && attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

fn allowed_to_place(app: &App, ctx: &Ctx) -> bool {
    access::allowed(app, ctx, actions::NETWORKS_CREATE_PROVIDER, &super::anywhere())
}

/// The networks with their places, as the backend in force will have them.
async fn draft(app: &App, owner: &ProjectId, wanted: Vec<NewNetwork>) -> Result<Vec<Draft>> {
    let ground = Ground::of(app).await?;
    let mut drafts: Vec<Draft> = Vec::with_capacity(wanted.len());
    for one in wanted {
        let place = ground.asked(&one.place)?;
        if let Some(place) = &place
            && drafts.iter().any(|other| other.place.as_ref() == Some(place))
        {
            return Err(provider::in_use(place));
        }
        drafts.push(Draft { id: NetworkId::random(), asked: place.is_some(), wanted: one, place });
    }
    let new = drafts.iter().map(|draft| ClusterNetwork {
        id: draft.id,
        project_id: owner.clone(),
        mtu: draft.wanted.mtu.unwrap_or(DEFAULT_MTU),
        provider: draft.place.clone(),
    });
    let mut places = ground.given(new.collect()).await?;
    for draft in drafts.iter_mut().filter(|draft| !draft.asked) {
        draft.place = places.remove(&draft.id);
    }
    let now = Timestamp(0);
    let as_made = drafts.iter().map(|draft| {
        let network = network_of(draft.clone(), rows::MAX_SEGMENT, owner, now);
        provider::as_it_would_be(&network, &[])
    });
    provider::validate(app, as_made.collect()).await?;
    Ok(drafts)
}

async fn make(app: &App, ctx: &Ctx, owner: &ProjectId, drafts: Vec<Draft>) -> Result<Vec<Network>> {
    let (now, project) = (app.now(), owner.clone());
    super::charge(app, ctx, owner, ("network", "networks"), drafts.len(), "network.create", move |c| {
        let (drafts, project) = (drafts.clone(), project.clone());
        Box::pin(async move {
            let mut made = Vec::with_capacity(drafts.len());
            for one in drafts {
                made.push(insert(c, one, &project, now).await?);
            }
            Ok(made)
        })
    })
    .await
}

async fn insert(conn: &mut Conn, draft: Draft, project: &ProjectId, now: Timestamp) -> Result<Network> {
    let asked = draft.asked;
    let network = network_of(draft, rows::next_segment(conn).await?, project, now);
    rows::insert(conn, &network).await.map_err(|error| match &network.provider {
        Some(place) if error.code == "store.duplicate" && asked => provider::in_use(place),
        Some(_) if error.code == "store.duplicate" => Error::unavailable(
            PLACE_TAKEN,
            "Other networks are being made faster than this one finds a place. Try again in a second.",
        ),
        _ => error,
    })?;
    event(conn, now, "network.create", project, network.id).await?;
    Ok(network)
}

fn network_of(draft: Draft, segment: i64, project: &ProjectId, now: Timestamp) -> Network {
    let Draft { id, wanted, place, .. } = draft;
    Network {
        id,
        segment,
        project_id: project.clone(),
        name: wanted.name,
        description: wanted.description,
        admin_state_up: wanted.admin_state_up,
        shared: wanted.shared,
        mtu: wanted.mtu.unwrap_or(DEFAULT_MTU),
        port_security: wanted.port_security,
        dns_domain: String::new(),
        provider: place,
        revision: 1,
        created_at: now,
        updated_at: now,
        subnets: Vec::new(),
    }
}

fn check_mtu(mtu: Option<i64>) -> Result<()> {
    match mtu {
        Some(mtu) if !MTU.contains(&mtu) => {
            let (least, most) = (MTU.start(), MTU.end());
            Err(errors::bad_attribute("mtu", format!("'{mtu}' is not between {least} and {most}")))
        }
        _ => Ok(()),
    }
}

pub async fn update(app: &App, ctx: &Ctx, id: NetworkId, change: NetworkChange) -> Result<Network> {
    let network = visible(app, ctx, id).await?;
    change_needs(app, ctx, actions::NETWORKS_UPDATE, &target(&network).public(false))?;
    if change.shared.is_some_and(|shared| shared != network.shared)
        && !access::allowed(app, ctx, actions::NETWORKS_SHARE, &super::anywhere())
    {
        return Err(errors::disallowed("update_network:shared"));
    }
    check_mtu(change.mtu)?;
    if let Some(mtu) = change.mtu.filter(|mtu| *mtu != network.mtu) {
        let subnets = app.store.read(move |c| Box::pin(subnets::of_network(c, id))).await?;
        let would_be = Network { mtu, ..network.clone() };
        provider::validate(app, vec![provider::as_it_would_be(&would_be, &subnets)]).await?;
    }
    let now = app.now();
    app.store
        .write("network.update", move |c| {
            let change = change.clone();
            Box::pin(async move { apply(c, id, change, now).await })
        })
        .await
}

async fn apply(conn: &mut Conn, id: NetworkId, change: NetworkChange, now: Timestamp) -> Result<Network> {
    let before = rows::lock(conn, id, now).await?.ok_or_else(|| errors::network_not_found(id))?;
    let mut network = before.clone();
    network.name = change.name.unwrap_or(network.name);
    network.description = change.description.unwrap_or(network.description);
    network.admin_state_up = change.admin_state_up.unwrap_or(network.admin_state_up);
    network.shared = change.shared.unwrap_or(network.shared);
    network.mtu = change.mtu.unwrap_or(network.mtu);
    network.port_security = change.port_security.unwrap_or(network.port_security);
    if before.shared && !network.shared && used_by_others(conn, &network).await? {
        return Err(Error::conflict(
            "network.InvalidSharedSetting",
            format!(
                "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."
            ),
        ));
    }
    rows::save(conn, &network).await?;
    if (before.mtu, before.admin_state_up) != (network.mtu, network.admin_state_up) {
        hosts::touch_network(conn, id).await?;
    }
    event(conn, now, "network.update", &network.project_id, id).await?;
    Ok(network)
}

async fn used_by_others(conn: &mut Conn, network: &Network) -> Result<bool> {
    ports::used_by_others(conn, network.id, &network.project_id).await
}

/// Takes the network's subnets and its service port with it; any other port keeps it.
pub async fn delete(app: &App, ctx: &Ctx, id: NetworkId) -> Result<()> {
    let network = visible(app, ctx, id).await?;
    change_needs(app, ctx, actions::NETWORKS_DELETE, &target(&network).public(false))?;
    let now = app.now();
    app.store
        .write("network.delete", move |c| Box::pin(async move { remove(c, id, now).await }))
        .await
        .map_err(|e| super::or_gone(e, || errors::network_in_use(id, &[])))
}

async fn remove(conn: &mut Conn, id: NetworkId, now: Timestamp) -> Result<()> {
    let network = rows::get(conn, id).await?.ok_or_else(|| errors::network_not_found(id))?;
    let blocking = ports::blocking(conn, id, SHOWN).await?;
    if !blocking.is_empty() {
        return Err(errors::network_in_use(id, &blocking));
    }
    let seen = subnets::of_network(conn, id).await?;
    // Usage first, in the order of the projects: every transaction locks it so.
    let mut owners: BTreeMap<ProjectId, (usize, usize)> = BTreeMap::new();
    owners.entry(network.project_id.clone()).or_default().0 += 1;
    for subnet in &seen {
        owners.entry(subnet.project_id.clone()).or_default().1 += 1;
    }
    for (project, (networks, subnets)) in &owners {
        refund(conn, project, "networks", *networks).await?;
        refund(conn, project, "subnets", *subnets).await?;
    }
    // From here on no subnet comes or goes; what came since is not refunded yet.
    rows::lock(conn, id, now).await?.ok_or_else(|| errors::network_not_found(id))?;
    if subnets::of_network(conn, id).await?.len() != seen.len() {
        return Err(super::changed_meanwhile());
    }
    hosts::touch_network(conn, id).await?;
    super::service_port::remove(conn, id).await?;
    for subnet in &seen {
        if !subnets::delete(conn, subnet.id).await? {
            return Err(super::changed_meanwhile());
        }
        event(conn, now, "subnet.delete", &subnet.project_id, subnet.id).await?;
    }
    if !rows::delete(conn, id).await? {
        return Err(errors::network_not_found(id));
    }
    event(conn, now, "network.delete", &network.project_id, id).await
}
