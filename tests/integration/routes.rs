//! Tests made from the route table: every route of every service gets them for free.

use canopy_api::{Auth, Body, Route, Service, routes};
use canopy_tests::{Client, Cloud};
use std::collections::BTreeSet;

/// Routes that ask no policy, with the reason.
const NO_ACTION: &[(&str, &str)] = &[
    ("POST /identity/v3/auth/tokens", "logging in: there is nobody yet to ask a policy about"),
    ("GET /identity/v3/auth/catalog", "shows the same to every token"),
    ("GET /identity/v3/regions", "shows the same to every token"),
    ("GET /identity/v3/regions/{region_id}", "shows the same to every token"),
    ("GET /identity/v3/auth/projects", "shows the caller's own projects"),
    ("GET /identity/v3/auth/domains", "shows the caller's own domains"),
    ("GET /identity/v3/auth/system", "shows the caller's own reach"),
    ("GET /image/v2/info/import", "shows the same to every token"),
    ("GET /image/v2/info/stores", "shows the same to every token"),
];

/// Parts of compute that show another service's things, and ask that service's policies.
const PROXIED: &[(&str, &str)] = &[
    ("/compute/v2.1/images", "image"),
    ("/compute/v2.1/os-networks", "network"),
    ("/compute/v2.1/os-tenant-networks", "network"),
    ("/compute/v2.1/os-security-groups", "network"),
];

fn named(route: &Route) -> String {
    format!("{} {}", route.method, route.full_path())
}

#[test]
fn every_route_asks_a_policy_that_exists_or_says_why_not() {
    let known: BTreeSet<&str> = canopy_authz::actions::all().map(|action| action.name).collect();
    let mut bad = Vec::new();
    for route in routes() {
        let name = named(&route);
        match (route.auth, route.action) {
            (Auth::Token, Some(action)) if known.contains(action.name) => {}
            (Auth::Token, None) if NO_ACTION.iter().any(|(free, _)| *free == name) => {}
            (Auth::Token, _) => bad.push(name),
            // Schemas and versions are the same for everybody.
            (Auth::Public | Auth::Agent, _) => {}
        }
    }
    assert!(bad.is_empty(), "routes without a policy: {bad:#?}");
}

#[test]
fn only_logging_in_and_discovery_are_public() {
    for route in routes().iter().filter(|route| route.auth == Auth::Public) {
        let discovery = route.method == "GET";
        // Both ask for a password; whose has expired has no token to change it with.
        let by_password = ["POST /identity/v3/auth/tokens", "POST /identity/v3/users/{user_id}/password"];
        assert!(discovery || by_password.contains(&named(route).as_str()), "{}", named(route));
    }
}

#[test]
fn every_action_of_a_route_belongs_to_its_service() {
    for route in routes() {
        if let Some(action) = route.action {
            let proxied = PROXIED.iter().find(|(path, _)| route.full_path().starts_with(path));
            let asked = proxied.map_or(route.service.name(), |(_, service)| service);
            assert!(action.name.starts_with(asked), "{} asks {}", named(&route), action.name);
        }
    }
}

