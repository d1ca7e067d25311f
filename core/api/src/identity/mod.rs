//! The identity API, v3, as keystone speaks it.

mod application_credentials;
mod assignments;
mod auth;
mod body;
mod catalog_routes;
mod credentials;
mod delegation_routes;
mod discovery;
mod domains;
mod ec2;
mod endpoint_groups;
mod grant_routes;
mod groups;
mod implied;
mod limits;
mod projects;
mod render;
mod roles;
mod schemas;
mod services;
mod tags;
mod trusts;
mod users;

use crate::handler;
use crate::route::{Route, Service};
use crate::version::{Microversion, v};
use canopy_authz::actions::identity as act;
use http::Method;

/// Identity has no microversions.
const ANY: Microversion = v(0, 0);

fn get(path: &'static str, summary: &'static str, handler: crate::route::Handler) -> Route {
    Route::new(Service::Identity, Method::GET, path, summary, handler)
}

fn post(path: &'static str, summary: &'static str, handler: crate::route::Handler) -> Route {
    Route::new(Service::Identity, Method::POST, path, summary, handler)
}

fn patch(path: &'static str, summary: &'static str, handler: crate::route::Handler) -> Route {
    Route::new(Service::Identity, Method::PATCH, path, summary, handler)
}

fn put(path: &'static str, summary: &'static str, handler: crate::route::Handler) -> Route {
    Route::new(Service::Identity, Method::PUT, path, summary, handler).answers(&[204], &[404])
}

fn delete(path: &'static str, summary: &'static str, handler: crate::route::Handler) -> Route {
    Route::new(Service::Identity, Method::DELETE, path, summary, handler).answers(&[204], &[404])
}

