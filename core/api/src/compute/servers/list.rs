//! Reading servers.

use super::filter::filter;
use super::shape;
use crate::request::{Reply, Req};
use canopy_app::compute::servers;
use canopy_types::Result;
use serde_json::{Value, json};

pub async fn brief(req: Req) -> Result<Reply> {
    list(req, "", shape::brief).await
}

pub async fn detail(req: Req) -> Result<Reply> {
    list(req, "/detail", shape::detail).await
}

async fn list(req: Req, suffix: &str, shape: fn(&Req, &servers::Listed) -> Value) -> Result<Reply> {
    let (filter, all) = filter(&req)?;
    let page = req.query.page()?;
    let listed = servers::list(&req.app, req.ctx()?, filter, all, page.clone()).await?;
    let shaped: Vec<Value> = listed.iter().map(|one| shape(&req, one)).collect();
    let mut body = json!({ "servers": shaped });
    let full = listed.len() as i64 == page.size() && page.size() > 0;
    if let (true, Some(last)) = (full, listed.last()) {
        let mut query = format!("limit={}&marker={}", page.size(), last.server.id);
        for (name, value) in req.query.0.iter().filter(|(name, _)| name != "marker" && name != "limit") {
            query.push_str(&format!("&{}={}", escape(name), escape(value)));
        }
        let href = format!("{}/compute/v2.1/servers{suffix}?{query}", req.base);
        body["servers_links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::json(200, &body)
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
