//! Placement's refusals. Codes that begin with `placement.` and stand in [`PUBLIC`] are shown to clients,
//! which act on them; the others appear to them as `placement.undefined_code`.

use canopy_types::{ConsumerId, Error, ProviderId};

pub const CONCURRENT_UPDATE: &str = "placement.concurrent_update";
pub const DUPLICATE_NAME: &str = "placement.duplicate_name";
pub const INVENTORY_IN_USE: &str = "placement.inventory.inuse";
pub const PROVIDER_IN_USE: &str = "placement.resource_provider.inuse";
pub const CANNOT_DELETE_PARENT: &str = "placement.resource_provider.cannot_delete_parent";
pub const PROVIDER_NOT_FOUND: &str = "placement.resource_provider.not_found";
pub const DUPLICATE_QUERY_KEY: &str = "placement.query.duplicate_key";
pub const BAD_QUERY_VALUE: &str = "placement.query.bad_value";
pub const MISSING_QUERY_VALUE: &str = "placement.query.missing_value";

/// Codes that clients see.
pub const PUBLIC: [&str; 9] = [
    CONCURRENT_UPDATE,
    DUPLICATE_NAME,
    INVENTORY_IN_USE,
    PROVIDER_IN_USE,
    CANNOT_DELETE_PARENT,
    PROVIDER_NOT_FOUND,
    DUPLICATE_QUERY_KEY,
    BAD_QUERY_VALUE,
    MISSING_QUERY_VALUE,
];

/// At most 64 characters of what a client sent.
pub fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

pub fn provider_not_found(id: impl ToString) -> Error {
    let id = shown(&id.to_string());
    Error::not_found("placement.no_provider", format!("No resource provider with uuid {id} found"))
}

pub fn generation_conflict(provider: ProviderId, actual: i64, given: i64) -> Error {
    Error::conflict(
        CONCURRENT_UPDATE,
        format!(
            "resource provider generation conflict for provider {provider}: actual: {actual}, given: {given}. \
             Get the provider again, then repeat the change with its generation."
        ),
    )
}

/// Somebody else was faster by a moment.
pub fn changed_meanwhile() -> Error {
    Error::conflict(
        CONCURRENT_UPDATE,
        "Another thread concurrently updated the resource provider data. Please retry your update",
    )
}

pub fn no_such_class(name: &str) -> Error {
    Error::bad_request("placement.no_class", format!("No such resource class {}.", shown(name)))
}

pub fn no_such_trait(name: &str) -> Error {
    Error::bad_request("placement.no_trait", format!("No such trait(s): {}.", shown(name)))
}

/// What only the host itself changes.
pub fn owned_by_host(what: &str, name: &str) -> Error {
    Error::conflict(
        "placement.owned_by_host",
        format!(
            "{what}: the resource provider is the host {name}, and this is the host's own. Of what its agent \
             reports, only 'reserved' and 'allocation_ratio' can be set here."
        ),
    )
}

/// What only the server's own life changes.
pub fn owned_by_server(id: ConsumerId) -> Error {
    Error::conflict(
        "placement.owned_by_server",
        format!(
            "Consumer {id} is a server of this cloud: its allocations follow the server and are read-only here. \
             Use the compute API to delete or change the server."
        ),
    )
}
