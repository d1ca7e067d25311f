//! Reading servers.

use super::filter::filter;
use super::shape;
use crate::request::{Reply, Req};
use canopy_app::compute::servers;
use canopy_types::{Error, Page, Result, ServerId};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub async fn brief(req: Req) -> Result<Reply> {
    let (filter, matching, all) = filter(&req)?;
    let page = req.query.page()?;
    let rows = servers::rows(&req.app, req.ctx()?, filter, &matching, all, page.clone()).await?;
    let shown = rows.iter().map(|server| written(&shape::brief(&req, server))).collect::<Result<_>>()?;
    answer(&req, "", &page, shown, rows.last().map(|server| server.id))
}

pub async fn detail(req: Req) -> Result<Reply> {
    let (filter, matching, all) = filter(&req)?;
    let page = req.query.page()?;
    let listed = servers::list(&req.app, req.ctx()?, filter, &matching, all, page.clone()).await?;
    let shown = listed.iter().map(|one| written(&shape::detail(&req, one))).collect::<Result<_>>()?;
    answer(&req, "/detail", &page, shown, listed.last().map(|one| one.server.id))
}

/// One server of a list as text: thousands of them as trees of values would fill the memory for a moment.
fn written(shown: &Value) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(shown).map_err(|e| Error::internal("api.serialise", e))
}

#[derive(Serialize)]
struct Answer {
    servers: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_links: Option<Value>,
}

fn answer(
    req: &Req,
    suffix: &str,
    page: &Page,
    servers: Vec<Box<RawValue>>,
    last: Option<ServerId>,
) -> Result<Reply> {
    let full = servers.len() as i64 == page.size() && page.size() > 0;
    let mut servers_links = None;
    if let (true, Some(last)) = (full, last) {
        let mut query = format!("limit={}&marker={last}", page.size());
        for (name, value) in req.query.0.iter().filter(|(name, _)| name != "marker" && name != "limit") {
            query.push_str(&format!("&{}={}", escape(name), escape(value)));
        }
        let href = format!("{}/compute/v2.1/servers{suffix}?{query}", req.base);
        servers_links = Some(json!([{"rel": "next", "href": href}]));
    }
    Reply::json(200, &Answer { servers, servers_links })
}

/// Percent-encodes all but what a query may hold plainly.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

pub async fn show(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let listed = servers::show(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &json!({"server": shape::alone(&req, &listed)}))
}

pub async fn addresses(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let addresses = servers::addresses(&req.app, req.ctx()?, id).await?;
    let mut all = shape::addresses(&addresses);
    plain(&mut all);
    Reply::json(200, &json!({ "addresses": all }))
}

pub async fn addresses_on(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let addresses = servers::addresses(&req.app, req.ctx()?, id).await?;
    let mut all = shape::addresses(&addresses);
    plain(&mut all);
    let network = req.param("network");
    match all.get(network) {
        Some(list) => Reply::json(200, &json!({ network: list })),
        None => {
            Err(canopy_types::Error::not_found("server.network", "Instance does not have specified network"))
        }
    }
}

/// The `ips` resource carries only address and version.
fn plain(addresses: &mut Value) {
    for list in addresses.as_object_mut().into_iter().flat_map(|object| object.values_mut()) {
        for address in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            address.retain(|key, _| key == "addr" || key == "version");
        }
    }
}
