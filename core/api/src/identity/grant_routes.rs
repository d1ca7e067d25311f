//! Routes of groups, of implied roles, and of who holds which role where.

use super::{ANY, delete, get, groups, implied, patch, post, put, roles, schemas};
use crate::handler;
use crate::route::{Route, Service};
use canopy_authz::actions::identity as act;
use http::Method;

pub fn group_routes() -> Vec<Route> {
    const MEMBER: &str = "/v3/groups/{group_id}/users/{user_id}";
    vec![
        get("/v3/groups", "List groups", handler!(groups::list)).action(act::GROUPS_LIST),
        post("/v3/groups", "Create a group", handler!(groups::create))
            .action(act::GROUPS_CREATE)
            .json(&[(ANY, schemas::group_create)])
            .answers(&[201], &[404, 409]),
        get("/v3/groups/{group_id}", "Show a group", handler!(groups::show))
            .action(act::GROUPS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/groups/{group_id}", "Change a group", handler!(groups::update))
            .action(act::GROUPS_UPDATE)
            .json(&[(ANY, schemas::group_update)])
            .answers(&[200], &[404, 409]),
        delete("/v3/groups/{group_id}", "Delete a group", handler!(groups::delete))
            .action(act::GROUPS_DELETE),
        get("/v3/groups/{group_id}/users", "List the users in a group", handler!(groups::members))
            .action(act::GROUPS_LIST_MEMBERS)
            .answers(&[200], &[404]),
        get(MEMBER, "Check whether a user is in a group", handler!(groups::has_member))
            .action(act::GROUPS_CHECK_MEMBER)
            .answers(&[204], &[404]),
        put(MEMBER, "Put a user in a group", handler!(groups::add_member)).action(act::GROUPS_ADD_MEMBER),
        delete(MEMBER, "Take a user out of a group", handler!(groups::remove_member))
            .action(act::GROUPS_REMOVE_MEMBER),
        get("/v3/users/{user_id}/groups", "List the groups a user is in", handler!(groups::of_user))
            .action(act::USERS_LIST_GROUPS)
            .answers(&[200], &[404]),
    ]
}

pub fn implied_routes() -> Vec<Route> {
    const ONE: &str = "/v3/roles/{role_id}/implies/{implied_role_id}";
    vec![
        get("/v3/role_inferences", "List which role implies which", handler!(implied::all))
            .action(act::IMPLIED_ROLES_LIST),
        get("/v3/roles/{role_id}/implies", "List what a role implies", handler!(implied::of_role))
            .action(act::IMPLIED_ROLES_LIST)
            .answers(&[200], &[404]),
        // keystone answers the two apart.
        Route::new(
            Service::Identity,
            Method::HEAD,
            ONE,
            "Check whether a role implies another",
            handler!(implied::check),
        )
        .action(act::IMPLIED_ROLES_SHOW)
        .answers(&[204], &[404]),
        get(ONE, "Show that a role implies another", handler!(implied::show))
            .action(act::IMPLIED_ROLES_SHOW)
            .answers(&[200], &[404]),
        put(ONE, "Let a role imply another", handler!(implied::create))
            .action(act::IMPLIED_ROLES_CREATE)
            .answers(&[201], &[404, 409]),
        delete(ONE, "Let a role no longer imply another", handler!(implied::delete))
            .action(act::IMPLIED_ROLES_DELETE),
    ]
}

/// (list, one) of each place and kind of holder.
const GRANTS: [(&str, &str); 6] = [
    (
        "/v3/projects/{project_id}/users/{user_id}/roles",
        "/v3/projects/{project_id}/users/{user_id}/roles/{role_id}",
    ),
    (
        "/v3/projects/{project_id}/groups/{group_id}/roles",
        "/v3/projects/{project_id}/groups/{group_id}/roles/{role_id}",
    ),
    (
        "/v3/domains/{domain_id}/users/{user_id}/roles",
        "/v3/domains/{domain_id}/users/{user_id}/roles/{role_id}",
    ),
    (
        "/v3/domains/{domain_id}/groups/{group_id}/roles",
        "/v3/domains/{domain_id}/groups/{group_id}/roles/{role_id}",
    ),
    ("/v3/system/users/{user_id}/roles", "/v3/system/users/{user_id}/roles/{role_id}"),
    ("/v3/system/groups/{group_id}/roles", "/v3/system/groups/{group_id}/roles/{role_id}"),
];

/// What projects below inherit. Of projects there is no list.
const INHERITED: [(Option<&str>, &str); 4] = [
    (
        Some("/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects"),
        "/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects",
    ),
    (
        Some("/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects"),
        "/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects",
    ),
    (None, "/v3/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"),
    (None, "/v3/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects"),
];

pub fn grant_routes() -> Vec<Route> {
    let direct = GRANTS.into_iter().map(|(all, one)| (Some(all), one));
    direct
        .chain(INHERITED)
        .flat_map(|(all, one)| {
            let list = all.map(|all| {
                get(all, "List the roles held there", handler!(roles::granted))
                    .action(act::GRANTS_LIST)
                    .answers(&[200], &[404])
            });
            list.into_iter().chain([
                get(one, "Check whether a role is held there", handler!(roles::check))
                    .action(act::GRANTS_LIST)
                    .answers(&[204], &[404]),
                put(one, "Give a role there", handler!(roles::grant)).action(act::GRANTS_ADD),
                delete(one, "Take a role there", handler!(roles::revoke)).action(act::GRANTS_REMOVE),
            ])
        })
        .collect()
}
