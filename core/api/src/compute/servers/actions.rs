//! `POST /servers/{id}/action`: one route an action.

use super::schema;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Schema, Service};
use crate::version::Microversion;
use canopy_app::compute::servers;
use canopy_authz::{Action, actions::compute as policy};
use canopy_types::{Error, Result};
use http::Method;
use serde_json::json;

pub fn routes() -> Vec<Route> {
    let action = |key: &'static str,
                  summary: &'static str,
                  policy: Action,
                  schemas: &'static [(Microversion, Schema)],
                  success: &'static [u16],
                  handler: Handler| {
        Route::new(Service::Compute, Method::POST, "/v2.1/servers/{server_id}/action", summary, handler)
            .key(key)
            .action(policy)
            .json(schemas)
            .answers(success, &[404, 409])
    };
    vec![
        action(
            "os-getConsoleOutput",
            "Read the serial console",
            policy::SERVERS_CONSOLE_OUTPUT,
            schema::CONSOLE,
            &[200],
            handler!(console_output),
        ),
        action(
            "os-start",
            "Start a stopped server",
            policy::SERVERS_START,
            schema::START,
            &[202],
            handler!(start),
        ),
        action(
            "os-stop",
            "Stop a running server",
            policy::SERVERS_STOP,
            schema::STOP,
            &[202],
            handler!(stop),
        ),
    ]
}

async fn start(req: Req) -> Result<Reply> {
    servers::start(&req.app, req.ctx()?, req.id("server_id", servers::absent)?).await?;
    Ok(Reply::empty(202))
}

async fn stop(req: Req) -> Result<Reply> {
    servers::stop(&req.app, req.ctx()?, req.id("server_id", servers::absent)?).await?;
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
    let output = servers::console_output(&req.app, req.ctx()?, id, lines).await?;
    Reply::json(200, &json!({ "output": output }))
}
