//! `POST /servers/{id}/action`: one route an action.

use super::{create, notes, schema, shape};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Schema, Service};
use crate::version::{Microversion, v};
use canopy_agent_api::Secret;
use canopy_app::compute::servers::{self, power};
use canopy_authz::{Action, actions::compute as policy};
use canopy_types::{Error, Result};
use http::Method;
use serde_json::{Value, json};

/// A rebuild may change the key, and shows it.
const WITH_KEY: Microversion = v(2, 54);
/// The same of the user data, which is shown as what it is, not as an extension.
const WITH_USER_DATA: Microversion = v(2, 57);

/// A route of `POST /servers/{id}/action`, told from the others by the body's key.
pub fn action(
    key: &'static str,
    summary: &'static str,
    policy: Action,
    schemas: &'static [(Microversion, Schema)],
    success: &'static [u16],
    handler: Handler,
) -> Route {
    Route::new(Service::Compute, Method::POST, "/v2.1/servers/{server_id}/action", summary, handler)
        .key(key)
        .action(policy)
        .json(schemas)
        .answers(success, &[404, 409])
}

/// One without arguments.
macro_rules! bare {
    ($key:literal, $summary:literal, $policy:ident, $success:literal, $handler:ident) => {
        $crate::compute::servers::actions::action(
            $key,
            $summary,
            policy::$policy,
            $crate::compute::servers::schema::bare!($key),
            &[$success],
            handler!($handler),
        )
    };
    ($key:literal, $summary:literal, $policy:ident, $handler:ident) => {
        $crate::compute::servers::actions::bare!($key, $summary, $policy, 202, $handler)
    };
}
pub(super) use bare;

pub fn routes() -> Vec<Route> {
    vec![
        action(
            "os-getConsoleOutput",
            "Read the serial console",
            policy::SERVERS_CONSOLE_OUTPUT,
            schema::CONSOLE,
            &[200],
            handler!(console_output),
        ),
        bare!("os-start", "Start a stopped server", SERVERS_START, start),
        bare!("os-stop", "Stop a running server", SERVERS_STOP, stop),
        bare!("pause", "Pause a running server", SERVERS_PAUSE, pause),
        bare!("unpause", "Let a paused server run again", SERVERS_UNPAUSE, unpause),
        bare!("suspend", "Write a server's memory to disk and end its guest", SERVERS_SUSPEND, suspend),
        bare!("resume", "Let a suspended server go on", SERVERS_RESUME, resume),
        action(
            "reboot",
            "Restart a server's guest",
            policy::SERVERS_REBOOT,
            schema::REBOOT,
            &[202],
            handler!(reboot),
        ),
        action(
            "rebuild",
            "Make a server's disk anew from an image",
            policy::SERVERS_REBUILD,
            schema::REBUILD,
            &[202],
            handler!(rebuild),
        ),
        action(
            "changePassword",
            "Set the password of a server's administrator",
            policy::SERVERS_CHANGE_PASSWORD,
            schema::CHANGE_PASSWORD,
            &[202],
            handler!(change_password),
        ),
        action("lock", "Lock a server", policy::SERVERS_LOCK, schema::LOCK, &[202], handler!(lock)),
        bare!("unlock", "Unlock a server", SERVERS_UNLOCK, unlock),
        bare!("forceDelete", "Delete a server", SERVERS_FORCE_DELETE, force_delete),
        action(
            "os-resetState",
            "Say what a server's state is",
            policy::SERVERS_RESET_STATE,
            schema::RESET_STATE,
            &[202],
            handler!(reset_state),
        ),
        bare!(
            "injectNetworkInfo",
            "Make a server's network anew on its host",
            SERVERS_INJECT_NETWORK_INFO,
            inject_network_info
        ),
    ]
}

async fn inject_network_info(req: Req) -> Result<Reply> {
    servers::inject_network_info(&req.app, req.ctx()?, req.id("server_id", servers::absent)?).await?;
    Ok(Reply::empty(202))
}

pub async fn operate(req: Req, operation: &'static power::Operation) -> Result<Reply> {
    power::operate(&req.app, req.ctx()?, req.id("server_id", servers::absent)?, operation).await?;
    Ok(Reply::empty(202))
}

async fn start(req: Req) -> Result<Reply> {
    operate(req, &power::START).await
}

async fn stop(req: Req) -> Result<Reply> {
    operate(req, &power::STOP).await
}

