//! Joins a guest's console to the session that waits for it at the controller.

use crate::shared::Shared;
use canopy_agent_api::ConsoleState;
use canopy_hypervisor::Console;
use canopy_types::{ConsoleKind, Error, HostId, ServerId};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// For the guest's side to let somebody in.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the console is; with a session and a console that is ready, it is handed over.
pub async fn console(
    shared: &Shared,
    host: HostId,
    server: ServerId,
    kind: ConsoleKind,
    session: Option<&str>,
) -> Result<ConsoleState, Error> {
    let socket = match shared.hypervisor.console(server, kind).await? {
        Console::At(socket) => socket,
        Console::Off => return Ok(ConsoleState::Off),
        Console::Outdated => return Ok(ConsoleState::Outdated),
        Console::Unavailable => return Ok(ConsoleState::Unavailable),
    };
    let Some(session) = session else { return Ok(ConsoleState::Ready) };
    let stream = match tokio::time::timeout(PATIENCE, UnixStream::connect(&socket)).await {
        Ok(Ok(stream)) => stream,
        // It went off since it was asked.
        Ok(Err(e)) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(ConsoleState::Off);
        }
        Ok(Err(e)) => return Err(crate::files::error("join", &socket, e)),
        Err(_) => {
            return Err(Error::unavailable(
                "agent.console",
                "The guest's console lets nobody in. Try again.",
            ));
        }
    };
    shared.controller.join(host, session, Box::new(stream.compat())).await?;
    Ok(ConsoleState::Ready)
}
