//! What a server's guest uses, asked of its host.

use super::list::find;
use crate::{App, Ctx, access};
use canopy_agent_api::Ask;
use canopy_authz::actions::compute as actions;
use canopy_store::servers::ServerRow;
use canopy_types::diagnostics::Diagnostics;
use canopy_types::server::Phase;
use canopy_types::{Error, Result, ServerId};

/// Of a guest that runs or is paused; others have nothing to tell.
pub async fn diagnostics(app: &App, ctx: &Ctx, id: ServerId) -> Result<(ServerRow, Diagnostics)> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_DIAGNOSTICS, &super::target(&server))?;
    let on = matches!(server.phase, Phase::Running | Phase::Paused);
    let Some(host) = server.host_id.filter(|_| on) else {
        let message = format!(
            "Cannot 'get_diagnostics' instance {id} while it is in vm_state {}",
            server.derived().vm_state
        );
        return Err(Error::conflict("server.state", message));
    };
    let told = app.questions.ask_guest(host, id, Ask::Diagnostics).await?;
    let told = serde_json::from_str(&told).map_err(|e| Error::internal("server.diagnostics", e))?;
    Ok((server, told))
}