async fn pause(req: Req) -> Result<Reply> {
    operate(req, &power::PAUSE).await
}

async fn unpause(req: Req) -> Result<Reply> {
    operate(req, &power::UNPAUSE).await
}

async fn suspend(req: Req) -> Result<Reply> {
    operate(req, &power::SUSPEND).await
}

async fn resume(req: Req) -> Result<Reply> {
    operate(req, &power::RESUME).await
}

async fn reboot(req: Req) -> Result<Reply> {
    let hard = req.json["reboot"]["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("hard"));
    operate(req, if hard { &power::HARD_REBOOT } else { &power::SOFT_REBOOT }).await
}

async fn rebuild(req: Req) -> Result<Reply> {
    let (id, wanted) = (req.id("server_id", servers::absent)?, &req.json["rebuild"]);
    let given = |key: &str| wanted.get(key).is_some();
    let image = create::reference(&wanted["imageRef"]).parse().map_err(|_| {
        Error::bad_request("server.image", "Invalid imageRef provided: it is not an image id.")
    })?;
    let change = servers::Rebuild {
        image,
        name: wanted["name"].as_str().map(str::to_owned),
        description: given("description").then(|| wanted["description"].as_str().map(str::to_owned)),
        key_name: given("key_name").then(|| wanted["key_name"].as_str().map(str::to_owned)),
        user_data: given("user_data").then(|| create::user_data(wanted["user_data"].as_str())).transpose()?,
        certificates: wanted["trusted_image_certificates"].is_array(),
        metadata: given("metadata").then(|| notes::items(&wanted["metadata"])),
        access_ip_v4: given("accessIPv4").then(|| create::address(wanted, "accessIPv4")).transpose()?,
        access_ip_v6: given("accessIPv6").then(|| create::address(wanted, "accessIPv6")).transpose()?,
    };
    servers::rebuild(&req.app, req.ctx()?, id, change).await?;
    let listed = servers::show(&req.app, req.ctx()?, id).await?;
    let mut shown = shape::changed(&req, &listed);
    if req.version >= WITH_KEY {
        shown["key_name"] = json!(listed.server.key_name);
    }
    if req.version >= WITH_USER_DATA {
        shown["user_data"] = json!(listed.server.user_data);
    }
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("OS-EXT-SRV-ATTR:user_data");
    }
    shown["adminPass"] = json!(create::admin_pass(wanted));
    let own = format!("{}/compute/v2.1/servers/{id}", req.base);
    Ok(Reply::json(202, &json!({"server": shown}))?.header("location", &own))
}

async fn change_password(mut req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let Value::String(password) = req.json["changePassword"]["adminPass"].take() else {
        return Err(Error::bad_request("server.password", "adminPass must be a text."));
    };
    servers::change_password(&req.app, req.ctx()?, id, Secret(password)).await?;
    Ok(Reply::empty(202))
}

async fn lock(req: Req) -> Result<Reply> {
    let reason = req.json["lock"]["locked_reason"].as_str().map(str::to_owned);
    power::lock(&req.app, req.ctx()?, req.id("server_id", servers::absent)?, reason).await?;
    Ok(Reply::empty(202))
}

async fn unlock(req: Req) -> Result<Reply> {
    power::unlock(&req.app, req.ctx()?, req.id("server_id", servers::absent)?).await?;
    Ok(Reply::empty(202))
}

async fn force_delete(req: Req) -> Result<Reply> {
    servers::force_delete(&req.app, req.ctx()?, req.id("server_id", servers::absent)?).await?;
    Ok(Reply::empty(202))
}

async fn reset_state(req: Req) -> Result<Reply> {
    let error = req.json["os-resetState"]["state"] == "error";
    power::reset_state(&req.app, req.ctx()?, req.id("server_id", servers::absent)?, error).await?;
    Ok(Reply::empty(202))
}

async fn console_output(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let length = &req.json["os-getConsoleOutput"]["length"];
    let length = length.as_i64().or_else(|| length.as_str()?.parse().ok());
    let lines = match length {
        None | Some(-1) => None,
        Some(n) => Some(u32::try_from(n).map_err(|_| {
            Error::bad_request(
                "server.console_length",
                "Invalid input for field/attribute length. It must be -1 or more.",
            )
        })?),
    };
    let output = power::console_output(&req.app, req.ctx()?, id, lines).await?;
    Reply::json(200, &json!({ "output": output }))
}
