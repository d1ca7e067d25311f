//! Routes of the catalog: services, endpoints, regions, and which endpoints a project is shown.

use super::{ANY, delete, endpoint_groups as groups, get, patch, post, put, schemas, services};
use crate::handler;
use crate::route::Route;
use canopy_authz::actions::identity as act;

pub fn catalog_routes() -> Vec<Route> {
    vec![
        get("/v3/services", "List the services of the catalog", handler!(services::list))
            .action(act::SERVICES_LIST),
        post("/v3/services", "Add a service to the catalog", handler!(services::create))
            .action(act::SERVICES_CREATE)
            .json(&[(ANY, schemas::service_create)])
            .answers(&[201], &[]),
        get("/v3/services/{service_id}", "Show a service of the catalog", handler!(services::show))
            .action(act::SERVICES_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/services/{service_id}", "Change a service of the catalog", handler!(services::update))
            .action(act::SERVICES_UPDATE)
            .json(&[(ANY, schemas::service_update)])
            .answers(&[200], &[404]),
        delete(
            "/v3/services/{service_id}",
            "Delete a service with its endpoints",
            handler!(services::delete),
        )
        .action(act::SERVICES_DELETE),
        get("/v3/endpoints", "List the endpoints of the catalog", handler!(services::endpoints))
            .action(act::ENDPOINTS_LIST),
        post("/v3/endpoints", "Add an endpoint to the catalog", handler!(services::create_endpoint))
            .action(act::ENDPOINTS_CREATE)
            .json(&[(ANY, schemas::endpoint_create)])
            .answers(&[201], &[]),
        get("/v3/endpoints/{endpoint_id}", "Show an endpoint of the catalog", handler!(services::endpoint))
            .action(act::ENDPOINTS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/endpoints/{endpoint_id}", "Change an endpoint", handler!(services::update_endpoint))
            .action(act::ENDPOINTS_UPDATE)
            .json(&[(ANY, schemas::endpoint_update)])
            .answers(&[200], &[404]),
        delete("/v3/endpoints/{endpoint_id}", "Delete an endpoint", handler!(services::delete_endpoint))
            .action(act::ENDPOINTS_DELETE),
    ]
}

pub fn region_routes() -> Vec<Route> {
    vec![
        get("/v3/regions", "List regions", handler!(services::regions)),
        post("/v3/regions", "Add a region", handler!(services::create_region))
            .action(act::REGIONS_CREATE)
            .json(&[(ANY, schemas::region)])
            .answers(&[201], &[404, 409]),
        get("/v3/regions/{region_id}", "Show a region", handler!(services::region)).answers(&[200], &[404]),
        put("/v3/regions/{region_id}", "Add a region of this id", handler!(services::create_region))
            .action(act::REGIONS_CREATE)
            .json(&[(ANY, schemas::region)])
            .answers(&[201], &[404, 409]),
        patch("/v3/regions/{region_id}", "Change a region", handler!(services::update_region))
            .action(act::REGIONS_UPDATE)
            .json(&[(ANY, schemas::region)])
            .answers(&[200], &[404]),
        delete("/v3/regions/{region_id}", "Delete a region", handler!(services::delete_region))
            .action(act::REGIONS_DELETE),
    ]
}

pub fn filter_routes() -> Vec<Route> {
    const ONE: &str = "/v3/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}";
    vec![
        get(
            "/v3/OS-EP-FILTER/projects/{project_id}/endpoints",
            "List the endpoints chosen for a project",
            handler!(services::chosen),
        )
        .action(act::PROJECT_ENDPOINTS_LIST)
        .answers(&[200], &[404]),
        get(
            "/v3/OS-EP-FILTER/endpoints/{endpoint_id}/projects",
            "List the projects an endpoint was chosen for",
            handler!(services::choosing),
        )
        .action(act::PROJECT_ENDPOINTS_LIST)
        .answers(&[200], &[404]),
        get(ONE, "Check whether an endpoint was chosen for a project", handler!(services::has_chosen))
            .action(act::PROJECT_ENDPOINTS_SHOW)
            .answers(&[204], &[404]),
        put(ONE, "Choose an endpoint for a project", handler!(services::choose))
            .action(act::PROJECT_ENDPOINTS_ADD),
        delete(ONE, "Choose an endpoint no more", handler!(services::choose_no_more))
            .action(act::PROJECT_ENDPOINTS_REMOVE),
    ]
}

pub fn endpoint_group_routes() -> Vec<Route> {
    const ALL: &str = "/v3/OS-EP-FILTER/endpoint_groups";
    const ONE: &str = "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}";
    const PAIR: &str = "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}";
    vec![
        get(ALL, "List endpoint groups", handler!(groups::list)).action(act::ENDPOINT_GROUPS_LIST),
        post(ALL, "Add an endpoint group", handler!(groups::create))
            .action(act::ENDPOINT_GROUPS_CREATE)
            .json(&[(ANY, schemas::endpoint_group_create)])
            .answers(&[201], &[]),
        get(ONE, "Show an endpoint group", handler!(groups::show))
            .action(act::ENDPOINT_GROUPS_SHOW)
            .answers(&[200], &[404]),
        patch(ONE, "Change an endpoint group", handler!(groups::update))
            .action(act::ENDPOINT_GROUPS_UPDATE)
            .json(&[(ANY, schemas::endpoint_group_update)])
            .answers(&[200], &[404]),
        delete(ONE, "Delete an endpoint group", handler!(groups::delete)).action(act::ENDPOINT_GROUPS_DELETE),
        get(
            "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints",
            "List the endpoints of an endpoint group",
            handler!(groups::endpoints),
        )
        .action(act::ENDPOINT_GROUPS_SHOW)
        .answers(&[200], &[404]),
        get(
            "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects",
            "List the projects that are shown an endpoint group",
            handler!(groups::projects),
        )
        .action(act::ENDPOINT_GROUPS_SHOW)
        .answers(&[200], &[404]),
        get(
            "/v3/OS-EP-FILTER/projects/{project_id}/endpoint_groups",
            "List the endpoint groups that a project is shown",
            handler!(groups::of_project),
        )
        .action(act::ENDPOINT_GROUPS_LIST)
        .answers(&[200], &[404]),
        get(PAIR, "Check whether a project is shown an endpoint group", handler!(groups::in_project))
            .action(act::ENDPOINT_GROUPS_SHOW)
            .answers(&[200], &[404]),
        put(PAIR, "Show an endpoint group to a project", handler!(groups::add))
            .action(act::ENDPOINT_GROUPS_ADD_PROJECT),
        delete(PAIR, "Show an endpoint group to a project no more", handler!(groups::remove))
            .action(act::ENDPOINT_GROUPS_REMOVE_PROJECT),
    ]
}