/// The path with every parameter replaced.
fn filled(route: &Route, value: &str) -> String {
    route
        .full_path()
        .split('/')
        .map(|part| if part.starts_with('{') { value } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

/// Placement's routes are nearly all younger than its oldest version.
fn newest(client: &Client) -> Client {
    client.with_header("openstack-api-version", &format!("placement {}", canopy_api::version::PLACEMENT.max))
}

async fn call(client: &Client, route: &Route, path: &str) -> canopy_tests::Answer {
    let mut request = client.request(route.method.as_str(), path);
    if let Body::Json(_) = route.body {
        let body = route.key.map_or_else(|| serde_json::json!({}), |key| serde_json::json!({ key: null }));
        request = request.json(&body);
    }
    client.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_every_other_route_is_401_before_anything_else() {
    let cloud = Cloud::start().await;
    for route in routes().iter().filter(|route| route.auth != Auth::Public) {
        for token in ["", "gAAAAABforged", "é"] {
            let mut client = cloud.anonymous();
            if token.is_ascii() {
                client.token = token.to_owned();
            }
            let answer = call(&client, route, &filled(route, "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11")).await;
            assert_eq!(answer.status, 401, "{} {answer:?}", named(route));
            if route.method != "HEAD" {
                assert!(answer.json["error"]["message"].is_string(), "{} {answer:?}", named(route));
            }
            assert!(answer.header("www-authenticate").is_some_and(|v| v.starts_with("Keystone uri=")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_path_parameters_never_cause_a_500() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (newest(&cloud.admin().await), newest(&cloud.tenant("t").await));
    let long = "a".repeat(4_096);
    let values =
        ["..%2f..%2fetc%2fpasswd", "%00", "%0d%0a", "'%20OR%201=1--", "%F0%9F%92%A3", "-1", "null", &long];
    for route in routes().iter().filter(|r| r.auth == Auth::Token && r.path.contains('{')) {
        for value in values {
            for client in [&admin, &tenant] {
                let answer = call(client, route, &filled(route, value)).await;
                // A part of a name finds what it finds, and no project has used nothing.
                let open = ["/v2.1/os-hypervisors/", "/v2.1/os-simple-tenant-usage/"];
                let found = answer.status == 200 && open.iter().any(|path| route.path.starts_with(path));
                assert!(
                    found || (400..500).contains(&answer.status),
                    "{} with {value}: {answer:?}",
                    named(route)
                );
            }
        }
    }
}

/// An id that is nobody's, and one that is another tenant's, get the same answer on every route that takes one.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_are_404_in_each_services_shape() {
    let cloud = Cloud::start().await;
    let tenant = newest(&cloud.tenant("t").await);
    let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
    for route in routes().iter().filter(|r| r.auth == Auth::Token && r.path.contains('{')) {
        // What is put without a body is made, not looked for.
        let makes = route.service == Service::Placement && route.method == "PUT";
        if makes || matches!(route.service, Service::Identity) || !matches!(route.body, Body::None) {
            continue;
        }
        let answer = call(&tenant, route, &filled(route, absent)).await;
        assert!(matches!(answer.status, 403 | 404), "{} {answer:?}", named(route));
        match route.service {
            Service::Compute => assert!(
                answer.json["itemNotFound"]["code"] == 404 || answer.json["forbidden"]["code"] == 403,
                "{} {answer:?}",
                named(route)
            ),
            Service::Network => {
                assert!(answer.json["NeutronError"]["type"].is_string(), "{} {answer:?}", named(route))
            }
            Service::Image => {
                let code = answer.text_at("/code");
                assert!(code.starts_with(&format!("{} ", answer.status)), "{answer:?}")
            }
            Service::Placement => {
                assert_eq!(answer.json["errors"][0]["status"], answer.status, "{} {answer:?}", named(route))
            }
            _ => assert!(answer.json["error"].is_object(), "{} {answer:?}", named(route)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_405_and_unknown_paths_404_in_the_services_shape() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let answer = tenant.send(tenant.request("PATCH", "/compute/v2.1/servers")).await;
    assert_eq!((answer.status, answer.json["badMethod"]["code"].as_u64()), (405, Some(405)), "{answer:?}");
    let answer = tenant.get("/compute/v2.1/no-such-thing").await;
    assert_eq!((answer.status, answer.json["itemNotFound"]["code"].as_u64()), (404, Some(404)), "{answer:?}");
    let answer = tenant.get("/network/v2.0/no-such-thing").await;
    assert_eq!((answer.status, answer.json["NeutronError"].is_object()), (404, true), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_anonymous_and_links_follow_the_host_header() {
    let cloud = Cloud::start().await;
    let anonymous = cloud.anonymous();
    for (path, status) in [
        ("/identity", 300),
        ("/identity/", 300),
        ("/identity/v3", 200),
        ("/identity/v3/", 200),
        ("/compute", 200),
        ("/compute/", 200),
        ("/compute/v2", 200),
        ("/compute/v2/", 200),
        ("/compute/v2.1", 200),
        ("/compute/v2.1/", 200),
        ("/image", 300),
        ("/image/", 300),
        ("/network", 200),
        ("/network/", 200),
        ("/network/v2.0", 200),
    ] {
        let answer = anonymous.get(path).await;
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert!(answer.text().contains(&cloud.url), "{path}: links lead back here: {}", answer.text());
        assert!(answer.header("x-openstack-request-id").unwrap().starts_with("req-"));
    }
    for (path, text) in [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "canopy_http_requests_total")]
    {
        let answer = anonymous.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    }
}

#[test]
fn the_openapi_documents_are_fresh() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/docs/openapi");
    for (name, document) in canopy_api::openapi::documents() {
        if std::env::var_os("CANOPY_UPDATE").is_some() {
            std::fs::write(format!("{dir}/{name}.json"), &document).unwrap();
        }
        let kept = std::fs::read_to_string(format!("{dir}/{name}.json")).unwrap_or_default();
        assert!(kept == document, "{name}.json is not what the route table says: run `cargo xtask openapi`");
    }
}
