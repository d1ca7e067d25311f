//! The password of a guest's administrator, set by the guest's own agent. It is kept nowhere.

use super::change::{by, check, locked, permit};
use super::list::find;
use crate::{App, Ctx};
use canopy_agent_api::{Ask, PasswordOutcome, Secret};
use canopy_authz::actions::compute as actions;
use canopy_store::server_actions;
use canopy_store::servers::ServerRow;
use canopy_types::server::rules;
use canopy_types::{Error, Kind, Result, ServerId};

/// Returns when the guest has it. The server's history has the attempt, whatever becomes of it.
pub async fn change_password(app: &App, ctx: &Ctx, id: ServerId, password: Secret) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let rule = &rules::CHANGE_PASSWORD;
    let may = permit(app, ctx, &server, rule, actions::SERVERS_CHANGE_PASSWORD)?;
    let (now, asked) = (app.now(), ctx.clone());
    let server = app
        .store
        .write("server.change_password", move |c| {
            let ctx = asked.clone();
            Box::pin(async move {
                let server = locked(c, id).await?;
                check(&server, rule, may)?;
                server_actions::record(c, &server, rule.name, by(&ctx), None, now).await?;
                Ok(server)
            })
        })
        .await?;
    let Err(error) = set(app, &server, password).await else { return Ok(()) };
    let (request, message) = (ctx.request_id.clone(), error.message.clone());
    app.store
        .write("server.change_password", move |c| {
            let (request, message) = (request.clone(), message.clone());
            Box::pin(async move { server_actions::fail(c, id, &request, rule.name, &message).await })
        })
        .await?;
    Err(error)
}

async fn set(app: &App, server: &ServerRow, password: Secret) -> Result<()> {
    let (id, image) = (server.id, Properties(server));
    if !image.agent() {
        return Err(Error::conflict(
            "server.guest_agent",
            "QEMU guest agent is not enabled: the image lacks the property hw_qemu_guest_agent=yes.",
        ));
    }
    let failed = |why: &str| {
        let message = format!("Failed to set admin password on {id} because {why}");
        Err(Error::conflict("server.password", message))
    };
    let host = server.host_id.ok_or_else(|| super::absent(&id.to_string()))?;
    let ask = Ask::SetPassword { user: image.user(), password };
    let told = app.questions.ask_guest(host, id, ask).await?;
    match serde_json::from_str(&told).map_err(|e| Error::internal("server.password", e))? {
        PasswordOutcome::Set => Ok(()),
        PasswordOutcome::Off => failed(&format!("instance {id} is not running")),
        PasswordOutcome::Refused => failed("error setting admin password"),
        PasswordOutcome::Silent => Err(Error::new(
            Kind::NotImplemented,
            "server.guest_agent",
            "Unable to set password on instance: its guest agent does not answer.",
        )),
    }
}

/// What the server's image says of its guest.
struct Properties<'a>(&'a ServerRow);

impl Properties<'_> {
    fn text(&self, name: &str) -> &str {
        let image = self.0.image.as_ref();
        image.and_then(|image| image["properties"][name].as_str()).unwrap_or_default()
    }

    fn agent(&self) -> bool {
        ["1", "t", "true", "on", "y", "yes"]
            .contains(&self.text("hw_qemu_guest_agent").to_lowercase().as_str())
    }

    fn user(&self) -> String {
        let user = match self.text("os_admin_user") {
            "" if self.text("os_type") == "windows" => "Administrator",
            "" => "root",
            user => user,
        };
        user.to_owned()
    }
}
