//! Made from the route table: what is another tenant's is answered as what is nobody's, on every route that
//! takes an id, and nothing of it changes.

use canopy_api::{Body, Route, Service, routes, version};
use canopy_tests::{Answer, Client, Cloud, fixtures};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Parameters of paths that are words, not ids: the same for both tenants.
const WORDS: &[(&str, &str)] = &[
    ("key", "k"),
    ("tag", "t"),
    ("class", "VCPU"),
    ("kind", "scheduler"),
    ("alias", "security-group"),
    ("network", "n"),
    ("*file", "core/rfb.js"),
];

/// Parameters whose things are the whole cloud's, so that every tenant may name them, with the reason.
const SHARED: &[(&str, &str)] = &[
    ("flavors/{id}", "public flavors are everybody's"),
    ("extensions/{alias}", "what the API can do is everybody's"),
    ("regions/{region_id}", "the catalog is everybody's"),
    ("registered_limits/{id}", "defaults are everybody's"),
    ("traits/{name}", "names, not things: an admin's and services'"),
    ("resource_classes/{name}", "names, not things: an admin's and services'"),
    ("os-quota-class-sets/{class_id}", "there is one class, the default"),
    ("os-console-auth-tokens/{console_token}", "an admin's, who sees every server"),
    ("plugins/{plugin_id}", "plugins are the cloud's"),
    ("plugins/{digest}", "plugins are the cloud's"),
];

/// Routes that answer another tenant's id otherwise than an absent one, with the reason.
const TOLD_APART: &[(&str, &str)] = &[];

/// What a tenant has: by the part of a path before a parameter, and the parameter.
struct World {
    client: Client,
    things: BTreeMap<String, String>,
}

impl World {
    fn of(&self, key: &str) -> Option<&str> {
        self.things.get(key).map(String::as_str)
    }
}

async fn made(client: &Client, path: &str, body: Value, pointer: &str) -> String {
    let answer = client.post(path, &body).await;
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    answer.text_at(pointer).to_owned()
}

/// The id of whatever a role of things calls itself.
async fn id_of(admin: &Client, kind: &str, name: &str) -> String {
    admin.get(&format!("/identity/v3/{kind}?name={name}")).await.text_at(&format!("/{kind}/0/id")).to_owned()
}

