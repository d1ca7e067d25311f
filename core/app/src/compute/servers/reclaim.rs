//! What has a deadline that nobody waits for: resizes that are confirmed by themselves, and deleted servers that
//! can no longer be restored.

use super::change::save;
use super::resize::confirm;
use crate::App;
use canopy_store::servers::{self, ServerRow};
use canopy_types::server::Hold;
use canopy_types::server::rules::{self, Rule};
use canopy_types::{RequestId, Result};

/// Servers dealt with in one round.
const MOST: i64 = 100;

/// One round. Safe to run at any time, and by several controllers at once.
pub async fn overdue(app: &App) -> Result<()> {
    let settings = &app.settings;
    let confirms = (Hold::Resized, settings.resize_confirm_seconds, &rules::CONFIRM_RESIZE);
    let reclaims = (Hold::SoftDeleted, settings.reclaim_seconds, &rules::FORCE_DELETE);
    for (hold, seconds, rule) in [confirms, reclaims] {
        if seconds > 0 {
            end_all(app, hold, seconds, rule).await?;
        }
    }
    Ok(())
}

async fn end_all(app: &App, hold: Hold, seconds: i64, rule: &'static Rule) -> Result<()> {
    let before = app.now().plus_seconds(-seconds);
    let ids = app
        .store
        .read(move |c| Box::pin(async move { servers::held_before(c, hold, before, MOST).await }))
        .await?;
    for id in ids {
        let (now, request) = (app.now(), RequestId::random());
        let host = app
            .store
            .write("server.overdue", move |c| {
                let request = request.clone();
                Box::pin(async move {
                    let found = servers::get_for_update(c, id).await?;
                    let still = |s: &ServerRow| {
                        let due = s.hold == hold && s.hold_since.is_some_and(|since| since <= before);
                        due && !s.deleting && s.deleted_at.is_none() && s.observed_n >= s.power.n
                    };
                    let Some(before) = found.filter(still) else { return Ok(None) };
                    let mut server = before.clone();
                    match hold {
                        Hold::Resized => confirm(&mut server)?,
                        _ => server.deleting = true,
                    }
                    // Its owner's doing, by having let the time pass.
                    let owner = server.user_id.clone();
                    save(c, (&request, &owner), rule, &before, &mut server, now).await?;
                    Ok(server.host_id)
                })
            })
            .await?;
        tracing::info!(server_id = %id, rule = rule.name, "its time is up");
        if let Some(host) = host {
            app.placement.touch(host);
        }
    }
    Ok(())
}
