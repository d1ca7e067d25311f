//! An image as glance's v2 shows it.

use canopy_app::image::{HASH_ALGORITHM, Image, STORE};
use serde_json::{Map, Value, json};

pub fn image(image: &Image) -> Value {
    let content = image.content.as_ref();
    let mut fields: Map<String, Value> =
        image.properties.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let own = json!({
        "id": image.id.to_string(),
        "name": image.name,
        "status": image.status.as_str(),
        "visibility": image.visibility.as_str(),
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.project_id.as_str(),
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "size": content.map(|c| c.size),
        "virtual_size": content.and_then(|c| c.virtual_size),
        "checksum": content.map(|c| c.checksum.as_str()),
        "os_hash_algo": content.map(|_| HASH_ALGORITHM),
        "os_hash_value": content.map(|c| c.os_hash_value.as_str()),
        "tags": image.tags,
        "created_at": image.created_at.seconds_z(),
        "updated_at": image.updated_at.seconds_z(),
        "self": format!("/v2/images/{}", image.id),
        "file": format!("/v2/images/{}/file", image.id),
        "schema": "/v2/schemas/image",
    });
    if content.is_some() {
        fields.insert("stores".into(), STORE.into());
    }
    if let Value::Object(own) = own {
        fields.extend(own);
    }
    Value::Object(fields)
}
