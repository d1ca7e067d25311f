//! Reading servers.

use super::filter::filter;
use super::shape::{self, Brief, Detail};
use crate::request::{Reply, Req};
use canopy_app::compute::servers;
use canopy_types::{Page, Result, ServerId};
use serde::Serialize;
use serde_json::{Value, json};

pub async fn brief(req: Req) -> Result<Reply> {
    let (filter, matching, all) = filter(&req)?;
    let page = req.query.page()?;
    let rows = servers::rows(&req.app, req.ctx()?, filter, &matching, all, page.clone()).await?;
    let shown: Vec<Brief<'_>> = rows.iter().map(|server| Brief(&req, server)).collect();
    answer(&req, "", &page, &shown, rows.last().map(|server| server.id))
}

pub async fn detail(req: Req) -> Result<Reply> {
    let (filter, matching, all) = filter(&req)?;
    let page = req.query.page()?;
    let listed = servers::list(&req.app, req.ctx()?, filter, &matching, all, page.clone()).await?;
    let shown: Vec<Detail<'_>> =
        listed.iter().map(|listed| Detail { req: &req, listed, alone: false }).collect();
    answer(&req, "/detail", &page, &shown, listed.last().map(|one| one.server.id))
}

#[derive(Serialize)]
struct Answer<'a, T> {
    servers: &'a [T],
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_links: Option<Value>,
}

fn answer<T: Serialize>(
    req: &Req,
    suffix: &str,
    page: &Page,
    servers: &[T],
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

#[derive(Serialize)]
struct Alone<'a> {
    server: Detail<'a>,
}

pub async fn show(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let listed = servers::show(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &Alone { server: Detail { req: &req, listed: &listed, alone: true } })
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
