//! Bodies, per version. Bounds are nova's.

use crate::route::Schema;
use crate::schema::{name, object, text, uuid};
use crate::version::{Microversion, v};
use canopy_app::compute::servers::MAX_TAGS;
use serde_json::{Value, json};

/// From 2.1; 2.19 adds `description`, 2.32 tags of devices, which 2.33 forgets for disks and 2.37 for all until 2.42;
/// 2.37 wants `networks` and knows `auto` and `none`; 2.52 adds `tags`, 2.63 `trusted_image_certificates`, 2.67 the type
/// of volumes, 2.74 the host.
pub const CREATE: &[(Microversion, Schema)] = &[
    (v(2, 1), || create(Knows::default())),
    (v(2, 19), || create(Knows { description: true, ..Knows::default() })),
    (v(2, 32), || create(Knows { description: true, nic_tag: true, disk_tag: true, ..Knows::default() })),
    (v(2, 33), || create(Knows { description: true, nic_tag: true, ..Knows::default() })),
    (v(2, 37), || create(Knows { description: true, auto: true, ..Knows::default() })),
    (v(2, 42), || create(WITH_TAGS_OF_DEVICES)),
    (v(2, 52), || create(Knows { tags: true, ..WITH_TAGS_OF_DEVICES })),
    (v(2, 63), || create(Knows { host: false, volume_type: false, ..NEWEST })),
    (v(2, 67), || create(Knows { host: false, ..NEWEST })),
    (v(2, 74), || create(NEWEST)),
];

/// What a version of the body may say.
#[derive(Clone, Copy, Default)]
struct Knows {
    description: bool,
    auto: bool,
    nic_tag: bool,
    disk_tag: bool,
    tags: bool,
    certificates: bool,
    volume_type: bool,
    host: bool,
}

const WITH_TAGS_OF_DEVICES: Knows = Knows {
    description: true,
    auto: true,
    nic_tag: true,
    disk_tag: true,
    tags: false,
    certificates: false,
    volume_type: false,
    host: false,
};
const NEWEST: Knows =
    Knows { tags: true, certificates: true, volume_type: true, host: true, ..WITH_TAGS_OF_DEVICES };

/// Of a server or of a device.
pub fn tag() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 60, "pattern": r"^[^,/\p{Cc}]*$"})
}
pub const CONSOLE: &[(Microversion, Schema)] = &[(v(2, 1), console)];
/// The schemas of an action without arguments: nova takes anything, mostly null, as its value.
macro_rules! bare {
    ($key:literal) => {{
        const SCHEMAS: &[($crate::version::Microversion, $crate::route::Schema)] =
            &[($crate::version::v(2, 1), || $crate::compute::servers::schema::no_arguments($key))];
        SCHEMAS
    }};
}
pub(super) use bare;

pub fn no_arguments(key: &str) -> Value {
    object(json!({ key: {} }), &[key])
}

pub const CHANGE_PASSWORD: &[(Microversion, Schema)] = &[(v(2, 1), || {
    object(
        json!({"changePassword": object(json!({"adminPass": text(255)}), &["adminPass"])}),
        &["changePassword"],
    )
})];

pub const REBOOT: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let kind = json!({"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]});
    object(json!({"reboot": object(json!({ "type": kind }), &["type"])}), &["reboot"])
})];
/// 2.19 adds the description, 2.54 the key, 2.57 the user data, 2.63 the certificates.
pub const REBUILD: &[(Microversion, Schema)] = &[
    (v(2, 1), || rebuild(&[])),
    (v(2, 19), || rebuild(&["description"])),
    (v(2, 54), || rebuild(&["description", "key_name"])),
    (v(2, 57), || rebuild(&["description", "key_name", "user_data"])),
    (v(2, 63), || rebuild(&["description", "key_name", "user_data", "trusted_image_certificates"])),
];
/// 2.73 adds the reason.
pub const LOCK: &[(Microversion, Schema)] =
    &[(v(2, 1), || no_arguments("lock")), (v(2, 73), lock_with_reason)];
