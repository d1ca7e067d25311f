//! Queries as long as they may be: whatever a filter is asked for, and however often, the answer is a list or a refusal.

use canopy_tests::{Cloud, engines};

/// Lists, and what they can be filtered by.
const LISTS: [(&str, &[&str]); 13] = [
    (
        "/compute/v2.1/servers",
        &[
            "tags",
            "tags-any",
            "not-tags",
            "not-tags-any",
            "status",
            "name",
            "ip",
            "uuid",
            "sort_key",
            "host",
            "marker",
        ],
    ),
    ("/compute/v2.1/servers/detail", &["tags", "status", "vm_state", "flavor", "all_tenants"]),
    ("/compute/v2.1/flavors", &["minRam", "sort_key", "marker", "is_public"]),
    ("/compute/v2.1/os-keypairs", &["marker", "user_id"]),
    ("/compute/v2.1/os-hypervisors", &["hypervisor_hostname_pattern", "marker"]),
    (
        "/image/v2/images",
        &["tag", "id", "name", "status", "owner", "size_min", "visibility", "sort", "os_distro"],
    ),
    (
        "/network/v2.0/networks",
        &["id", "name", "tags", "tags-any", "not-tags", "not-tags-any", "status", "fields"],
    ),
    ("/network/v2.0/subnets", &["id", "cidr", "network_id", "fields", "sort_key"]),
    ("/network/v2.0/ports", &["id", "fixed_ips", "device_id", "mac_address", "security_groups", "fields"]),
    ("/identity/v3/projects", &["name", "tags", "tags-any", "not-tags", "not-tags-any", "domain_id"]),
    ("/identity/v3/users", &["name", "domain_id", "enabled"]),
    ("/placement/resource_providers", &["name", "uuid", "member_of", "required", "resources", "in_tree"]),
    ("/placement/allocation_candidates", &["resources", "member_of", "required", "same_subtree", "limit"]),
];
/// What a query may hold, bytes.
const LONG: usize = 8_100;

/// Short values, each of them another.
fn values() -> impl Iterator<Item = String> {
    (0..).map(|n: u32| format!("{n:x}"))
}

/// So many of these as there is room for, joined.
fn filled(between: &str, parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for part in parts {
        if text.len() + between.len() + part.len() > LONG {
            break;
        }
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(&part);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_any_length_is_answered_or_refused() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        for (path, names) in LISTS {
            let version = if path.starts_with("/placement") { "placement 1.39" } else { "compute 2.79" };
            let client = admin.with_header("openstack-api-version", version);
            for name in names {
                let queries = [
                    filled("&", values().map(|value| format!("{name}={value}"))),
                    format!("{name}={}", filled(",", values())),
                    format!("{name}=in:{}", filled(",", values())),
                    format!("{name}={}", "x".repeat(LONG)),
                    format!("{name}={}", "%25".repeat(LONG / 3)),
                ];
                for query in queries {
                    let answer = client.get(&format!("{path}?{query}")).await;
                    assert!(answer.status < 500, "{engine:?} {path}?{}…: {answer:?}", &query[..60]);
                }
            }
        }
    }
}
