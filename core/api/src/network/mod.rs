//! The network API, v2.0: neutron's shapes, words and statuses.

mod body;
mod discovery;
mod list;
mod networks;
mod ports;
mod quotas;
mod security_groups;
mod subnets;
mod views;

use crate::handler;
use crate::route::{Handler, Route, Schema, Service};
use crate::version::{Microversion, v};
use canopy_authz::Action;
use canopy_authz::actions::network as actions;
use http::Method;

pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        public("", "List API versions", handler!(discovery::versions)),
        public("/v2.0", "List what this version serves", handler!(discovery::resources)),
        public("/v2.0/extensions", "List extensions", handler!(discovery::extensions)),
        public("/v2.0/extensions/{alias}", "Show an extension", handler!(discovery::extension_by_alias))
            .answers(&[200], &[404]),
        get(
            "/v2.0/security-groups",
            actions::SECURITY_GROUPS_LIST,
            "List security groups",
            handler!(security_groups::list),
        ),
        get(
            "/v2.0/security-groups/{id}",
            actions::SECURITY_GROUPS_SHOW,
            "Show a security group",
            handler!(security_groups::show),
        ),
        delete(
            "/v2.0/security-groups/{id}",
            actions::SECURITY_GROUPS_DELETE,
            "Delete a security group",
            handler!(security_groups::delete),
        ),
        get(
            "/v2.0/security-group-rules",
            actions::SECURITY_GROUP_RULES_LIST,
            "List security group rules",
            handler!(security_groups::list_rules),
        ),
        get(
            "/v2.0/security-group-rules/{id}",
            actions::SECURITY_GROUP_RULES_SHOW,
            "Show a security group rule",
            handler!(security_groups::show_rule),
        ),
    ];
    routes.extend([
        get("/v2.0/networks", actions::NETWORKS_LIST, "List networks", handler!(networks::list)),
        post(
            "/v2.0/networks",
            actions::NETWORKS_CREATE,
            NETWORK_CREATE,
            "Create networks",
            handler!(networks::create),
        ),
        get("/v2.0/networks/{id}", actions::NETWORKS_SHOW, "Show a network", handler!(networks::show)),
        put(
            "/v2.0/networks/{id}",
            actions::NETWORKS_UPDATE,
            NETWORK_UPDATE,
            "Change a network",
            handler!(networks::update),
        ),
        delete(
            "/v2.0/networks/{id}",
            actions::NETWORKS_DELETE,
            "Delete a network",
            handler!(networks::delete),
        ),
        get("/v2.0/subnets", actions::SUBNETS_LIST, "List subnets", handler!(subnets::list)),
        post(
            "/v2.0/subnets",
            actions::SUBNETS_CREATE,
            SUBNET_CREATE,
            "Create subnets",
            handler!(subnets::create),
        ),
        get("/v2.0/subnets/{id}", actions::SUBNETS_SHOW, "Show a subnet", handler!(subnets::show)),
        put(
            "/v2.0/subnets/{id}",
            actions::SUBNETS_UPDATE,
            SUBNET_UPDATE,
            "Change a subnet",
            handler!(subnets::update),
        ),
        delete("/v2.0/subnets/{id}", actions::SUBNETS_DELETE, "Delete a subnet", handler!(subnets::delete)),
        get("/v2.0/ports", actions::PORTS_LIST, "List ports", handler!(ports::list)),
        post("/v2.0/ports", actions::PORTS_CREATE, PORT_CREATE, "Create ports", handler!(ports::create)),
        get("/v2.0/ports/{id}", actions::PORTS_SHOW, "Show a port", handler!(ports::show)),
        put("/v2.0/ports/{id}", actions::PORTS_UPDATE, PORT_UPDATE, "Change a port", handler!(ports::update)),
        delete("/v2.0/ports/{id}", actions::PORTS_DELETE, "Delete a port", handler!(ports::delete)),
    ]);
    routes.extend(quotas::routes());
    routes
}

type Schemas = &'static [(Microversion, Schema)];

const NETWORK_CREATE: Schemas = &[(v(0, 0), networks::create_schema)];
const NETWORK_UPDATE: Schemas = &[(v(0, 0), networks::update_schema)];
const SUBNET_CREATE: Schemas = &[(v(0, 0), subnets::create_schema)];
const SUBNET_UPDATE: Schemas = &[(v(0, 0), subnets::update_schema)];
const PORT_CREATE: Schemas = &[(v(0, 0), ports::create_schema)];
const PORT_UPDATE: Schemas = &[(v(0, 0), ports::update_schema)];

fn public(path: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route::new(Service::Network, Method::GET, path, summary, handler).public()
}

fn get(path: &'static str, action: Action, summary: &'static str, handler: Handler) -> Route {
    let route = Route::new(Service::Network, Method::GET, path, summary, handler).action(action);
    if path.ends_with('}') { route.answers(&[200], &[404]) } else { route }
}

fn post(
    path: &'static str,
    action: Action,
    schemas: Schemas,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Service::Network, Method::POST, path, summary, handler)
        .action(action)
        .json(schemas)
        .answers(&[201], &[404, 409, 413, 415])
}

fn put(
    path: &'static str,
    action: Action,
    schemas: Schemas,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Service::Network, Method::PUT, path, summary, handler)
        .action(action)
        .json(schemas)
        .answers(&[200], &[404, 409, 413, 415])
}

fn delete(path: &'static str, action: Action, summary: &'static str, handler: Handler) -> Route {
    Route::new(Service::Network, Method::DELETE, path, summary, handler)
        .action(action)
        .answers(&[204], &[404, 409])
}
