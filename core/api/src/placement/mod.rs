//! The placement API, 1.0 to 1.39: its shapes, words, codes and statuses.
//!
//! What a version knows stands in one table ([`shape::Shape`]); handlers know the newest model.

mod allocations;
mod candidates;
mod discovery;
mod inventories;
mod language;
mod marks;
mod names;
mod providers;
mod query;
mod reply;
mod schemas;
mod shape;
mod usages;

pub use reply::{body, refusal};

use crate::handler;
use crate::route::{Handler, Route, Schema, Service};
use crate::version::{Microversion, PLACEMENT, v};
use canopy_authz::Action;
use canopy_authz::actions::placement as actions;
use http::Method;

type Schemas = &'static [(Microversion, Schema)];

fn route(
    method: Method,
    path: &'static str,
    since: u16,
    action: Action,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Service::Placement, method, path, summary, handler)
        .action(action)
        .versions(v(1, since), PLACEMENT.max)
}

fn get(path: &'static str, since: u16, action: Action, summary: &'static str, handler: Handler) -> Route {
    route(Method::GET, path, since, action, summary, handler).answers(&[200], &[404, 406])
}

fn put(
    path: &'static str,
    since: u16,
    action: Action,
    schemas: Schemas,
    summary: &'static str,
    handler: Handler,
) -> Route {
    route(Method::PUT, path, since, action, summary, handler)
        .json(schemas)
        .answers(&[200], &[404, 409, 413, 415])
}

fn post(
    path: &'static str,
    since: u16,
    action: Action,
    schemas: Schemas,
    summary: &'static str,
    handler: Handler,
) -> Route {
    route(Method::POST, path, since, action, summary, handler)
        .json(schemas)
        .answers(&[201], &[404, 409, 413, 415])
}

fn delete(path: &'static str, since: u16, action: Action, summary: &'static str, handler: Handler) -> Route {
    route(Method::DELETE, path, since, action, summary, handler).answers(&[204], &[404, 409])
}

pub fn routes() -> Vec<Route> {
    let discovery =
        Route::new(Service::Placement, Method::GET, "", "List versions", handler!(discovery::versions))
            .public();
    [vec![discovery], of_providers(), of_names(), of_consumers()].into_iter().flatten().collect()
}

fn of_providers() -> Vec<Route> {
    const LIST: &str = "/resource_providers";
    const ONE: &str = "/resource_providers/{uuid}";
    const INVENTORIES: &str = "/resource_providers/{uuid}/inventories";
    const INVENTORY: &str = "/resource_providers/{uuid}/inventories/{class}";
    const AGGREGATES: &str = "/resource_providers/{uuid}/aggregates";
    const TRAITS: &str = "/resource_providers/{uuid}/traits";
    vec![
        get(LIST, 0, actions::PROVIDERS_LIST, "List resource providers", handler!(providers::list)),
        post(
            LIST,
            0,
            actions::PROVIDERS_CREATE,
            schemas::PROVIDER_CREATE,
            "Create a resource provider",
            handler!(providers::create),
        )
        .answers(&[200, 201], &[409, 413, 415]),
        get(ONE, 0, actions::PROVIDERS_SHOW, "Show a resource provider", handler!(providers::show)),
        put(
            ONE,
            0,
            actions::PROVIDERS_UPDATE,
            schemas::PROVIDER_UPDATE,
            "Change a resource provider",
            handler!(providers::update),
        ),
        delete(ONE, 0, actions::PROVIDERS_DELETE, "Delete a resource provider", handler!(providers::delete)),
        get(INVENTORIES, 0, actions::INVENTORIES_LIST, "List inventories", handler!(inventories::list)),
        post(
            INVENTORIES,
            0,
            actions::INVENTORIES_CREATE,
            schemas::INVENTORY_CREATE,
            "Add an inventory",
            handler!(inventories::add),
        ),
        put(
            INVENTORIES,
            0,
            actions::INVENTORIES_UPDATE,
            schemas::INVENTORIES_SET,
            "Replace all inventories",
            handler!(inventories::set),
        ),
        delete(
            INVENTORIES,
            5,
            actions::INVENTORIES_DELETE,
            "Delete all inventories",
            handler!(inventories::delete_all),
        )
        .method_not_allowed_outside(),
        get(INVENTORY, 0, actions::INVENTORIES_SHOW, "Show an inventory", handler!(inventories::show)),
        put(
            INVENTORY,
            0,
            actions::INVENTORIES_UPDATE,
            schemas::INVENTORY_UPDATE,
            "Change an inventory",
            handler!(inventories::update),
        ),
        delete(
            INVENTORY,
            0,
            actions::INVENTORIES_DELETE,
            "Delete an inventory",
            handler!(inventories::delete),
        ),
        get(
            "/resource_providers/{uuid}/usages",
            0,
            actions::PROVIDER_USAGES,
            "Show a provider's usages",
            handler!(usages::of_provider),
        ),
        get(
            AGGREGATES,
            1,
            actions::AGGREGATES_LIST,
            "List a provider's aggregates",
            handler!(marks::aggregates),
        ),
        put(
            AGGREGATES,
            1,
            actions::AGGREGATES_UPDATE,
            schemas::AGGREGATES,
            "Replace a provider's aggregates",
            handler!(marks::set_aggregates),
        ),
        get(
            "/resource_providers/{uuid}/allocations",
            0,
            actions::PROVIDER_ALLOCATIONS,
            "List a provider's allocations",
            handler!(allocations::of_provider),
        ),
        get(TRAITS, 6, actions::PROVIDER_TRAITS_LIST, "List a provider's traits", handler!(marks::traits)),
        put(
            TRAITS,
            6,
            actions::PROVIDER_TRAITS_UPDATE,
            schemas::PROVIDER_TRAITS,
            "Replace a provider's traits",
            handler!(marks::set_traits),
        ),
        delete(
            TRAITS,
            6,
            actions::PROVIDER_TRAITS_DELETE,
            "Take all traits from a provider",
            handler!(marks::delete_traits),
        ),
    ]
}

