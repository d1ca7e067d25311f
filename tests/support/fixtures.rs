//! Flavors, images and servers that most tests need.

use crate::{Client, until};
use serde_json::{Value, json};

/// A flavor made by an admin. Amounts: vCPU, MiB, GiB.
pub async fn flavor(admin: &Client, name: &str, vcpus: i64, ram: i64, disk: i64) -> String {
    let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}});
    let made = admin.post("/compute/v2.1/flavors", &body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.text_at("/flavor/id").to_owned()
}

/// An active private raw image of 1 MiB.
pub async fn image(client: &Client, name: &str) -> String {
    let body = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
    let made = client.post("/image/v2/images", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.text_at("/id").to_owned();
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    let upload = client
        .request("PUT", &format!("/image/v2/images/{id}/file"))
        .header("content-type", "application/octet-stream")
        .body(bytes);
    let uploaded = client.send(upload).await;
    assert_eq!(uploaded.status, 204, "{uploaded:?}");
    id
}

/// Says of an image that its guests have QEMU's agent, and `more`.
pub async fn guest_agent(client: &Client, image: &str, more: &[(&str, &str)]) {
    let properties = [("hw_qemu_guest_agent", "yes")].iter().chain(more);
    let patch: Vec<Value> = properties
        .map(|(name, value)| json!({"op": "add", "path": format!("/{name}"), "value": value}))
        .collect();
    let request = client
        .request("PATCH", &format!("/image/v2/images/{image}"))
        .header("content-type", "application/openstack-images-v2.1-json-patch")
        .body(json!(patch).to_string());
    let patched = client.send(request).await;
    assert_eq!(patched.status, 200, "{patched:?}");
}

/// The body of a create at microversion 2.37, without networks.
pub fn server(name: &str, flavor: &str, image: &str) -> Value {
    json!({"server": {"name": name, "flavorRef": flavor, "imageRef": image, "networks": "none"}})
}

/// Asks for a server and answers its id.
pub async fn boot(client: &Client, body: &Value) -> String {
    let made = client.at("2.37").post("/compute/v2.1/servers", body).await;
    assert_eq!(made.status, 202, "{made:?}");
    made.text_at("/server/id").to_owned()
}

pub async fn show(client: &Client, id: &str) -> Value {
    let shown = client.at("2.37").get(&format!("/compute/v2.1/servers/{id}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.json["server"].clone()
}

/// Waits until the server has this status and nothing in flight.
pub async fn until_status(client: &Client, id: &str, status: &str) -> Value {
    until(&format!("server {id} is {status}"), async || {
        let server = show(client, id).await;
        server["status"] == status && server["OS-EXT-STS:task_state"].is_null()
    })
    .await;
    show(client, id).await
}

pub async fn until_gone(client: &Client, id: &str) {
    until(&format!("server {id} is gone"), async || {
        client.get(&format!("/compute/v2.1/servers/{id}")).await.status == 404
    })
    .await;
}
