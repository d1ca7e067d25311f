//! Routes of what users hand on: application credentials, access rules, trusts.

use super::{ANY, application_credentials as credentials, delete, ec2, get, post, schemas, trusts};
use crate::handler;
use crate::route::Route;
use canopy_authz::actions::identity as act;

/// Keys that EC2 clients sign with.
pub fn ec2_routes() -> Vec<Route> {
    const ALL: &str = "/v3/users/{user_id}/credentials/OS-EC2";
    const ONE: &str = "/v3/users/{user_id}/credentials/OS-EC2/{access}";
    vec![
        get(ALL, "List a user's EC2 keys", handler!(ec2::list)).action(act::CREDENTIALS_LIST),
        post(ALL, "Make an EC2 key", handler!(ec2::create))
            .action(act::CREDENTIALS_CREATE)
            .json(&[(ANY, schemas::ec2_key)])
            .answers(&[201], &[404]),
        get(ONE, "Show an EC2 key", handler!(ec2::show))
            .action(act::CREDENTIALS_SHOW)
            .answers(&[200], &[404]),
        delete(ONE, "Delete an EC2 key", handler!(ec2::delete)).action(act::CREDENTIALS_DELETE),
    ]
}

pub fn credential_routes() -> Vec<Route> {
    const ALL: &str = "/v3/users/{user_id}/application_credentials";
    const ONE: &str = "/v3/users/{user_id}/application_credentials/{application_credential_id}";
    const RULE: &str = "/v3/users/{user_id}/access_rules/{access_rule_id}";
    vec![
        get(ALL, "List a user's application credentials", handler!(credentials::list))
            .action(act::APPLICATION_CREDENTIALS_LIST)
            .answers(&[200], &[404]),
        post(ALL, "Create an application credential", handler!(credentials::create))
            .action(act::APPLICATION_CREDENTIALS_CREATE)
            .json(&[(ANY, schemas::application_credential)])
            .answers(&[201], &[404, 409]),
        get(ONE, "Show an application credential", handler!(credentials::show))
            .action(act::APPLICATION_CREDENTIALS_SHOW)
            .answers(&[200], &[404]),
        delete(ONE, "Delete an application credential", handler!(credentials::delete))
            .action(act::APPLICATION_CREDENTIALS_DELETE),
        get("/v3/users/{user_id}/access_rules", "List a user's access rules", handler!(credentials::rules))
            .action(act::ACCESS_RULES_LIST)
            .answers(&[200], &[404]),
        get(RULE, "Show an access rule", handler!(credentials::rule))
            .action(act::ACCESS_RULES_SHOW)
            .answers(&[200], &[404]),
        delete(RULE, "Delete an access rule that nothing has", handler!(credentials::delete_rule))
            .action(act::ACCESS_RULES_DELETE),
    ]
}

pub fn trust_routes() -> Vec<Route> {
    const ALL: &str = "/v3/OS-TRUST/trusts";
    const ONE: &str = "/v3/OS-TRUST/trusts/{trust_id}";
    vec![
        get(ALL, "List trusts", handler!(trusts::list)).action(act::TRUSTS_LIST),
        post(ALL, "Create a trust", handler!(trusts::create))
            .action(act::TRUSTS_CREATE)
            .json(&[(ANY, schemas::trust)])
            .answers(&[201], &[404]),
        get(ONE, "Show a trust", handler!(trusts::show)).action(act::TRUSTS_SHOW).answers(&[200], &[404]),
        delete(ONE, "Delete a trust", handler!(trusts::delete)).action(act::TRUSTS_DELETE),
        get("/v3/OS-TRUST/trusts/{trust_id}/roles", "List a trust's roles", handler!(trusts::roles))
            .action(act::TRUSTS_LIST_ROLES)
            .answers(&[200], &[404]),
        get("/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", "Show a trust's role", handler!(trusts::role))
            .action(act::TRUSTS_SHOW_ROLE)
            .answers(&[200], &[404]),
    ]
}
