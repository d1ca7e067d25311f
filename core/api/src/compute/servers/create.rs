//! `POST /servers`.

use crate::compute::as_compute;
use crate::request::{Reply, Req, parse_bool};
use base64::Engine;
use canopy_app::compute::servers::{self, Create, Hints, Networks, Once};
use canopy_app::network::NetworkRequest;
use canopy_types::{Error, Result, ServerId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub async fn create(req: Req) -> Result<Reply> {
    let server = &req.json["server"];
    let mut wanted = parse(server)?;
    let hints = ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"].map(|key| &req.json[key]);
    wanted.hints = parse_hints(hints.into_iter().find(|hints| hints.is_object()).unwrap_or(&Value::Null))?;
    wanted.once = once(&req)?;
    let groups_asked = server["security_groups"].as_array().into_iter().flatten();
    for name in groups_asked.filter_map(|group| group["name"].as_str()) {
        servers::known_group(&req.app, req.ctx()?, name).await?;
    }
    let return_reservation_id = wanted.return_reservation_id;
    let created = servers::create(&req.app, req.ctx()?, wanted).await.map_err(as_compute)?;
    if return_reservation_id {
        return Reply::json(202, &json!({"reservation_id": created.reservation_id}));
    }
    let first = created.servers.first().map(ToString::to_string).unwrap_or_default();
    let own = format!("{}/compute/v2.1/servers/{first}", req.base);
    let body = json!({"server": {
        "id": first,
        "links": [
            {"rel": "self", "href": own},
            {"rel": "bookmark", "href": format!("{}/compute/servers/{first}", req.base)},
        ],
        "OS-DCF:diskConfig": disk_config(server),
        "security_groups": groups(server),
        "adminPass": admin_pass(server),
    }});
    Ok(Reply::json(202, &body)?.header("location", &own))
}

/// The client's own name for this request, with what it asks.
fn once(req: &Req) -> Result<Option<Once>> {
    let Some(key) = req.headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && !key.contains(' '));
    let key = key.ok_or_else(|| {
        Error::bad_request(
            "idempotency.key",
            "An Idempotency-Key has 1 to 255 visible ASCII characters, a UUID for example.",
        )
    })?;
    let body = serde_json::to_vec(&req.json).map_err(|e| Error::internal("idempotency.body", e))?;
    let digest = canopy_types::hex(Sha256::digest(body));
    Ok(Some(Once { key: key.to_owned(), digest }))
}

/// nova answers with a password even where no guest can take one; it goes nowhere here.
pub fn admin_pass(server: &Value) -> String {
    match server["adminPass"].as_str() {
        Some(given) => given.to_owned(),
        None => canopy_types::ServerId::random().0.as_simple().to_string()[..12].to_owned(),
    }
}

fn disk_config(server: &Value) -> &str {
    server["OS-DCF:diskConfig"].as_str().unwrap_or("MANUAL")
}

fn groups(server: &Value) -> Value {
    match server["security_groups"].as_array() {
        Some(groups) if !groups.is_empty() => json!(groups),
        _ => json!([{"name": "default"}]),
    }
}

fn parse(server: &Value) -> Result<Create> {
    let text = |key: &str| server[key].as_str().map(str::to_owned);
    let min = count(&server["min_count"]).unwrap_or(1);
    let max = count(&server["max_count"]).unwrap_or(min);
    if min > max {
        return Err(Error::bad_request("server.counts", "min_count must be <= max_count"));
    }
    let volume_type = &server["block_device_mapping_v2"][0]["volume_type"];
    if volume_type.as_str().is_some_and(|name| !name.is_empty()) {
        return Err(Error::bad_request(
            "server.volume_type",
            "Block Device Mapping is Invalid: Specifying a volume_type with destination_type=local is not supported.",
        ));
    }
    let tags = server["tags"].as_array().into_iter().flatten();
    Ok(Create {
        name: text("name").unwrap_or_default(),
        description: text("description"),
        flavor: reference(&server["flavorRef"]).into(),
        image: image(server)?,
        networks: networks(&server["networks"])?,
        key_name: text("key_name"),
        user_data: user_data(server["user_data"].as_str())?,
        config_drive: flag(&server["config_drive"]),
        metadata: super::notes::items(&server["metadata"]),
        access_ip_v4: address(server, "accessIPv4")?,
        access_ip_v6: address(server, "accessIPv6")?,
        availability_zone: text("availability_zone"),
        min_count: min,
        max_count: max,
        return_reservation_id: flag(&server["return_reservation_id"]),
        tags: tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
        hints: Hints::default(),
        disk_tag: server["block_device_mapping_v2"][0]["tag"].as_str().map(str::to_owned),
        certificates: server["trusted_image_certificates"].is_array(),
        on_host: ["host", "hypervisor_hostname"].into_iter().filter_map(text).collect(),
        once: None,
    })
}

