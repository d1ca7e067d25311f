//! What the service is: versions, collections, extensions. Only extensions that work are listed: clients
//! and test suites take the list at its word.

use crate::request::{Reply, Req};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn versions(req: Req) -> Result<Reply> {
    let href = format!("{}/network/v2.0/", req.base);
    Reply::json(
        200,
        &json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]}),
    )
}

/// Names of one resource and of its collection.
const RESOURCES: [(&str, &str); 6] = [
    ("subnet", "subnets"),
    ("network", "networks"),
    ("port", "ports"),
    ("quota", "quotas"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
];

pub async fn resources(req: Req) -> Result<Reply> {
    let resources: Vec<Value> = RESOURCES
        .iter()
        .map(|(name, collection)| {
            let href = format!("{}/network/v2.0/{collection}", req.base);
            json!({"name": name, "collection": collection.replace('-', "_"), "links": [{"rel": "self", "href": href}]})
        })
        .collect();
    Reply::json(200, &json!({ "resources": resources }))
}

struct Extension {
    alias: &'static str,
    name: &'static str,
    description: &'static str,
    updated: &'static str,
}

const fn extension(
    alias: &'static str,
    name: &'static str,
    description: &'static str,
    updated: &'static str,
) -> Extension {
    Extension { alias, name, description, updated }
}

const EXTENSIONS: &[Extension] = &[
    extension(
        "empty-string-filtering",
        "Empty String Filtering Extension",
        "Allow filtering by attributes with empty string value",
        "2018-05-01T10:00:00-00:00",
    ),
    extension(
        "filter-validation",
        "Filter parameters validation",
        "Provides validation on filter parameters.",
        "2018-03-21T10:00:00-00:00",
    ),
    extension(
        "ip-substring-filtering",
        "IP address substring filtering",
        "Provides IP address substring filtering when listing ports",
        "2017-11-28T09:00:00-00:00",
    ),
    extension(
        "net-mtu",
        "Network MTU",
        "Provides MTU attribute for a network resource.",
        "2015-03-25T10:00:00-00:00",
    ),
    extension(
        "net-mtu-writable",
        "Network MTU (writable)",
        "Provides a writable MTU attribute for a network resource.",
        "2017-07-12T00:00:00-00:00",
    ),
    extension(
        "pagination",
        "Pagination support",
        "Extension that indicates that pagination is enabled.",
        "2016-06-12T00:00:00-00:00",
    ),
    extension("port-security", "Port Security", "Provides port security", "2012-07-23T10:00:00-00:00"),
    extension(
        "project-id",
        "project_id field enabled",
        "Extension that indicates that project_id field is enabled.",
        "2016-09-09T09:09:09-09:09",
    ),
    extension(
        "quota-check-limit",
        "Quota engine limit check",
        "Support for checking the resource usage before applying a new quota limit",
        "2022-03-08T10:00:00-00:00",
    ),
    extension(
        "quota_details",
        "Quota details management support",
        "Expose functions for quotas usage statistics per project",
        "2017-02-10T10:00:00-00:00",
    ),
    extension(
        "quotas",
        "Quota management support",
        "Expose functions for quotas management per project",
        "2012-07-29T10:00:00-00:00",
    ),
    extension(
        "sort-key-validation",
        "Sort key validation",
        "Validates sort keys",
        "2018-02-25T00:00:00-00:00",
    ),
    extension(
        "sorting",
        "Sorting support",
        "Extension that indicates that sorting is enabled.",
        "2016-06-12T00:00:00-00:00",
    ),
    extension(
        "standard-attr-description",
        "standard-attr-description",
        "Extension to add descriptions to standard attributes",
        "2016-02-10T10:00:00-00:00",
    ),
    extension(
        "standard-attr-revisions",
        "Resource revision numbers",
        "This extension will display the revision number of neutron resources.",
        "2016-04-11T10:00:00-00:00",
    ),
    extension(
        "standard-attr-timestamp",
        "Resource timestamps",
        "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
        "2016-09-12T10:00:00-00:00",
    ),
];

fn view(extension: &Extension) -> Value {
    json!({
        "alias": extension.alias,
        "name": extension.name,
        "description": extension.description,
        "updated": extension.updated,
        "links": [],
    })
}

pub async fn extensions(_: Req) -> Result<Reply> {
    Reply::json(200, &json!({"extensions": EXTENSIONS.iter().map(view).collect::<Vec<_>>()}))
}

pub async fn extension_by_alias(req: Req) -> Result<Reply> {
    let alias = req.param("alias");
    let found = EXTENSIONS.iter().find(|extension| extension.alias == alias).ok_or_else(|| {
        let alias: String = alias.chars().take(64).collect();
        Error::not_found("network.HTTPNotFound", format!("Extension with alias {alias} does not exist"))
    })?;
    Reply::json(200, &json!({"extension": view(found)}))
}
