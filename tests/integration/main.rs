//! One binary for all integration tests: `cargo xtask test` prepares what they need.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod agent;
mod authz;
mod backup;
mod bodies;
mod compute_proxies;
mod consoles;
/// Guests of the plugin host's own tests, that misbehave.
#[allow(dead_code, reason = "shared with the plugin host's own tests")]
#[path = "../../core/plugin-host/src/hostile/guests.rs"]
mod corpus;
mod crash;
mod faults;
mod flavor_keypair_api;
mod flood;
mod fsck;
mod host;
mod identity_admin_api;
mod identity_api;
mod identity_catalog_api;
mod identity_delegation_api;
mod identity_groups_api;
mod identity_keys_api;
mod identity_manager_api;
mod identity_properties_api;
mod identity_replicas;
mod identity_security_api;
mod image_api;
mod image_metadefs_api;
mod image_sharing_api;
mod image_web_api;
mod isolation;
mod libvirt;
mod live;
mod migrations;
mod network;
mod network_api;
mod network_groups_api;
mod network_provider_api;
mod placement;
mod placement_api;
mod plugin_langs;
mod plugin_life;
mod plugin_new;
mod plugins;
mod policies_api;
mod queries;
mod quota;
mod routes;
mod server_interfaces;
mod server_longer;
mod server_operations;
mod server_password;
mod server_versions;
mod server_versions_later;
mod servers_api;
mod store;