pub const RESIZE: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let flavor = json!({"anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1_024}, {"type": "integer", "minimum": 0},
    ]});
    let properties = json!({"flavorRef": flavor, "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]}});
    object(json!({"resize": object(properties, &["flavorRef"])}), &["resize"])
})];
pub const CREATE_IMAGE: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let wanted = object(json!({"name": name(), "metadata": metadata()}), &["name"]);
    object(json!({ "createImage": wanted }), &["createImage"])
})];
pub const CREATE_BACKUP: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let count = json!({"anyOf": [
        {"type": "integer", "minimum": 0, "maximum": i32::MAX}, {"type": "string", "pattern": "^[0-9]{1,9}$"},
    ]});
    let properties =
        json!({"name": name(), "backup_type": text(255), "rotation": count, "metadata": metadata()});
    object(
        json!({"createBackup": object(properties, &["name", "backup_type", "rotation"])}),
        &["createBackup"],
    )
})];
pub const RESCUE: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let image = json!({"type": "string", "minLength": 1, "maxLength": 1_024});
    let named = object(json!({"adminPass": text(255), "rescue_image_ref": image}), &[]);
    object(json!({"rescue": {"anyOf": [{"type": "null"}, named]}}), &["rescue"])
})];
/// 2.77 adds the zone.
pub const UNSHELVE: &[(Microversion, Schema)] = &[
    (v(2, 1), || no_arguments("unshelve")),
    (super::longer::ZONES, || {
        let zone = object(json!({"availability_zone": name()}), &["availability_zone"]);
        object(json!({"unshelve": {"anyOf": [{"type": "null"}, zone]}}), &["unshelve"])
    }),
];
pub const RESET_STATE: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let state = object(json!({"state": {"enum": ["active", "error"]}}), &["state"]);
    object(json!({ "os-resetState": state }), &["os-resetState"])
})];
/// 2.19 adds the description.
pub const UPDATE: &[(Microversion, Schema)] = &[(v(2, 1), || update(false)), (v(2, 19), || update(true))];
pub const METADATA: &[(Microversion, Schema)] =
    &[(v(2, 1), || object(json!({ "metadata": metadata() }), &["metadata"]))];
pub const METADATA_ITEM: &[(Microversion, Schema)] = &[(v(2, 1), || {
    let mut one = metadata();
    one["minProperties"] = json!(1);
    one["maxProperties"] = json!(1);
    object(json!({ "meta": one }), &["meta"])
})];
pub const TAGS: &[(Microversion, Schema)] = &[(v(2, 26), || {
    let tags = json!({"type": "array", "maxItems": MAX_TAGS, "uniqueItems": true, "items": tag()});
    object(json!({ "tags": tags }), &["tags"])
})];

fn lock_with_reason() -> Value {
    let mut reason = text(255);
    reason["minLength"] = json!(1);
    let lock = json!({"anyOf": [{"type": "null"}, object(json!({ "locked_reason": reason }), &[])]});
    object(json!({ "lock": lock }), &["lock"])
}

/// With what later versions know, too.
fn rebuild(also: &[&str]) -> Value {
    let mut properties = json!({
        "imageRef": {"type": "string", "minLength": 1, "maxLength": 1_024},
        "name": name(),
        "adminPass": text(255),
        "metadata": metadata(),
        // There are no ephemeral disks to preserve.
        "preserve_ephemeral": flag(),
        "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]},
        "accessIPv4": {"type": "string", "maxLength": 45},
        "accessIPv6": {"type": "string", "maxLength": 45},
    });
    for known in also {
        let one = match *known {
            "description" => text(255),
            "key_name" => name(),
            "user_data" => user_data(),
            _ => certificates(),
        };
        properties[*known] = json!({"anyOf": [one, {"type": "null"}]});
    }
    object(json!({"rebuild": object(properties, &["imageRef"])}), &["rebuild"])
}

/// Base64.
fn user_data() -> Value {
    json!({"type": "string", "maxLength": 65_535, "pattern": r"^[A-Za-z0-9+/\s]*={0,2}\s*$"})
}

/// Ids of those that an image's signature may lead to.
fn certificates() -> Value {
    let id = json!({"type": "string", "minLength": 1, "maxLength": 255});
    json!({"type": "array", "minItems": 1, "maxItems": 50, "uniqueItems": true, "items": id})
}

fn flag() -> Value {
    json!({"anyOf": [
        {"type": "boolean"}, {"type": "string", "pattern": "^(?i:true|false|1|0|t|f|yes|no|y|n|on|off)?$"},
    ]})
}

