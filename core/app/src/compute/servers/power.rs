//! Operations on the guest itself. Each is one numbered intent; the host reports when it is satisfied.

use super::change::change;
use super::list::find;
use super::resize::revert;
use crate::access;
use crate::{App, Ctx};
use canopy_agent_api::Ask;
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::servers::Lock;
use canopy_types::server::rules::{self, Rule};
use canopy_types::server::{Hold, How};
use canopy_types::{Error, Result, ServerId};

/// An operation that is nothing but an intent.
pub struct Operation {
    pub rule: &'static Rule,
    pub policy: Action,
    on: bool,
    how: How,
    /// The state of its own that it ends in.
    hold: Hold,
}

const fn operation(rule: &'static Rule, policy: Action, on: bool, how: How) -> Operation {
    Operation { rule, policy, on, how, hold: Hold::None }
}

/// Off, and held so: the host keeps everything that the guest is made of.
pub const SHELVE: Operation = Operation {
    hold: Hold::Shelved,
    ..operation(&rules::SHELVE, actions::SERVERS_SHELVE, false, How::Shelve)
};
pub const UNSHELVE: Operation = operation(&rules::UNSHELVE, actions::SERVERS_UNSHELVE, true, How::Unshelve);
pub const RESTORE: Operation = operation(&rules::RESTORE, actions::SERVERS_RESTORE, true, How::Restore);

pub const START: Operation = operation(&rules::START, actions::SERVERS_START, true, How::Plain);
pub const STOP: Operation = operation(&rules::STOP, actions::SERVERS_STOP, false, How::Plain);
pub const PAUSE: Operation = operation(&rules::PAUSE, actions::SERVERS_PAUSE, true, How::Pause);
pub const UNPAUSE: Operation = operation(&rules::UNPAUSE, actions::SERVERS_UNPAUSE, true, How::Unpause);
pub const SUSPEND: Operation = operation(&rules::SUSPEND, actions::SERVERS_SUSPEND, false, How::Suspend);
pub const RESUME: Operation = operation(&rules::RESUME, actions::SERVERS_RESUME, true, How::Resume);
pub const SOFT_REBOOT: Operation =
    operation(&rules::SOFT_REBOOT, actions::SERVERS_REBOOT, true, How::SoftReboot);
pub const HARD_REBOOT: Operation =
    operation(&rules::HARD_REBOOT, actions::SERVERS_REBOOT, true, How::HardReboot);

pub async fn operate(app: &App, ctx: &Ctx, id: ServerId, operation: &'static Operation) -> Result<()> {
    let Operation { rule, policy, on, how, hold } = operation;
    change(app, ctx, id, (rule, *policy), |server| {
        server.broken = false;
        // What brings an error back leaves a resize to be confirmed, or a rescue to be ended.
        let own = matches!(server.hold, Hold::None | Hold::Shelved | Hold::SoftDeleted);
        if own {
            (server.hold, server.hold_since) = (*hold, None);
        }
        if let Some(resize) = server.operation.resize.as_mut().filter(|resize| resize.is_undone()) {
            // Its way back failed on the host: what is asked now goes it first.
            resize.on = *on;
            return revert(server);
        }
        // The same of a rebuild: the row names the new image already.
        let rebuilds = server.power.how == How::Rebuild && server.observed_n < server.power.n;
        server.power = server.power.next(*on, if rebuilds { How::Rebuild } else { *how });
        Ok(())
    })
    .await
    .map(|_| ())
}

/// Says what the state is, whatever the host does: `error`, or what the host last said, and ends what is in
/// flight. For operators.
pub async fn reset_state(app: &App, ctx: &Ctx, id: ServerId, error: bool) -> Result<()> {
    change(app, ctx, id, (&rules::RESET_STATE, actions::SERVERS_RESET_STATE), move |server| {
        server.broken = error;
        if server.power.n > server.observed_n || server.phase == canopy_types::server::Phase::Failed {
            server.power = server.power.next(server.power.on, How::Accept);
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

/// Only the lock's owner, or an admin, changes a locked server.
pub async fn lock(app: &App, ctx: &Ctx, id: ServerId, reason: Option<String>) -> Result<()> {
    let project = ctx.who.project_id().cloned();
    change(app, ctx, id, (&rules::LOCK, actions::SERVERS_LOCK), move |server| {
        let by_admin = project.as_ref() != Some(&server.project_id);
        // An owner does not take an admin's lock over by locking again.
        if by_admin || server.lock.is_none() {
            server.lock = Some(Lock { by_admin, reason: reason.clone() });
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

pub async fn unlock(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let foreign = ctx.who.project_id() != Some(&server.project_id);
    let overrides = match &server.lock {
        Some(lock) if lock.by_admin != foreign => {
            access::require(app, ctx, actions::SERVERS_LOCK_OVERRIDE, &super::target(&server))?;
            true
        }
        _ => false,
    };
    change(app, ctx, id, (&rules::UNLOCK, actions::SERVERS_UNLOCK), move |server| {
        match &server.lock {
            // Locked by the other side since it was asked.
            Some(lock) if lock.by_admin != foreign && !overrides => {
                Err(Error::conflict("server.locked", format!("Instance {} is locked", server.id)))
            }
            _ => {
                server.lock = None;
                Ok(())
            }
        }
    })
    .await
    .map(|_| ())
}

/// The last `lines` of the serial console.
pub async fn console_output(app: &App, ctx: &Ctx, id: ServerId, lines: Option<u32>) -> Result<String> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_CONSOLE_OUTPUT, &super::target(&server))?;
    let Some(host) = server.host_id else {
        return Err(Error::conflict("server.not_ready", format!("Instance {id} is not ready")));
    };
    app.questions.ask(host, id, Ask::ConsoleOutput { lines }).await
}
