//! What a host's report means for an operation of more than one step: its end, its undoing, or the beginning of
//! a wait.
//!
//! Called in the report's transaction, so there is no moment in which the host is done and the books are not.
//! Whatever an operation holds is given back by exactly one of: its end, its undoing, the server's deletion.

use super::interfaces::rewire;
use super::resize::{consumer, revert};
use canopy_store::quota::Spend;
use canopy_store::servers::{Interface, Operation, Resize, ServerRow};
use canopy_store::{Conn, consumers, hosts, quota, servers};
use canopy_types::server::{Hold, How, Phase};
use canopy_types::{Result, Timestamp};

/// Whether more of the row has changed than what was observed. `given_up` tells that the host has let go of the
/// newest intent, the guest being as it was.
pub(super) async fn advance(
    conn: &mut Conn,
    server: &mut ServerRow,
    given_up: bool,
    now: Timestamp,
) -> Result<bool> {
    if server.deleting {
        return Ok(false);
    }
    if let Some(image) = server.operation.snapshot
        && server.observed_n >= server.power.n
    {
        crate::image::discard(conn, &server.user_id, image, now).await?;
        if let Some(backup) = server.operation.backup.take() {
            crate::image::rotate(conn, (server.id, &server.user_id), image, &backup, now).await?;
        }
        server.operation.snapshot = None;
        tidy(server);
        return Ok(true);
    }
    if let Some(interface) = server.operation.interface.clone()
        && server.observed_n >= interface.n
    {
        end_interface(conn, server, &interface, given_up, now).await?;
        return Ok(true);
    }
    let failed = (server.phase == Phase::Failed).then_some(server.failed_n);
    let over = |n: i64| server.observed_n >= n || failed.is_some_and(|failed| failed >= n);
    if let Some(resize) = server.operation.resize.clone() {
        match resize.ending {
            Some((n, true)) if over(n) => {
                end_resize(conn, server, &resize, now).await?;
                return Ok(true);
            }
            // Only when it was gone: until then the guest has the disk and the size that it had.
            Some((n, false)) if server.power.how == How::RevertResize && server.observed_n >= n => {
                end_resize(conn, server, &resize, now).await?;
                return Ok(true);
            }
            // Undone: the server is to be as it was, and says why in its history.
            None if failed == Some(resize.n) => {
                revert(server)?;
                touch(conn, server).await?;
                return Ok(true);
            }
            _ => {}
        }
    }
    if let Some(rescue) = &server.operation.rescue
        && server.power.how == How::Rescue
        && failed == Some(server.power.n)
    {
        server.power = server.power.next(rescue.on, How::Unrescue);
        server.operation.rescue = None;
        tidy(server);
        (server.hold, server.hold_since) = (Hold::None, None);
        touch(conn, server).await?;
        return Ok(true);
    }
    if server.hold != Hold::None && server.hold_since.is_none() && server.observed_n >= server.power.n {
        server.hold_since = Some(now);
        return Ok(true);
    }
    Ok(false)
}

/// Without anything to remember there is no operation.
fn tidy(server: &mut ServerRow) {
    if server.operation == (Operation { v: 1, ..Operation::default() }) {
        server.operation = Operation::default();
    }
}

/// A port that the guest has let go of goes, and one that it could not be given is taken off it again. Everything
/// else stays with the server: also what an operator has broken off, when nobody knows how far it came.
async fn end_interface(
    conn: &mut Conn,
    server: &mut ServerRow,
    interface: &Interface,
    given_up: bool,
    now: Timestamp,
) -> Result<()> {
    server.operation.interface = None;
    tidy(server);
    match (interface.detach, given_up) {
        (true, false) if server.power.how == How::Rewire => {
            crate::network::release_server_port(conn, server.id, interface.port, now).await?;
            if server.device_tags.ports.remove(&interface.port).is_some() {
                servers::set_device_tags(conn, server.id, &server.device_tags).await?;
            }
        }
        (false, true) => rewire(server, interface.port, true),
        _ => {}
    }
    touch(conn, server).await
}

async fn touch(conn: &mut Conn, server: &ServerRow) -> Result<()> {
    match server.host_id {
        Some(host) => hosts::touch(conn, host).await,
        None => Ok(()),
    }
}

/// One of the two flavors is given up, with all that was held for it.
async fn end_resize(conn: &mut Conn, server: &mut ServerRow, resize: &Resize, now: Timestamp) -> Result<()> {
    let confirmed = resize.ending.is_some_and(|(_, confirmed)| confirmed);
    let kept = super::charges(&server.flavor);
    let mut amounts = super::held(&server.flavor, &server.operation);
    for (resource, amount) in &mut amounts {
        *amount -= kept.get(resource).copied().unwrap_or(0);
    }
    amounts.retain(|_, amount| *amount > 0);
    let spend = Spend {
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        zone: server.availability_zone.clone(),
        amounts,
    };
    quota::refund(conn, &spend).await?;
    if confirmed {
        consumers::release(conn, &[resize.migration], now).await?;
    } else {
        hosts::release(conn, &[server.id], now).await?;
        let owner = consumer(server, server.id.into(), "INSTANCE", now);
        consumers::hand_over(conn, resize.migration, &owner).await?;
    }
    server.operation.resize = None;
    tidy(server);
    (server.hold, server.hold_since) = (Hold::None, None);
    touch(conn, server).await
}