fn of_names() -> Vec<Route> {
    const CLASSES: &str = "/resource_classes";
    const CLASS: &str = "/resource_classes/{name}";
    const TRAIT: &str = "/traits/{name}";
    vec![
        get(CLASSES, 2, actions::CLASSES_LIST, "List resource classes", handler!(names::classes)),
        post(
            CLASSES,
            2,
            actions::CLASSES_CREATE,
            schemas::CLASS,
            "Create a resource class",
            handler!(names::create_class),
        ),
        get(CLASS, 2, actions::CLASSES_SHOW, "Show a resource class", handler!(names::class)),
        put(
            CLASS,
            2,
            actions::CLASSES_UPDATE,
            schemas::CLASS,
            "Rename a resource class",
            handler!(names::rename_class),
        )
        .versions(v(1, 2), v(1, 6)),
        route(
            Method::PUT,
            CLASS,
            7,
            actions::CLASSES_UPDATE,
            "Make sure of a resource class",
            handler!(names::ensure_class),
        )
        .answers(&[201, 204], &[409]),
        delete(CLASS, 2, actions::CLASSES_DELETE, "Delete a resource class", handler!(names::delete_class)),
        get("/traits", 6, actions::TRAITS_LIST, "List traits", handler!(names::traits)),
        route(Method::GET, TRAIT, 6, actions::TRAITS_SHOW, "Look for a trait", handler!(names::show_trait))
            .answers(&[204], &[404]),
        route(
            Method::PUT,
            TRAIT,
            6,
            actions::TRAITS_UPDATE,
            "Make sure of a trait",
            handler!(names::ensure_trait),
        )
        .answers(&[201, 204], &[]),
        delete(TRAIT, 6, actions::TRAITS_DELETE, "Delete a trait", handler!(names::delete_trait)),
    ]
}

fn of_consumers() -> Vec<Route> {
    const ONE: &str = "/allocations/{consumer_uuid}";
    vec![
        post(
            "/allocations",
            13,
            actions::ALLOCATIONS_MANAGE,
            schemas::ALLOCATIONS,
            "Replace several consumers' allocations",
            handler!(allocations::set_many),
        )
        .answers(&[204], &[409, 413, 415]),
        get(
            ONE,
            0,
            actions::ALLOCATIONS_LIST,
            "List a consumer's allocations",
            handler!(allocations::of_consumer),
        )
        .answers(&[200], &[406]),
        put(
            ONE,
            0,
            actions::ALLOCATIONS_UPDATE,
            schemas::CONSUMER_ALLOCATIONS,
            "Replace a consumer's allocations",
            handler!(allocations::set),
        )
        .answers(&[204], &[409, 413, 415]),
        delete(
            ONE,
            0,
            actions::ALLOCATIONS_DELETE,
            "Delete a consumer's allocations",
            handler!(allocations::delete),
        ),
        get("/usages", 9, actions::USAGES, "Show a project's usages", handler!(usages::of_project))
            .answers(&[200], &[406]),
        get(
            "/allocation_candidates",
            10,
            actions::CANDIDATES_LIST,
            "List allocation candidates",
            handler!(candidates::list),
        )
        .answers(&[200], &[406]),
        post(
            "/reshaper",
            30,
            actions::RESHAPE,
            schemas::RESHAPE,
            "Move inventories with their allocations",
            handler!(allocations::reshape),
        )
        .answers(&[204], &[409, 413, 415]),
    ]
}