async fn world(cloud: &Cloud, admin: &Client, name: &str) -> World {
    let client = cloud.tenant(name).await;
    let client = client.at("2.37");
    let mut things = BTreeMap::new();
    let mut put = |keys: &[&str], id: &str| {
        for key in keys {
            things.insert((*key).to_owned(), id.to_owned());
        }
    };
    let (user, project) = (id_of(admin, "users", name).await, id_of(admin, "projects", name).await);
    put(&["users/{user_id}"], &user);
    put(
        &[
            "projects/{project_id}",
            "os-quota-sets/{project_id}",
            "os-simple-tenant-usage/{project_id}",
            "quotas/{id}",
        ],
        &project,
    );
    let domain = json!({"domain": {"name": format!("domain-{name}")}});
    let domain = made(admin, "/identity/v3/domains", domain, "/domain/id").await;
    put(&["domains/{domain_id}"], &domain);
    let group = json!({"group": {"name": name, "domain_id": domain}});
    put(&["groups/{group_id}"], &made(admin, "/identity/v3/groups", group, "/group/id").await);
    for (key, role) in [("roles/{role_id}", "a"), ("implies/{implied_role_id}", "b")] {
        let body = json!({"role": {"name": format!("{name}-{role}")}});
        put(&[key], &made(admin, "/identity/v3/roles", body, "/role/id").await);
    }
    let service = json!({"service": {"type": name}});
    let service = made(admin, "/identity/v3/services", service, "/service/id").await;
    put(&["services/{service_id}"], &service);
    let endpoint =
        json!({"endpoint": {"service_id": service, "interface": "public", "url": "http://x.example"}});
    let endpoint = made(admin, "/identity/v3/endpoints", endpoint, "/endpoint/id").await;
    put(&["endpoints/{endpoint_id}"], &endpoint);
    let group = json!({"endpoint_group": {"name": name, "filters": {"service_id": service}}});
    let group = made(admin, "/identity/v3/OS-EP-FILTER/endpoint_groups", group, "/endpoint_group/id").await;
    put(&["endpoint_groups/{endpoint_group_id}"], &group);
    let registered = json!({"registered_limits": [{
        "service_id": id_of(admin, "services", "nova").await, "resource_name": name, "default_limit": 9}]});
    let _ = admin.post("/identity/v3/registered_limits", &registered).await;
    let limits = admin.get("/identity/v3/limits").await;
    let limit = limits.json["limits"].as_array().and_then(|all| all.first()).map(|one| one["id"].clone());
    let limit = limit.and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_else(|| "0".repeat(32));
    put(&["limits/{id}"], &limit);

    let blob = json!({"credential": {"type": "cert", "blob": "x", "user_id": user}});
    put(
        &["credentials/{credential_id}"],
        &made(&client, "/identity/v3/credentials", blob, "/credential/id").await,
    );
    let ec2 = format!("/identity/v3/users/{user}/credentials/OS-EC2");
    let ec2 = made(&client, &ec2, json!({"tenant_id": project}), "/credential/access").await;
    put(&["OS-EC2/{access}"], &ec2);
    let credential = json!({"application_credential": {"name": "c", "access_rules": [
        {"service": "compute", "method": "GET", "path": "/v2.1/servers"}]}});
    let path = format!("/identity/v3/users/{user}/application_credentials");
    let credential = client.post(&path, &credential).await;
    put(
        &["application_credentials/{application_credential_id}"],
        credential.text_at("/application_credential/id"),
    );
    let rule = credential.text_at("/application_credential/access_rules/0/id");
    put(&["access_rules/{access_rule_id}"], rule);
    let trustee = id_of(admin, "users", "admin").await;
    let trust = json!({"trust": {"trustor_user_id": user, "trustee_user_id": trustee, "project_id": project,
        "impersonation": false, "roles": [{"name": "member"}]}});
    put(&["trusts/{trust_id}"], &made(&client, "/identity/v3/OS-TRUST/trusts", trust, "/trust/id").await);

    let flavor = fixtures::flavor(admin, &format!("f-{name}"), 1, 64, 1).await;
    let image = fixtures::image(&client, name).await;
    put(&["images/{id}"], &image);
    images(admin, &client, name, &project, &image, &mut put).await;
    let keypair = json!({"keypair": {"name": format!("key-{name}")}});
    put(&["os-keypairs/{name}"], &made(&client, "/compute/v2.1/os-keypairs", keypair, "/keypair/name").await);
    let group = json!({"server_group": {"name": name, "policies": ["affinity"]}});
    let group = made(&client, "/compute/v2.1/os-server-groups", group, "/server_group/id").await;
    put(&["os-server-groups/{group_id}"], &group);
    let mut body = fixtures::server(name, &flavor, &image);
    body["server"]["metadata"] = json!({"k": "v"});
    let server = fixtures::boot(&client, &body).await;
    fixtures::until_status(&client, &server, "ACTIVE").await;
    put(&["servers/{server_id}", "allocations/{consumer_uuid}"], &server);
    let history = client.get(&format!("/compute/v2.1/servers/{server}/os-instance-actions")).await;
    put(&["os-instance-actions/{request_id}"], history.text_at("/instanceActions/0/request_id"));
    let decision = client.get(&format!("/canopy/v1/servers/{server}/decision")).await;
    put(&["decisions/{decision_id}"], decision.text_at("/decision/id"));
    let aggregate = json!({"aggregate": {"name": name}});
    let aggregate = admin.post("/compute/v2.1/os-aggregates", &aggregate).await;
    put(&["os-aggregates/{aggregate_id}"], &aggregate.json["aggregate"]["id"].to_string());
    let hosts = admin.get("/compute/v2.1/os-hypervisors").await;
    put(&["os-hypervisors/{hypervisor_id}"], &hosts.json["hypervisors"][0]["id"].to_string());
    put(&["os-hosts/{host_name}"], &cloud.hosts().await[0].name);
    put(&["os-services/{service_id}"], &cloud.hosts().await[0].id.to_string());
    put(&["resource_providers/{uuid}"], &cloud.hosts().await[0].id.to_string());

    let network =
        made(&client, "/network/v2.0/networks", json!({"network": {"name": name}}), "/network/id").await;
    put(&["networks/{id}", "os-networks/{id}", "os-tenant-networks/{id}"], &network);
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}});
    put(&["subnets/{id}"], &made(&client, "/network/v2.0/subnets", subnet, "/subnet/id").await);
    let port = json!({"port": {"network_id": network}});
    let port = made(&client, "/network/v2.0/ports", port, "/port/id").await;
    put(&["ports/{id}", "os-interface/{port_id}"], &port);
    let groups = client.get("/network/v2.0/security-groups").await;
    put(&["security-groups/{id}", "os-security-groups/{id}"], groups.text_at("/security_groups/0/id"));
    let rules = client.get("/network/v2.0/security-group-rules").await;
    put(&["security-group-rules/{id}"], rules.text_at("/security_group_rules/0/id"));
    World { client, things }
}

