//! Interfaces: a server's ports, which come and go while it lives, whether its guest runs or not.
//!
//! The port and the wish to have it plugged commit together, and the host's report closes both: a port that the
//! guest could not be given is taken off it again and goes, one that the guest does not let go stays.

use super::change::{PastLock, by, check, locked, permit, save};
use super::list::find;
use crate::network::{self, MAX_INTERFACES, NetworkRequest, PortPlan};
use crate::quota::{Ask, charged};
use crate::{App, Ctx, access};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::ports::{self, Port};
use canopy_store::servers::{self, Interface, Operation, ServerRow};
use canopy_store::{BoxFuture, Conn, hosts};
use canopy_types::quota::PORTS;
use canopy_types::server::{How, rules};
use canopy_types::{Error, Kind, PortId, Result, ServerId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an attaching waits for the host; after that it goes on without its asker.
const PATIENCE: Duration = Duration::from_secs(20);
/// The backstop when a wake-up was another process's.
const POLL: Duration = Duration::from_millis(500);

/// A port, and the name that its guest knows it by.
pub type Named = (Port, Option<String>);

/// In the order they were made.
pub async fn interfaces(app: &App, ctx: &Ctx, id: ServerId) -> Result<Vec<Named>> {
    read(app, ctx, id, actions::SERVERS_LIST_INTERFACES).await
}

pub async fn interface(app: &App, ctx: &Ctx, id: ServerId, port: PortId) -> Result<Named> {
    let ports = read(app, ctx, id, actions::SERVERS_SHOW_INTERFACE).await?;
    ports.into_iter().find(|(one, _)| one.id == port).ok_or_else(|| not_of(id, port))
}

/// Has the host go over the networks of its servers once more, whether or not anything has changed.
pub async fn inject_network_info(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let rule = &rules::INJECT_NETWORK_INFO;
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, actions::SERVERS_INJECT_NETWORK_INFO)?;
    app.store
        .write("server.inject_network_info", move |c| {
            Box::pin(async move {
                let server = locked(c, id).await?;
                check(&server, rule, may)?;
                match server.host_id {
                    Some(host) => hosts::touch(c, host).await,
                    None => Ok(()),
                }
            })
        })
        .await
}

async fn read(app: &App, ctx: &Ctx, id: ServerId, policy: Action) -> Result<Vec<Named>> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, policy, &super::target(&server))?;
    let mut names = server.device_tags.ports;
    let named = |port: Port| (names.remove(&port.id), port);
    Ok(of(app, id).await?.into_iter().map(named).map(|(name, port)| (port, name)).collect())
}

pub(super) async fn of(app: &App, id: ServerId) -> Result<Vec<Port>> {
    app.store.read(move |c| Box::pin(ports::of_server(c, id))).await
}

fn not_of(id: ServerId, port: PortId) -> Error {
    Error::not_found("server.no_interface", format!("Instance {id} does not have a port with id {port}"))
}

/// Plugs a port, or one that is made for it. Answers when the guest has it, or after [`PATIENCE`].
pub async fn attach(app: &App, ctx: &Ctx, id: ServerId, wanted: NetworkRequest) -> Result<Port> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, &rules::ATTACH_INTERFACE, actions::SERVERS_ATTACH_INTERFACE)?;
    check(&server, &rules::ATTACH_INTERFACE, may)?;
    let plan = plan(app, ctx, &server, wanted).await?;
    let made = !plan.is_given();
    let work = plugging(ctx.clone(), id, may, Arc::new([plan]), app.now());
    let outcome = if made {
        let ask = Ask::new(&server.project_id, &ctx.who.user_id, PORTS, 1);
        charged(app, &ask, "server.attach_interface", work).await
    } else {
        app.store.write("server.attach_interface", work).await
    };
    let (port, n) = outcome.map_err(refusal)?;
    plugged(app, id, port, n).await
}

/// The port and the intent that plugs it.
fn plugging(
    ctx: Ctx,
    id: ServerId,
    may: PastLock,
    plan: Arc<[PortPlan; 1]>,
    now: Timestamp,
) -> impl for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, (PortId, i64)> + Send + Sync + 'static {
    move |c| {
        let (ctx, plan) = (ctx.clone(), Arc::clone(&plan));
        Box::pin(async move {
            let before = locked(c, id).await?;
            check(&before, &rules::ATTACH_INTERFACE, may)?;
            let port = insert(c, &before, plan.as_slice(), now).await?;
            if let Some(tag) = &plan[0].tag {
                let mut tags = before.device_tags.clone();
                tags.v = 1;
                tags.ports.insert(port, tag.clone());
                servers::set_device_tags(c, id, &tags).await?;
            }
            let server = wish(c, &ctx, &before, port, false, now).await?;
            Ok((port, server.power.n))
        })
    }
}