fn update(description: bool) -> Value {
    let mut properties = json!({
        "name": name(),
        "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]},
        "accessIPv4": {"type": "string", "maxLength": 45},
        "accessIPv6": {"type": "string", "maxLength": 45},
    });
    if description {
        properties["description"] = json!({"anyOf": [text(255), {"type": "null"}]});
    }
    object(json!({"server": object(properties, &[])}), &["server"])
}

/// How many there may be is a matter of quota (403), not of form; the body is bounded.
fn metadata() -> Value {
    json!({
        "type": "object", "additionalProperties": text(255),
        "propertyNames": {"minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9\-_:\. ]{1,255}$"},
    })
}

fn console() -> Value {
    let length = json!({"anyOf": [
        {"type": "integer", "minimum": -1, "maximum": 1_000_000},
        {"type": "string", "pattern": "^-?[0-9]{1,6}$"},
        {"type": "null"},
    ]});
    object(json!({"os-getConsoleOutput": object(json!({ "length": length }), &[])}), &["os-getConsoleOutput"])
}

fn create(knows: Knows) -> Value {
    let mut network = json!({
        "uuid": uuid(), "port": {"anyOf": [uuid(), {"type": "null"}]},
        "fixed_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "maxLength": 45},
    });
    let mut disk = json!({
        "boot_index": {"enum": [0, "0"]}, "uuid": uuid(),
        "source_type": {"const": "image"}, "destination_type": {"const": "local"},
        "delete_on_termination": {"enum": [true, "true", "True"]},
    });
    if knows.nic_tag {
        network["tag"] = tag();
    }
    if knows.disk_tag {
        disk["tag"] = tag();
    }
    if knows.volume_type {
        disk["volume_type"] = json!({"anyOf": [text(255), {"type": "null"}]});
    }
    let network = object(network, &[]);
    let networks = json!({"type": "array", "maxItems": 64, "items": network});
    let networks =
        if knows.auto { json!({"anyOf": [networks, {"enum": ["auto", "none"]}]}) } else { networks };
    let count = json!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 1_000}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"},
    ]});
    let reference = json!({"anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1_024}, {"type": "integer", "minimum": 0},
    ]});
    let flag = flag();
    let mut properties = json!({
        "name": name(),
        "flavorRef": reference,
        "imageRef": {"type": "string", "maxLength": 1_024},
        "adminPass": text(255),
        "metadata": metadata(),
        "networks": networks,
        "key_name": name(),
        "user_data": user_data(),
        "config_drive": flag,
        "availability_zone": name(),
        "min_count": count,
        "max_count": count,
        "return_reservation_id": flag,
        "security_groups": {"type": "array", "maxItems": 64, "items": object(json!({"name": name()}), &[])},
        "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]},
        "accessIPv4": {"type": "string", "maxLength": 45},
        "accessIPv6": {"type": "string", "maxLength": 45},
        "block_device_mapping_v2": {"type": "array", "maxItems": 1, "items": object(
            disk, &["uuid", "source_type", "destination_type"],
        )},
    });
    if knows.description {
        properties["description"] = json!({"anyOf": [text(255), {"type": "null"}]});
    }
    if knows.tags {
        properties["tags"] = json!({"type": "array", "maxItems": MAX_TAGS, "items": tag()});
    }
    if knows.certificates {
        properties["trusted_image_certificates"] = json!({"anyOf": [certificates(), {"type": "null"}]});
    }
    if knows.host {
        let host =
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"});
        properties["host"] = host.clone();
        properties["hypervisor_hostname"] = host;
    }
    let mut required = vec!["name", "flavorRef"];
    if knows.auto {
        required.push("networks");
    }
    let hints = hints();
    object(
        json!({
            "server": object(properties, &required),
            "os:scheduler_hints": hints,
            "OS-SCH-HNT:scheduler_hints": hints,
        }),
        &["server"],
    )
}

/// What nova looks at; other keys are somebody else's filters, and pass.
fn hints() -> Value {
    let servers =
        json!({"anyOf": [uuid(), {"type": "array", "items": uuid(), "minItems": 1, "maxItems": 100}]});
    json!({
        "type": "object",
        "maxProperties": 64,
        "properties": {
            "group": uuid(),
            "same_host": servers,
            "different_host": servers,
            "query": {"type": ["string", "object"]},
            "target_cell": name(),
            "different_cell": {"anyOf": [
                {"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 100},
            ]},
            "build_near_host_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
            "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
        },
        "additionalProperties": true,
    })
}