/// What belongs to images: a member, a task, and a namespace of definitions with one of each kind.
async fn images(
    admin: &Client,
    client: &Client,
    name: &str,
    project: &str,
    image: &str,
    put: &mut impl FnMut(&[&str], &str),
) {
    let member = json!({ "member": project });
    let member = made(client, &format!("/image/v2/images/{image}/members"), member, "/member_id").await;
    put(&["members/{member_id}"], &member);
    let queued = json!({"name": "staged", "disk_format": "raw", "container_format": "bare"});
    let queued = made(client, "/image/v2/images", queued, "/id").await;
    let staged = client.request("PUT", &format!("/image/v2/images/{queued}/stage"));
    let staged = client.send(staged.header("content-type", "application/octet-stream").body("bytes")).await;
    assert_eq!(staged.status, 204, "{staged:?}");
    let import = json!({"method": {"name": "glance-direct"}});
    let import = client.post(&format!("/image/v2/images/{queued}/import"), &import).await;
    assert_eq!(import.status, 202, "{import:?}");
    let tasks = client.get(&format!("/image/v2/images/{queued}/tasks")).await;
    put(&["tasks/{task_id}"], tasks.text_at("/tasks/0/id"));
    let [object, property, tag, kind] =
        ["object", "property", "tag", "kind"].map(|it| format!("{it}-{name}"));
    let namespace = json!({"namespace": format!("namespace-{name}"), "visibility": "private", "owner": project,
        "objects": [{"name": object, "properties": {}}], "tags": [{"name": tag}],
        "properties": {&property: {"title": "p", "type": "string"}},
        "resource_type_associations": [{"name": kind}]});
    put(
        &["namespaces/{namespace}"],
        &made(admin, "/image/v2/metadefs/namespaces", namespace, "/namespace").await,
    );
    put(&["objects/{name}"], &object);
    put(&["properties/{name}"], &property);
    put(&["tags/{name}"], &tag);
    put(&["resource_types/{name}"], &kind);
}

/// An id of the same form that is nobody's.
fn absent(like: &str) -> String {
    match like {
        id if id.parse::<u64>().is_ok() => "987654".to_owned(),
        id if id.starts_with("req-") => "req-5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11".to_owned(),
        id if id.len() == 36 => "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11".to_owned(),
        id if id.len() == 32 => "5f0c8a5752a54b1f8e66bd6c1f5a1c11".to_owned(),
        id if id.len() == 64 => "5f0c8a5752a54b1f8e66bd6c1f5a1c11".repeat(2),
        _ => "nobodys".to_owned(),
    }
}

/// The parameters of a route: where in the path, and the key of what it names.
fn parameters(route: &Route) -> Vec<(usize, String)> {
    let full = route.full_path();
    let parts: Vec<&str> = full.split('/').collect();
    let named = parts.iter().enumerate().filter(|(_, part)| part.starts_with('{'));
    named.map(|(at, part)| (at, format!("{}/{part}", parts[at - 1]))).collect()
}

fn word(key: &str) -> Option<&'static str> {
    let name = key.rsplit_once('{')?.1.trim_end_matches('}');
    WORDS.iter().find(|(word, _)| *word == name).map(|(_, value)| *value)
}

fn shared(key: &str) -> bool {
    SHARED.iter().any(|(shared, _)| *shared == key)
}