async fn plan(app: &App, ctx: &Ctx, server: &ServerRow, wanted: NetworkRequest) -> Result<PortPlan> {
    if let Some(port) = wanted.port
        && ctx.who.project_id() != Some(&server.project_id)
    {
        let message = format!("Port {port} not usable for instance {}.", server.id);
        return Err(Error::bad_request("network.PortNotUsable", message));
    }
    let plans = match (wanted.network, wanted.port) {
        (None, None) => network::plan_auto(app, ctx, true).await,
        _ => network::plan_ports(app, ctx, &[wanted]).await,
    };
    let plan = plans.map_err(refusal)?.pop();
    plan.ok_or_else(|| Error::bad_request("server.no_network", "No network to attach the instance to."))
}

/// What nova answers here, where it differs from a server's creation.
fn refusal(error: Error) -> Error {
    let kind = match error.code {
        "network.PortNotFound" | "network.NetworkNotFound" => Kind::NotFound,
        "network.FixedIpAlreadyInUse" => Kind::Conflict,
        "server.network_ambiguous" | "network.IpAddressGenerationFailure" => Kind::BadRequest,
        _ => return error,
    };
    Error::new(kind, error.code, error.message)
}

async fn insert(conn: &mut Conn, server: &ServerRow, plan: &[PortPlan], now: Timestamp) -> Result<PortId> {
    if ports::of_server(conn, server.id).await?.len() >= MAX_INTERFACES {
        return Err(Error::bad_request(
            "server.interfaces",
            format!("A server has at most {MAX_INTERFACES} interfaces. Detach one first."),
        ));
    }
    // Hosts are locked before addresses.
    if let Some(host) = server.host_id {
        hosts::touch(conn, host).await?;
    }
    let made =
        network::create_server_ports(conn, server.id, server.host_id, &server.project_id, plan, now).await?;
    made.first().copied().ok_or_else(|| Error::internal("server.interface", "no port was made"))
}

async fn wish(
    conn: &mut Conn,
    ctx: &Ctx,
    before: &ServerRow,
    port: PortId,
    detach: bool,
    now: Timestamp,
) -> Result<ServerRow> {
    let mut server = before.clone();
    rewire(&mut server, port, detach);
    let rule = if detach { &rules::DETACH_INTERFACE } else { &rules::ATTACH_INTERFACE };
    save(conn, by(ctx), rule, before, &mut server, now).await?;
    Ok(server)
}

/// Opens the intent that plugs or unplugs the port.
pub(super) fn rewire(server: &mut ServerRow, port: PortId, detach: bool) {
    server.power = server.power.next(server.power.on, How::Rewire);
    let interface = Some(Interface { port, detach, n: server.power.n });
    server.operation = Operation { v: 1, interface, ..std::mem::take(&mut server.operation) };
}

/// The port, when the host has plugged it or takes longer than anyone waits.
async fn plugged(app: &App, id: ServerId, port: PortId, n: i64) -> Result<Port> {
    let deadline = Instant::now() + PATIENCE;
    let mut commits = app.store.commits();
    let failed = || {
        Error::unavailable(
            "server.attach_failed",
            format!("Failed to attach network adapter device to {id}. Its os-instance-actions say why."),
        )
    };
    loop {
        commits.borrow_and_update();
        let server = app.store.read(move |c| Box::pin(servers::get(c, id))).await?;
        let server = server.ok_or_else(|| super::absent(&id.to_string()))?;
        let undone = server.operation.interface.as_ref().is_some_and(|open| open.port == port && open.detach);
        if undone || server.deleting {
            return Err(failed());
        }
        if server.observed_n >= n || Instant::now() >= deadline {
            let found = of(app, id).await?.into_iter().find(|one| one.id == port);
            return found.ok_or_else(failed);
        }
        let until = deadline.min(Instant::now() + POLL);
        let _ = tokio::time::timeout_at(until, commits.changed()).await;
    }
}

/// Takes a port off the server. One that was made for it goes when the guest has let go of it.
pub async fn detach(app: &App, ctx: &Ctx, id: ServerId, port: PortId) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, &rules::DETACH_INTERFACE, actions::SERVERS_DETACH_INTERFACE)?;
    let (ctx, now) = (ctx.clone(), app.now());
    app.store
        .write("server.detach_interface", move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let before = locked(c, id).await?;
                check(&before, &rules::DETACH_INTERFACE, may)?;
                if !ports::of_server(c, id).await?.iter().any(|one| one.id == port) {
                    return Err(network::errors::port_not_found(port));
                }
                wish(c, &ctx, &before, port, true, now).await.map(|_| ())
            })
        })
        .await
}