pub fn routes() -> Vec<Route> {
    [
        token_routes(),
        catalog_routes::catalog_routes(),
        catalog_routes::region_routes(),
        catalog_routes::filter_routes(),
        catalog_routes::endpoint_group_routes(),
        domain_routes(),
        resource_routes(),
        tag_routes(),
        credential_routes(),
        delegation_routes::ec2_routes(),
        grant_routes::group_routes(),
        grant_routes::implied_routes(),
        grant_routes::grant_routes(),
        delegation_routes::credential_routes(),
        delegation_routes::trust_routes(),
        limits::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn token_routes() -> Vec<Route> {
    vec![
        get("", "List the versions of the identity API", handler!(discovery::versions))
            .public()
            .answers(&[300], &[]),
        get("/v3", "Show the identity API", handler!(discovery::version)).public(),
        post("/v3/auth/tokens", "Log in", handler!(auth::issue))
            .public()
            .json(&[(ANY, schemas::login)])
            .answers(&[201], &[]),
        get("/v3/auth/tokens", "Validate a token", handler!(auth::validate))
            .action(act::TOKENS_VALIDATE)
            .answers(&[200], &[404]),
        delete("/v3/auth/tokens", "Revoke a token", handler!(auth::revoke)).action(act::TOKENS_REVOKE),
        get("/v3/auth/catalog", "Show the service catalog", handler!(auth::catalog)),
        get("/v3/auth/projects", "List the projects one can log in to", handler!(auth::projects)),
        get("/v3/auth/domains", "List the domains one can log in to", handler!(auth::domains)),
        get("/v3/auth/system", "Show whether one can log in to the system", handler!(auth::system)),
    ]
}

fn domain_routes() -> Vec<Route> {
    vec![
        get("/v3/domains", "List domains", handler!(domains::list)).action(act::DOMAINS_LIST),
        post("/v3/domains", "Create a domain", handler!(domains::create))
            .action(act::DOMAINS_CREATE)
            .json(&[(ANY, schemas::domain_create)])
            .answers(&[201], &[409]),
        get("/v3/domains/{domain_id}", "Show a domain", handler!(domains::show))
            .action(act::DOMAINS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/domains/{domain_id}", "Change a domain", handler!(domains::update))
            .action(act::DOMAINS_UPDATE)
            .json(&[(ANY, schemas::domain_update)])
            .answers(&[200], &[404, 409]),
        delete("/v3/domains/{domain_id}", "Delete a disabled domain", handler!(domains::delete))
            .action(act::DOMAINS_DELETE)
            .answers(&[204], &[404, 409]),
    ]
}

fn resource_routes() -> Vec<Route> {
    vec![
        get("/v3/projects", "List projects", handler!(projects::list)).action(act::PROJECTS_LIST),
        post("/v3/projects", "Create a project", handler!(projects::create))
            .action(act::PROJECTS_CREATE)
            .json(&[(ANY, schemas::project_create)])
            .answers(&[201], &[404, 409]),
        get("/v3/projects/{project_id}", "Show a project", handler!(projects::show))
            .action(act::PROJECTS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/projects/{project_id}", "Change a project", handler!(projects::update))
            .action(act::PROJECTS_UPDATE)
            .json(&[(ANY, schemas::project_update)])
            .answers(&[200], &[404, 409]),
        delete("/v3/projects/{project_id}", "Delete a project", handler!(projects::delete))
            .action(act::PROJECTS_DELETE)
            .answers(&[204], &[404, 409]),
        get("/v3/users", "List users", handler!(users::list)).action(act::USERS_LIST),
        post("/v3/users", "Create a user", handler!(users::create))
            .action(act::USERS_CREATE)
            .json(&[(ANY, schemas::user_create)])
            .answers(&[201], &[404, 409]),
        get("/v3/users/{user_id}", "Show a user", handler!(users::show))
            .action(act::USERS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/users/{user_id}", "Change a user", handler!(users::update))
            .action(act::USERS_UPDATE)
            .json(&[(ANY, schemas::user_update)])
            .answers(&[200], &[404, 409]),
        delete("/v3/users/{user_id}", "Delete a user", handler!(users::delete)).action(act::USERS_DELETE),
        post("/v3/users/{user_id}/password", "Change one's password", handler!(users::change_password))
            .public()
            .action(act::USERS_CHANGE_PASSWORD)
            .json(&[(ANY, schemas::password_change)])
            .answers(&[204], &[404]),
        get("/v3/users/{user_id}/projects", "List a user's projects", handler!(users::projects))
            .action(act::USERS_LIST_PROJECTS)
            .answers(&[200], &[404]),
        get("/v3/roles", "List roles", handler!(roles::roles)).action(act::ROLES_LIST),
        get("/v3/roles/{role_id}", "Show a role", handler!(roles::role))
            .action(act::ROLES_SHOW)
            .answers(&[200], &[404]),
        post("/v3/roles", "Create a role", handler!(roles::create))
            .action(act::ROLES_CREATE)
            .json(&[(ANY, schemas::role_create)])
            .answers(&[201], &[409]),
        patch("/v3/roles/{role_id}", "Change a role", handler!(roles::update))
            .action(act::ROLES_UPDATE)
            .json(&[(ANY, schemas::role_update)])
            .answers(&[200], &[404, 409]),
        delete("/v3/roles/{role_id}", "Delete a role", handler!(roles::delete)).action(act::ROLES_DELETE),
        get("/v3/role_assignments", "List role assignments", handler!(assignments::list))
            .action(act::ROLE_ASSIGNMENTS_LIST),
    ]
}

fn tag_routes() -> Vec<Route> {
    let (all, one) = ("/v3/projects/{project_id}/tags", "/v3/projects/{project_id}/tags/{tag}");
    vec![
        get(all, "List a project's tags", handler!(tags::list))
            .action(act::PROJECTS_SHOW)
            .answers(&[200], &[404]),
        put(all, "Replace a project's tags", handler!(tags::replace))
            .action(act::PROJECTS_UPDATE)
            .json(&[(ANY, schemas::project_tags)])
            .answers(&[200], &[404]),
        delete(all, "Take all tags from a project", handler!(tags::clear)).action(act::PROJECTS_UPDATE),
        get(one, "Check whether a project has a tag", handler!(tags::check))
            .action(act::PROJECTS_SHOW)
            .answers(&[204], &[404]),
        put(one, "Give a project a tag", handler!(tags::add))
            .action(act::PROJECTS_UPDATE)
            .answers(&[201], &[404]),
        delete(one, "Take a tag from a project", handler!(tags::remove)).action(act::PROJECTS_UPDATE),
    ]
}

fn credential_routes() -> Vec<Route> {
    const ONE: &str = "/v3/credentials/{credential_id}";
    vec![
        get("/v3/credentials", "List credentials", handler!(credentials::list)).action(act::CREDENTIALS_LIST),
        post("/v3/credentials", "Keep a credential", handler!(credentials::create))
            .action(act::CREDENTIALS_CREATE)
            .json(&[(ANY, schemas::credential_create)])
            .answers(&[201], &[404, 409]),
        get(ONE, "Show a credential", handler!(credentials::show))
            .action(act::CREDENTIALS_SHOW)
            .answers(&[200], &[404]),
        patch(ONE, "Change a credential", handler!(credentials::update))
            .action(act::CREDENTIALS_UPDATE)
            .json(&[(ANY, schemas::credential_update)])
            .answers(&[200], &[404]),
        delete(ONE, "Delete a credential", handler!(credentials::delete)).action(act::CREDENTIALS_DELETE),
    ]
}