/// A value that a schema takes, as far as its words are understood here.
fn sample(schema: &Value) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(first) = schema[word].as_array().and_then(|all| all.first()) {
            return sample(first);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("string");
    let least = |name: &str| schema[name].as_u64().unwrap_or(0);
    match kind {
        "object" => {
            let mut fields: Map<String, Value> = Map::new();
            let needed = schema["required"].as_array().cloned().unwrap_or_default();
            let known = schema["properties"].as_object().cloned().unwrap_or_default();
            for name in needed.iter().filter_map(Value::as_str) {
                fields.insert(name.to_owned(), known.get(name).map_or_else(|| json!("x"), sample));
            }
            for (name, schema) in known {
                if (fields.len() as u64) < least("minProperties") {
                    fields.insert(name, sample(&schema));
                }
            }
            fields.into()
        }
        "array" => (0..least("minItems")).map(|_| sample(&schema["items"])).collect(),
        "integer" | "number" => json!(least("minimum").max(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => match schema["pattern"].as_str() {
            Some(pattern) if pattern.starts_with("^[0-9a-fA-F]{8}-") => {
                json!("5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11")
            }
            Some(pattern) if pattern.contains("://") => json!("http://x.example"),
            _ => json!("x".repeat(usize::try_from(least("minLength").max(1)).unwrap_or(1))),
        },
    }
}

fn body(route: &Route) -> Option<Value> {
    let Body::Json(schemas) = route.body else { return None };
    let (_, schema) = schemas.last()?;
    Some(sample(&schema()))
}

/// At the newest version that knows the route.
fn at(client: &Client, route: &Route) -> Client {
    let newest = version::range(route.service).map(|range| range.max);
    let asked = route.versions.map(|(_, to)| to).into_iter().chain(newest).min();
    match asked {
        Some(asked) => {
            client.with_header("openstack-api-version", &format!("{} {asked}", route.service.name()))
        }
        None => client.clone(),
    }
}

async fn ask(client: &Client, route: &Route, path: &str) -> Answer {
    let request = at(client, route).request(route.method.as_str(), path);
    let request = match body(route) {
        Some(body) => request.json(&body),
        None => request,
    };
    client.send(request).await
}

/// Status and body, without what is different in any two answers.
fn told(answer: &Answer, ids: &[&str]) -> (u16, String) {
    let mut text = answer.text();
    for id in ids {
        text = text.replace(id, "ID");
    }
    for header in ["x-openstack-request-id", "x-compute-request-id"] {
        if let Some(id) = answer.header(header) {
            text = text.replace(id, "REQUEST");
        }
    }
    (answer.status, text)
}

fn path_of(route: &Route, values: &[(usize, String)]) -> String {
    let full = route.full_path();
    let mut parts: Vec<&str> = full.split('/').collect();
    for (at, value) in values {
        parts[*at] = value;
    }
    parts.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_id_in_any_path_is_answered_as_nobodys() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (theirs, ours) = (world(&cloud, &admin, "a").await, world(&cloud, &admin, "b").await);
    let before = everything(&theirs, &admin).await;
    let (mut asked, mut checked, mut wrong) = (0, 0, Vec::new());
    for route in routes().iter().filter(|route| route.service != Service::Agent) {
        let name = format!("{} {}", route.method, route.full_path());
        let parameters = parameters(route);
        let ids: Vec<&(usize, String)> =
            parameters.iter().filter(|(_, key)| word(key).is_none() && !shared(key)).collect();
        for (_, key) in &ids {
            assert!(theirs.of(key).is_some(), "{name}: `world` makes nothing for {key}: add it there");
        }
        // Each id for itself, with one's own beside it, and all together.
        let mut choices: Vec<Vec<usize>> = ids.iter().map(|(at, _)| vec![*at]).collect();
        if ids.len() > 1 {
            choices.push(ids.iter().map(|(at, _)| *at).collect());
        }
        for choice in choices {
            let fill = |foreign: &dyn Fn(&str) -> String| -> Vec<(usize, String)> {
                let value = |at: &usize, key: &str| match word(key) {
                    Some(word) => word.to_owned(),
                    None if choice.contains(at) => foreign(key),
                    None => ours.of(key).or_else(|| theirs.of(key)).unwrap_or("x").to_owned(),
                };
                parameters.iter().map(|(at, key)| (*at, value(at, key))).collect()
            };
            let anothers = fill(&|key| theirs.of(key).unwrap_or_default().to_owned());
            let nobodys = fill(&|key| absent(theirs.of(key).unwrap_or_default()));
            if anothers == nobodys {
                continue;
            }
            let ids: Vec<&str> = anothers
                .iter()
                .chain(&nobodys)
                .filter(|(at, _)| choice.contains(at))
                .map(|(_, id)| id.as_str())
                .collect();
            let one = ask(&ours.client, route, &path_of(route, &anothers)).await;
            let other = ask(&ours.client, route, &path_of(route, &nobodys)).await;
            asked += 1;
            checked += usize::from(one.status != 400);
            let refused = (400..500).contains(&one.status);
            let alike = told(&one, &ids) == told(&other, &ids);
            if (!refused || !alike) && !TOLD_APART.iter().any(|(apart, _)| *apart == name) {
                wrong.push(format!("{name}: {one:?}\n  nobody's: {other:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    // A body that a schema refuses says nothing about ids: there must not be many.
    assert!(asked > 150 && checked * 10 >= asked * 9, "{checked} of {asked} came past the schema");
    assert_eq!(everything(&theirs, &admin).await, before, "what is theirs has changed");
}

/// All that a tenant has, as it and the admin see it.
async fn everything(world: &World, admin: &Client) -> Value {
    let mut all = Map::new();
    for (service, paths) in [
        (
            "/compute/v2.1",
            ["servers/{server_id}", "os-keypairs/{name}", "os-server-groups/{group_id}"].as_slice(),
        ),
        ("/image/v2", ["images/{id}"].as_slice()),
        ("/network/v2.0", ["networks/{id}", "subnets/{id}", "ports/{id}"].as_slice()),
        (
            "/identity/v3",
            ["users/{user_id}", "projects/{project_id}", "credentials/{credential_id}"].as_slice(),
        ),
        ("/identity/v3/OS-TRUST", ["trusts/{trust_id}"].as_slice()),
    ] {
        for key in paths {
            let (kind, _) = key.split_once('/').unwrap();
            let path = format!("{service}/{kind}/{}", world.of(key).unwrap());
            let answer = world.client.get(&path).await;
            assert_eq!(answer.status, 200, "{path} {answer:?}");
            all.insert(path, answer.json);
        }
    }
    let user = world.of("users/{user_id}").unwrap();
    let roles = admin.get(&format!("/identity/v3/role_assignments?user.id={user}")).await;
    all.insert("roles".into(), roles.json["role_assignments"].clone());
    all.into()
}

/// Bodies that name ids: route, the body, where in it, and what the id is one of.
fn bodies(own: &World) -> Vec<(&'static str, &'static str, Value, &'static str, &'static str)> {
    let of = |key: &str| own.of(key).unwrap().to_owned();
    let server = |more: Value| {
        let mut server =
            json!({"name": "s", "flavorRef": "1", "imageRef": of("images/{id}"), "networks": "none"});
        for (name, value) in more.as_object().into_iter().flatten() {
            server[name] = value.clone();
        }
        json!({ "server": server })
    };
    let servers = "/compute/v2.1/servers";
    let network = of("networks/{id}");
    let port = format!("/network/v2.0/ports/{}", of("ports/{id}"));
    let port: &'static str = port.leak();
    let action: &'static str = format!("/compute/v2.1/servers/{}/action", of("servers/{server_id}")).leak();
    let interfaces: &'static str =
        format!("/compute/v2.1/servers/{}/os-interface", of("servers/{server_id}")).leak();
    let credentials: &'static str =
        format!("/identity/v3/users/{}/application_credentials", of("users/{user_id}")).leak();
    vec![
        ("POST", servers, server(json!({})), "/server/imageRef", "images/{id}"),
        (
            "POST",
            servers,
            server(json!({"networks": [{"uuid": "?"}]})),
            "/server/networks/0/uuid",
            "networks/{id}",
        ),
        (
            "POST",
            servers,
            server(json!({"networks": [{"port": "?"}]})),
            "/server/networks/0/port",
            "ports/{id}",
        ),
        (
            "POST",
            interfaces,
            json!({"interfaceAttachment": {"net_id": "?"}}),
            "/interfaceAttachment/net_id",
            "networks/{id}",
        ),
        (
            "POST",
            interfaces,
            json!({"interfaceAttachment": {"port_id": "?"}}),
            "/interfaceAttachment/port_id",
            "ports/{id}",
        ),
        ("POST", servers, server(json!({"key_name": "?"})), "/server/key_name", "os-keypairs/{name}"),
        ("POST", action, json!({"rebuild": {"imageRef": "?"}}), "/rebuild/imageRef", "images/{id}"),
        ("POST", action, json!({"addFixedIp": {"networkId": "?"}}), "/addFixedIp/networkId", "networks/{id}"),
        (
            "POST",
            "/network/v2.0/ports",
            json!({"port": {"network_id": "?"}}),
            "/port/network_id",
            "networks/{id}",
        ),
        (
            "POST",
            "/network/v2.0/ports",
            json!({"port": {"network_id": network, "fixed_ips": [{"subnet_id": "?"}]}}),
            "/port/fixed_ips/0/subnet_id",
            "subnets/{id}",
        ),
        (
            "POST",
            "/network/v2.0/ports",
            json!({"port": {"network_id": network, "security_groups": ["?"]}}),
            "/port/security_groups/0",
            "security-groups/{id}",
        ),
        (
            "PUT",
            port,
            json!({"port": {"security_groups": ["?"]}}),
            "/port/security_groups/0",
            "security-groups/{id}",
        ),
        (
            "PUT",
            port,
            json!({"port": {"fixed_ips": [{"subnet_id": "?"}]}}),
            "/port/fixed_ips/0/subnet_id",
            "subnets/{id}",
        ),
        (
            "POST",
            "/network/v2.0/subnets",
            json!({"subnet": {"network_id": "?", "ip_version": 4, "cidr": "10.9.0.0/24"}}),
            "/subnet/network_id",
            "networks/{id}",
        ),
        (
            "POST",
            "/network/v2.0/networks",
            json!({"network": {"project_id": "?"}}),
            "/network/project_id",
            "projects/{project_id}",
        ),
        ("POST", "/image/v2/images", json!({"owner": "?"}), "/owner", "projects/{project_id}"),
        (
            "POST",
            "/identity/v3/credentials",
            json!({"credential": {"type": "cert", "blob": "x", "user_id": "?"}}),
            "/credential/user_id",
            "users/{user_id}",
        ),
        (
            "POST",
            credentials,
            json!({"application_credential": {"name": "n", "roles": [{"id": "?"}]}}),
            "/application_credential/roles/0/id",
            "roles/{role_id}",
        ),
        (
            "POST",
            credentials,
            json!({"application_credential": {"name": "n", "access_rules": [{"id": "?"}]}}),
            "/application_credential/access_rules/0/id",
            "access_rules/{access_rule_id}",
        ),
        (
            "POST",
            "/identity/v3/OS-TRUST/trusts",
            json!({"trust": {"trustor_user_id": "?", "trustee_user_id": of("users/{user_id}"),
                "project_id": of("projects/{project_id}"), "impersonation": false, "roles": [{"name": "member"}]}}),
            "/trust/trustor_user_id",
            "users/{user_id}",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_id_in_any_body_is_answered_as_nobodys() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (theirs, ours) = (world(&cloud, &admin, "a").await, world(&cloud, &admin, "b").await);
    let before = everything(&theirs, &admin).await;
    let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
    let mut wrong = Vec::new();
    for (method, path, body, pointer, key) in bodies(&ours) {
        let send = async |id: &str| {
            let mut body = body.clone();
            *body.pointer_mut(pointer).unwrap() = json!(id);
            if body["server"].is_object() {
                body["server"]["flavorRef"] = json!(flavor);
            }
            ours.client.send(ours.client.request(method, path).json(&body)).await
        };
        let anothers = theirs.of(key).unwrap();
        let nobodys = absent(anothers);
        let (one, other) = (send(anothers).await, send(&nobodys).await);
        let ids = [anothers, nobodys.as_str()];
        if !(400..500).contains(&one.status) || told(&one, &ids) != told(&other, &ids) {
            wrong.push(format!("{method} {path} {pointer}: {one:?}\n  nobody's: {other:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(everything(&theirs, &admin).await, before, "what is theirs has changed");
}