/// The schema has looked at their shapes.
fn parse_hints(hints: &Value) -> Result<Hints> {
    let bad = |name: &str| {
        Error::bad_request(
            "server.hints",
            format!("Invalid input for field/attribute {name}. It must be a UUID."),
        )
    };
    let servers = |name: &str| -> Result<Vec<ServerId>> {
        let given = match &hints[name] {
            Value::Array(list) => list.as_slice(),
            Value::Null => &[],
            one => std::slice::from_ref(one),
        };
        given.iter().map(|id| id.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| bad(name))).collect()
    };
    Ok(Hints {
        group: hints["group"].as_str().map(str::parse).transpose().map_err(|_| bad("group"))?,
        same_host: servers("same_host")?,
        different_host: servers("different_host")?,
    })
}

/// An address of one family; absent and empty are none.
pub fn address<T: std::str::FromStr>(server: &Value, key: &'static str) -> Result<Option<T>> {
    match server[key].as_str() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            let family = key.trim_start_matches("accessIP");
            Error::bad_request(
                "server.access_ip",
                format!("Invalid input for field/attribute {key}. It is not an IP{family} address."),
            )
        }),
    }
}

fn count(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).or_else(|| value.as_str()?.parse().ok())
}

fn flag(value: &Value) -> bool {
    value.as_bool().or_else(|| parse_bool(value.as_str()?)).unwrap_or(false)
}

/// An id, or the last part of a URL that names one, as nova accepts.
pub fn reference(value: &Value) -> String {
    match value {
        Value::Number(n) => n.to_string(),
        Value::String(text) => text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

fn image(server: &Value) -> Result<Option<canopy_types::ImageId>> {
    let mapped = server["block_device_mapping_v2"][0]["uuid"].as_str().unwrap_or_default();
    let reference = reference(&server["imageRef"]);
    if !mapped.is_empty() && !reference.is_empty() && mapped != reference {
        return Err(Error::bad_request(
            "server.image",
            "imageRef and the block device mapping name different images.",
        ));
    }
    let chosen = if reference.is_empty() { mapped } else { reference.as_str() };
    if chosen.is_empty() {
        return Err(Error::bad_request(
            "server.image_required",
            "Invalid imageRef provided: a server boots from an image here; volumes are not offered yet.",
        ));
    }
    chosen
        .parse()
        .map(Some)
        .map_err(|_| Error::bad_request("server.image", "Invalid imageRef provided: it is not an image id."))
}

fn networks(value: &Value) -> Result<Networks> {
    let list = match value {
        Value::Null => return Ok(Networks::Unspecified),
        Value::String(word) if word == "auto" => return Ok(Networks::Auto),
        Value::String(_) => return Ok(Networks::None),
        Value::Array(list) if list.is_empty() => return Ok(Networks::Unspecified),
        Value::Array(list) => list,
        _ => return Err(Error::bad_request("server.networks", "networks must be a list, 'auto' or 'none'.")),
    };
    list.iter()
        .map(|entry| {
            let bad = |_| Error::bad_request("server.networks", "Bad networks format: an id is not a UUID.");
            let port = entry["port"].as_str().map(str::parse).transpose().map_err(bad)?;
            let network = entry["uuid"].as_str().map(str::parse).transpose().map_err(bad)?;
            let fixed_ip = entry["fixed_ip"].as_str().map(str::parse).transpose().map_err(|_| {
                Error::bad_request("server.fixed_ip", "Invalid fixed IP address: it is not an IP address.")
            })?;
            if port.is_none() && network.is_none() {
                return Err(Error::bad_request(
                    "server.networks",
                    "Bad networks format: network uuid or port is required.",
                ));
            }
            if port.is_some() && fixed_ip.is_some() {
                return Err(Error::bad_request(
                    "server.networks",
                    "A fixed IP cannot be given together with a port: the port has its own.",
                ));
            }
            Ok(NetworkRequest { network, port, fixed_ip, tag: entry["tag"].as_str().map(str::to_owned) })
        })
        .collect::<Result<_>>()
        .map(Networks::These)
}

/// Base64 of at most 65,535 characters, kept as given without white space.
pub fn user_data(text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(&compact).map_err(|_| {
        Error::bad_request("server.user_data", "Userdata content cannot be decoded: it must be base64.")
    })?;
    Ok(Some(compact))
}
