//! The network API on every engine: shapes, pages, refusals, hostile input, other tenants, races.

use canopy_tests::{Answer, Client, Cloud, engines, fixtures};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const V2: &str = "/network/v2.0";

pub async fn made(client: &Client, kind: &str, body: Value) -> Value {
    let answer = try_make(client, kind, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json[kind].clone()
}

pub async fn try_make(client: &Client, kind: &str, body: Value) -> Answer {
    client.post(&format!("{V2}/{kind}s"), &json!({ kind: body })).await
}

pub async fn network(client: &Client, name: &str) -> String {
    made(client, "network", json!({"name": name})).await["id"].as_str().expect("an id").to_owned()
}

async fn subnet(client: &Client, network: &str, cidr: &str) -> Value {
    made(client, "subnet", json!({"network_id": network, "ip_version": 4, "cidr": cidr})).await
}

pub fn refused(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["NeutronError"]["type"], kind, "{answer:?}");
    assert_eq!(answer.json["NeutronError"]["detail"], "");
    assert!(
        answer.json["NeutronError"]["message"].as_str().is_some_and(|m| !m.is_empty() && m.len() < 1_000)
    );
}

async fn ids(client: &Client, path: &str, key: &str) -> Vec<String> {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json[key].as_array().expect("a list");
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_is_anonymous_and_true() {
    let cloud = Cloud::start().await;
    let anonymous = cloud.anonymous();
    for path in ["/network", "/network/"] {
        let answer = anonymous.get(path).await;
        assert_eq!((answer.status, &answer.json["versions"][0]["id"]), (200, &json!("v2.0")), "{answer:?}");
        assert_eq!(answer.json["versions"][0]["links"][0]["href"], format!("{}/network/v2.0/", cloud.url));
    }
    for path in ["/network/v2.0", "/network/v2.0/"] {
        let answer = anonymous.get(path).await;
        let names: Vec<&str> =
            answer.json["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(["subnet", "network", "port"].iter().all(|name| names.contains(name)), "{answer:?}");
    }
    let list = anonymous.get(&format!("{V2}/extensions")).await;
    let extensions = list.json["extensions"].as_array().unwrap().clone();
    assert!(extensions.iter().any(|e| e["alias"] == "net-mtu"));
    assert!(extensions.iter().all(|e| e["alias"] != "security-group" && e["alias"] != "router"));
    for extension in extensions {
        let alias = extension["alias"].as_str().unwrap();
        let one = anonymous.get(&format!("{V2}/extensions/{alias}")).await;
        assert_eq!(one.json["extension"], extension);
    }
    refused(&anonymous.get(&format!("{V2}/extensions/router")).await, 404, "HTTPNotFound");
    let answer = anonymous.get(&format!("{V2}/networks")).await;
    assert_eq!((answer.status, &answer.json["error"]["code"]), (401, &json!(401)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_lives_with_its_subnet_and_port() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (one, admin) = (cloud.tenant("one").await, cloud.admin().await);

        let body = json!({"name": "net", "description": "a\nb", "mtu": 1400, "admin_state_up": "true"});
        let net = made(&one, "network", body).await;
        let id = net["id"].as_str().unwrap();
        for (name, value) in [
            ("name", json!("net")),
            ("description", json!("a\nb")),
            ("mtu", json!(1400)),
            ("status", json!("ACTIVE")),
            ("admin_state_up", json!(true)),
            ("shared", json!(false)),
            ("router:external", json!(false)),
            ("port_security_enabled", json!(true)),
            ("subnets", json!([])),
            ("tags", json!([])),
            ("revision_number", json!(1)),
        ] {
            assert_eq!(net[name], value, "{name}");
        }
        assert_eq!(net["tenant_id"], net["project_id"]);
        assert!(net["created_at"].as_str().unwrap().ends_with('Z'));
        assert!(net.get("provider:network_type").is_none());
        let seen = admin.get(&format!("{V2}/networks/{id}")).await;
        assert_eq!(seen.json["network"]["provider:network_type"], "local");

        let sub = subnet(&one, id, "10.0.0.0/24").await;
        assert_eq!(sub["gateway_ip"], "10.0.0.1");
        assert_eq!(sub["allocation_pools"], json!([{"start": "10.0.0.2", "end": "10.0.0.254"}]));
        assert_eq!(
            (&sub["enable_dhcp"], &sub["ip_version"], &sub["cidr"]),
            (&json!(true), &json!(4), &json!("10.0.0.0/24"))
        );
        let sub_id = sub["id"].as_str().unwrap();
        let shown = one.get(&format!("{V2}/networks/{id}")).await;
        assert_eq!(shown.json["network"]["subnets"], json!([sub_id]));

        // The service's port came with the first subnet that has DHCP.
        let dhcp = one.get(&format!("{V2}/ports?network_id={id}&device_owner=network:dhcp")).await;
        let dhcp = &dhcp.json["ports"][0];
        assert_eq!(dhcp["fixed_ips"], json!([{"subnet_id": sub_id, "ip_address": "10.0.0.2"}]));

        let port = made(&one, "port", json!({"network_id": id, "name": "p"})).await;
        let port_id = port["id"].as_str().unwrap();
        assert_eq!(port["fixed_ips"], json!([{"subnet_id": sub_id, "ip_address": "10.0.0.3"}]));
        assert!(port["mac_address"].as_str().unwrap().starts_with("fa:16:3e:"));
        assert_eq!(
            (&port["status"], &port["device_id"], &port["device_owner"]),
            (&json!("DOWN"), &json!(""), &json!(""))
        );
        assert!(port.get("binding:host_id").is_none());
        let groups = one.get(&format!("{V2}/security-groups?name=default")).await;
        assert_eq!(groups.json["security_groups"].as_array().unwrap().len(), 1);
        assert_eq!(port["security_groups"], json!([groups.json["security_groups"][0]["id"]]));
        assert_eq!(
            admin.get(&format!("{V2}/ports/{port_id}")).await.json["port"]["binding:vif_type"],
            "unbound"
        );

        refused(&one.delete(&format!("{V2}/networks/{id}")).await, 409, "NetworkInUse");
        refused(&one.delete(&format!("{V2}/subnets/{sub_id}")).await, 409, "SubnetInUse");
        refused(&one.delete(&format!("{V2}/ports/{}", dhcp["id"].as_str().unwrap())).await, 409, "PortInUse");

        let change =
            json!({"port": {"name": "q", "fixed_ips": [{"ip_address": "10.0.0.77"}], "device_id": "mine"}});
        let changed = one.put(&format!("{V2}/ports/{port_id}"), &change).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(
            changed.json["port"]["fixed_ips"],
            json!([{"subnet_id": sub_id, "ip_address": "10.0.0.77"}])
        );
        assert_eq!(changed.json["port"]["revision_number"], 2);

        let change = json!({"subnet": {"gateway_ip": null, "dns_nameservers": ["9.9.9.9"], "enable_dhcp": false,
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]}});
        let changed = one.put(&format!("{V2}/subnets/{sub_id}"), &change).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(changed.json["subnet"]["gateway_ip"], Value::Null);
        assert_eq!(changed.json["subnet"]["dns_nameservers"], json!(["9.9.9.9"]));
        assert!(ids(&one, &format!("{V2}/ports?device_owner=network:dhcp"), "ports").await.is_empty());

        let changed =
            one.put(&format!("{V2}/networks/{id}"), &json!({"network": {"name": "new", "mtu": 1300}})).await;
        assert_eq!((changed.status, &changed.json["network"]["mtu"]), (200, &json!(1300)), "{changed:?}");

        for path in [format!("ports/{port_id}"), format!("subnets/{sub_id}"), format!("networks/{id}")] {
            let gone = one.delete(&format!("{V2}/{path}")).await;
            assert_eq!((gone.status, gone.body.len()), (204, 0), "{path}");
            assert_eq!(one.get(&format!("{V2}/{path}")).await.status, 404, "{path}");
            assert_eq!(one.delete(&format!("{V2}/{path}")).await.status, 404, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_takes_its_subnets_and_its_charges_with_it() {
    for engine in engines() {
        let cloud = Cloud::start_with(engine, |_| {}, None).await;
        let one = cloud.tenant("one").await;
        let project = network_project(&one).await;
        let id = network(&one, "n").await;
        subnet(&one, &id, "10.0.0.0/24").await;
        subnet(&one, &id, "10.0.1.0/24").await;
        assert_eq!(usage(&cloud, &project).await, [("networks", 2), ("ports", 0), ("subnets", 2)]);
        assert_eq!(one.delete(&format!("{V2}/networks/{id}")).await.status, 204);
        assert!(ids(&one, &format!("{V2}/subnets"), "subnets").await.is_empty());
        assert!(ids(&one, &format!("{V2}/ports"), "ports").await.is_empty());
        assert_eq!(usage(&cloud, &project).await, [("networks", 1), ("ports", 0), ("subnets", 0)]);
    }
}

/// The project's id, told by a network that stays.
async fn network_project(client: &Client) -> String {
    made(client, "network", json!({"name": "stays"})).await["project_id"].as_str().expect("an id").to_owned()
}

async fn usage(cloud: &Cloud, project: &str) -> [(&'static str, i64); 3] {
    let project = project.into();
    let usage = cloud
        .app()
        .store
        .read(move |c| Box::pin(async move { canopy_store::quota::usage(c, &project).await }))
        .await
        .expect("usage");
    ["networks", "ports", "subnets"].map(|name| (name, usage.used.get(name).copied().unwrap_or(0)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_is_all_or_nothing_and_within_quota() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let one = cloud.tenant("one").await;
        let many = |n: usize| json!({"networks": (0..n).map(|i| json!({"name": format!("n{i}")})).collect::<Vec<_>>()});
        let answer = one.post(&format!("{V2}/networks"), &many(3)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json["networks"].as_array().unwrap().len(), 3);
        let over = one.post(&format!("{V2}/networks"), &many(98)).await;
        refused(&over, 409, "OverQuota");
        assert!(over.text().contains("Quota exceeded for resources: ['network']"), "{over:?}");
        assert_eq!(ids(&one, &format!("{V2}/networks"), "networks").await.len(), 3);
        refused(&one.post(&format!("{V2}/networks"), &many(201)).await, 400, "HTTPBadRequest");

        let id = network(&one, "p").await;
        subnet(&one, &id, "10.0.0.0/29").await;
        // 6 addresses but for the gateway's and the service's.
        let ports = |n: usize| json!({"ports": vec![json!({"network_id": id}); n]});
        refused(&one.post(&format!("{V2}/ports"), &ports(5)).await, 409, "IpAddressGenerationFailure");
        assert_eq!(one.post(&format!("{V2}/ports"), &ports(4)).await.status, 201);
        let overlapping = json!({"subnets": [
            {"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/24"},
            {"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/25"},
        ]});
        refused(&one.post(&format!("{V2}/subnets"), &overlapping).await, 400, "InvalidInput");
        assert_eq!(ids(&one, &format!("{V2}/subnets"), "subnets").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_sort_cut_and_page() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let one = cloud.tenant("one").await;
        let names = ["b", "a", "c", "a", "ü %_&"];
        let body = json!({"networks": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
        assert_eq!(one.post(&format!("{V2}/networks"), &body).await.status, 201);
        let list = async |query: &str| one.get(&format!("{V2}/networks?{query}")).await;
        let listed = async |query: &str| {
            let answer = list(query).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            let rows = answer.json["networks"].as_array().unwrap().clone();
            rows.iter().map(|row| row["name"].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(listed("name=a&name=c&sort_key=name&sort_dir=desc").await, ["c", "a", "a"]);
        assert_eq!(listed("name=%C3%BC%20%25_%26").await, ["ü %_&"]);
        assert_eq!(listed("name=a&shared=true").await, [""; 0]);
        assert_eq!(listed("router:external=True").await, [""; 0]);
        assert_eq!(listed("router:external=False&status=ACTIVE&name=b").await, ["b"]);
        assert_eq!(listed("tags=x").await, [""; 0]);
        assert_eq!(listed("changed_since=2100-01-01T00:00:00Z").await, [""; 0]);
        assert_eq!(listed("changed_since=2001-01-01T00:00:00Z").await.len(), 5);
        assert_eq!(list("fields=id&name=b").await.json["networks"][0].as_object().unwrap().len(), 1);

        // Every page once, forward along the links and back again.
        let mut seen = Vec::new();
        let mut path = format!("{V2}/networks?limit=2&sort_key=name&sort_dir=asc");
        let mut last = Value::Null;
        for _ in 0..10 {
            let page = one.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            let rows = page.json["networks"].as_array().unwrap();
            seen.extend(rows.iter().map(|row| (row["name"].clone(), row["id"].clone())));
            last = page.json.clone();
            match link(&page.json, "next") {
                Some(href) => path = href.strip_prefix(&cloud.url).expect("the link leads back").to_owned(),
                None => break,
            }
        }
        assert_eq!(seen.len(), 5);
        assert_eq!(
            seen.iter().map(|(name, _)| name.as_str().unwrap()).collect::<Vec<_>>(),
            ["a", "a", "b", "c", "ü %_&"]
        );
        assert_eq!(seen.iter().map(|(_, id)| id.as_str()).collect::<BTreeSet<_>>().len(), 5);
        let back = link(&last, "previous").expect("a way back");
        let back = one.get(back.strip_prefix(&cloud.url).unwrap()).await;
        let names: Vec<&str> =
            back.json["networks"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert_eq!(names, ["b", "c"]);

        for bad in [
            "foo=1",
            "limit=-1",
            "limit=x",
            "sort_key=nope&sort_dir=asc",
            "sort_key=name&sort_dir=up",
            "sort_dir=asc",
            "marker=nope",
            "marker=%00",
            "name=%00",
            "shared=maybe",
            "mtu=9999999999999999999",
            "changed_since=now",
            "page_reverse=maybe",
        ] {
            assert_eq!(list(bad).await.status, 400, "{bad}");
        }
        let keys = "sort_key=name&sort_dir=asc&".repeat(250);
        assert_eq!(listed(&format!("{keys}limit=1&marker={}", seen[0].1.as_str().unwrap())).await, ["a"]);
        let values = "name=x&".repeat(1_000);
        assert_eq!(listed(&values).await, [""; 0]);
    }
}

fn link<'a>(page: &'a Value, rel: &str) -> Option<&'a str> {
    page["networks_links"].as_array()?.iter().find(|link| link["rel"] == rel)?["href"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_found_by_what_they_have() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let one = cloud.tenant("one").await;
        let id = network(&one, "n").await;
        let sub = subnet(&one, &id, "10.0.0.0/24").await;
        let sub = sub["id"].as_str().unwrap();
        let port = made(
            &one,
            "port",
            json!({"network_id": id, "fixed_ips": [{"ip_address": "10.0.0.50"}],
            "mac_address": "FA-16-3E-00-00-AA"}),
        )
        .await;
        let port_id = port["id"].as_str().unwrap();
        assert_eq!(port["mac_address"], "fa:16:3e:00:00:aa");
        let group = port["security_groups"][0].as_str().unwrap();
        for query in [
            "fixed_ips=ip_address=10.0.0.50".to_owned(),
            "fixed_ips=ip_address%3D10.0.0.50".to_owned(),
            format!("fixed_ips=ip_address=10.0.0.50&fixed_ips=subnet_id={sub}"),
            "fixed_ips=ip_address_substr=0.50".to_owned(),
            format!("security_groups={group}"),
            "mac_address=fa:16:3e:00:00:aa".to_owned(),
            format!("network_id={id}&device_owner="),
            format!("id={port_id}"),
        ] {
            assert_eq!(ids(&one, &format!("{V2}/ports?{query}"), "ports").await, [port_id], "{query}");
        }
        assert_eq!(ids(&one, &format!("{V2}/ports?fixed_ips=subnet_id={sub}"), "ports").await.len(), 2);
        assert!(ids(&one, &format!("{V2}/ports?fixed_ips=ip_address_substr=%25"), "ports").await.is_empty());
        assert_eq!(one.get(&format!("{V2}/ports?binding:host_id=x")).await.status, 403);

        refused(
            &try_make(&one, "port", json!({"network_id": id, "mac_address": "fa:16:3e:00:00:aa"})).await,
            409,
            "MacAddressInUse",
        );
        for (ip, status, kind) in [
            ("10.0.0.50", 409, "IpAddressAlreadyAllocated"),
            ("10.0.0.255", 400, "InvalidIpForSubnet"),
            ("10.0.1.5", 400, "InvalidIpForNetwork"),
            ("nonsense", 400, "HTTPBadRequest"),
        ] {
            let body = json!({"network_id": id, "fixed_ips": [{"ip_address": ip}]});
            refused(&try_make(&one, "port", body).await, status, kind);
        }
        let taken = json!({"port": {"fixed_ips": [{"ip_address": "10.0.0.2"}]}});
        refused(&one.put(&format!("{V2}/ports/{port_id}"), &taken).await, 409, "IpAddressAlreadyAllocated");
        let kept = one.get(&format!("{V2}/ports/{port_id}")).await;
        assert_eq!(kept.json["port"]["fixed_ips"][0]["ip_address"], "10.0.0.50");
        assert_eq!(
            made(&one, "port", json!({"network_id": id, "fixed_ips": []})).await["fixed_ips"],
            json!([])
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_are_refused_and_named() {
    let cloud = Cloud::start().await;
    let one = cloud.tenant("one").await;
    let id = network(&one, "n").await;
    let nowhere = "0123abcd-ef45-4678-9abc-def012345678";
    subnet(&one, &id, "10.0.0.0/24").await;
    let long = "x".repeat(256);
    for body in [
        json!({}),
        json!([]),
        json!({"network": null}),
        json!({"network": []}),
        json!({"networks": []}),
        json!({"networks": [[]]}),
        json!({"network": {"name": 1}}),
        json!({"network": {"name": long}}),
        json!({"network": {"name": "a\u{0}"}}),
        json!({"network": {"nme": "x"}}),
        json!({"network": {"id": nowhere}}),
        json!({"network": {"admin_state_up": "perhaps"}}),
        json!({"network": {"mtu": -1}}),
        json!({"network": {"mtu": 67}}),
        json!({"network": {"mtu": 1e300}}),
        json!({"network": {"router:external": true}}),
        json!({"network": {"tenant_id": "a", "project_id": "b"}}),
        json!({"network": {"project_id": nowhere}}),
        json!({"network": {"provider:segmentation_id": "seven"}}),
    ] {
        let answer = one.post(&format!("{V2}/networks"), &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body.len() < 1_000, "{answer:?}");
    }
    let unknown = one.post(&format!("{V2}/networks"), &json!({"network": {"nme": "x"}})).await;
    assert_eq!(unknown.json["NeutronError"]["message"], "Unrecognized attribute(s) 'nme'");
    for (change, status, kind) in [
        (json!({"cidr": "10.0.0.5/24"}), 400, "HTTPBadRequest"),
        (json!({"cidr": "10.0.0.128/25"}), 400, "InvalidInput"),
        (json!({"cidr": "10.0.0.0/8"}), 400, "InvalidInput"),
        (json!({"cidr": "10.0.0.0/99"}), 400, "HTTPBadRequest"),
        (json!({"cidr": "fd00::/64"}), 400, "InvalidInput"),
        (json!({"ip_version": 6, "cidr": "fd00::/64"}), 400, "InvalidInput"),
        (json!({"ip_version": 7}), 400, "HTTPBadRequest"),
        (json!({"gateway_ip": "10.9.9.9"}), 400, "InvalidInput"),
        (
            json!({"allocation_pools": [{"start": "10.1.0.9", "end": "10.1.0.2"}]}),
            400,
            "InvalidAllocationPool",
        ),
        (
            json!({"allocation_pools": [{"start": "10.1.0.1", "end": "10.1.0.2"}]}),
            409,
            "GatewayConflictWithAllocationPools",
        ),
        (
            json!({"dns_nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6"]}),
            400,
            "DNSNameServersExhausted",
        ),
        (
            json!({"host_routes": vec![json!({"destination": "10.7.0.0/16", "nexthop": "10.1.0.9"}); 21]}),
            400,
            "HostRoutesExhausted",
        ),
        (json!({"network_id": nowhere}), 404, "NetworkNotFound"),
    ] {
        let mut body = json!({"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/24"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        refused(&try_make(&one, "subnet", body).await, status, kind);
    }
    for change in [
        json!({"device_owner": "compute:nova"}),
        json!({"device_owner": "network:dhcp"}),
        json!({"security_groups": ["x"]}),
        json!({"fixed_ips": vec![json!({"ip_address": "10.0.0.9"}); 1_000]}),
        json!({"mac_address": "ff:ff:ff:ff:ff:ff"}),
        json!({"binding:host_id": "h"}),
        json!({"network_id": 5}),
    ] {
        let mut body = json!({"network_id": id});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(try_make(&one, "port", body).await.status, 400, "{change}");
    }
    refused(
        &try_make(&one, "port", json!({"network_id": id, "security_groups": [nowhere]})).await,
        404,
        "SecurityGroupNotFound",
    );
    let raw = one.request("POST", &format!("{V2}/networks")).header("content-type", "application/json");
    assert_eq!(one.send(raw.body("{\"network\": ")).await.status, 400);
    for path in
        ["networks/..%2f..", "networks/nope", "networks/%00", "ports/1", "subnets/x", "security-groups/x"]
    {
        assert_eq!(one.get(&format!("{V2}/{path}")).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_network_is_as_if_it_were_not() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (one, two, admin) = (cloud.tenant("one").await, cloud.tenant("two").await, cloud.admin().await);
        let id = network(&one, "mine").await;
        let sub = subnet(&one, &id, "10.0.0.0/24").await;
        let sub = sub["id"].as_str().unwrap().to_owned();
        let port = made(&one, "port", json!({"network_id": id})).await;
        let (port, group) = (port["id"].as_str().unwrap(), port["security_groups"][0].as_str().unwrap());
        let rules = one.get(&format!("{V2}/security-group-rules")).await;
        let rule = rules.json["security_group_rules"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(rules.json["security_group_rules"].as_array().unwrap().len(), 4);

        let nowhere = "0123abcd-ef45-4678-9abc-def012345678";
        for (kind, plural, own) in
            [("network", "networks", id.as_str()), ("subnet", "subnets", &sub), ("port", "ports", port)]
        {
            let change = json!({ kind: {"name": "x"} });
            for (mine, theirs) in [
                (
                    two.get(&format!("{V2}/{plural}/{own}")).await,
                    two.get(&format!("{V2}/{plural}/{nowhere}")).await,
                ),
                (
                    two.delete(&format!("{V2}/{plural}/{own}")).await,
                    two.delete(&format!("{V2}/{plural}/{nowhere}")).await,
                ),
                (
                    two.put(&format!("{V2}/{plural}/{own}"), &change).await,
                    two.put(&format!("{V2}/{plural}/{nowhere}"), &change).await,
                ),
            ] {
                assert_eq!((mine.status, theirs.status), (404, 404), "{mine:?}");
                assert_eq!(mine.text().replace(own, nowhere), theirs.text());
            }
            assert!(!ids(&two, &format!("{V2}/{plural}"), plural).await.contains(&own.to_owned()));
            assert!(ids(&two, &format!("{V2}/{plural}?id={own}"), plural).await.is_empty());
            assert_eq!(two.get(&format!("{V2}/{plural}?limit=1&marker={own}")).await.status, 400);
            assert!(ids(&admin, &format!("{V2}/{plural}"), plural).await.contains(&own.to_owned()));
        }
        assert_eq!(two.get(&format!("{V2}/security-groups/{group}")).await.status, 404);
        assert_eq!(two.get(&format!("{V2}/security-group-rules/{rule}")).await.status, 404);
        assert_eq!(one.get(&format!("{V2}/security-group-rules/{rule}")).await.status, 200);
        refused(
            &try_make(&two, "subnet", json!({"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/24"}))
                .await,
            404,
            "NetworkNotFound",
        );
        refused(&try_make(&two, "port", json!({"network_id": id})).await, 404, "NetworkNotFound");
        let own = network(&two, "theirs").await;
        refused(
            &try_make(&two, "port", json!({"network_id": own, "security_groups": [group]})).await,
            404,
            "SecurityGroupNotFound",
        );
        refused(
            &try_make(&two, "network", json!({"name": "x", "shared": true})).await,
            403,
            "PolicyNotAuthorized",
        );

        // An admin works for others.
        let project = one.get(&format!("{V2}/networks/{id}")).await.text_at("/network/project_id").to_owned();
        let for_one = made(&admin, "network", json!({"name": "given", "tenant_id": project})).await;
        assert_eq!((&for_one["project_id"], &for_one["tenant_id"]), (&json!(project), &json!(project)));
        assert_eq!(one.get(&format!("{V2}/networks/{}", for_one["id"].as_str().unwrap())).await.status, 200);
        let listed = admin.get(&format!("{V2}/security-groups?project_id={project}&name=default")).await;
        assert_eq!(listed.json["security_groups"][0]["id"], group);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_network_is_used_but_not_shaped() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (two, admin) = (cloud.tenant("two").await, cloud.admin().await);
        let shared = made(&admin, "network", json!({"name": "all", "shared": true})).await;
        let id = shared["id"].as_str().unwrap();
        let sub = subnet(&admin, id, "10.0.0.0/24").await;
        let sub = sub["id"].as_str().unwrap();
        assert_eq!(ids(&two, &format!("{V2}/networks"), "networks").await, [id]);
        assert_eq!(ids(&two, &format!("{V2}/subnets?shared=true"), "subnets").await, [sub]);
        assert_eq!(two.get(&format!("{V2}/subnets/{sub}")).await.status, 200);
        // Others' ports on it stay hidden.
        assert!(ids(&two, &format!("{V2}/ports"), "ports").await.is_empty());
        let port = made(&two, "port", json!({"network_id": id})).await;
        assert_eq!(ids(&two, &format!("{V2}/ports"), "ports").await, [port["id"].as_str().unwrap()]);
        for body in [
            json!({"network_id": id, "mac_address": "fa:16:3e:00:00:01"}),
            json!({"network_id": id, "fixed_ips": [{"ip_address": "10.0.0.9"}]}),
            json!({"network_id": id, "port_security_enabled": false}),
        ] {
            refused(&try_make(&two, "port", body).await, 403, "PolicyNotAuthorized");
        }
        refused(
            &try_make(&two, "subnet", json!({"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/24"}))
                .await,
            403,
            "PolicyNotAuthorized",
        );
        let change = json!({"network": {"name": "x"}});
        assert_eq!(two.put(&format!("{V2}/networks/{id}"), &change).await.status, 403);
        assert_eq!(two.delete(&format!("{V2}/networks/{id}")).await.status, 403);
        assert_eq!(two.delete(&format!("{V2}/subnets/{sub}")).await.status, 403);
        let private = json!({"network": {"shared": false}});
        refused(&admin.put(&format!("{V2}/networks/{id}"), &private).await, 409, "InvalidSharedSetting");
        let gone = two.delete(&format!("{V2}/ports/{}", port["id"].as_str().unwrap())).await;
        assert_eq!(gone.status, 204);
        assert_eq!(admin.put(&format!("{V2}/networks/{id}"), &private).await.status, 200);
        assert_eq!(two.get(&format!("{V2}/networks/{id}")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_ports_as_addresses_however_they_race() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let one = cloud.tenant("one").await;
        let id = network(&one, "n").await;
        subnet(&one, &id, "10.0.0.0/28").await;
        // 14 hosts but for the gateway and the service.
        const FREE: usize = 12;
        let answers = join_all((0..50).map(|_| try_make(&one, "port", json!({"network_id": id})))).await;
        let mut ips = BTreeSet::new();
        for answer in &answers {
            match answer.status {
                201 => {
                    let ip = answer.text_at("/port/fixed_ips/0/ip_address").to_owned();
                    assert!(ips.insert(ip.clone()), "{ip} was given twice");
                }
                _ => refused(answer, 409, "IpAddressGenerationFailure"),
            }
        }
        assert_eq!(ips.len(), FREE, "{engine:?}");
        let project =
            answers.iter().find(|a| a.status == 201).unwrap().text_at("/port/project_id").to_owned();
        assert_eq!(usage(&cloud, &project).await[1], ("ports", FREE as i64));
        // One default group came of all of them.
        assert_eq!(ids(&one, &format!("{V2}/security-groups"), "security_groups").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_race_for_one_shared_subnet() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let shared = made(&admin, "network", json!({"name": "all", "shared": true})).await;
        let id = shared["id"].as_str().unwrap();
        subnet(&admin, id, "10.0.0.0/28").await;
        let mut tenants = Vec::new();
        for name in ["a", "b", "c", "d"] {
            tenants.push(cloud.tenant(name).await);
        }
        let work = tenants.iter().flat_map(|tenant| (0..6).map(move |_| tenant));
        let answers = join_all(work.map(|tenant| try_make(tenant, "port", json!({"network_id": id})))).await;
        let made: BTreeSet<&str> = answers
            .iter()
            .filter(|a| a.status == 201)
            .map(|a| a.text_at("/port/fixed_ips/0/ip_address"))
            .collect();
        assert_eq!(made.len(), 12, "{answers:?}");
        for answer in answers.iter().filter(|a| a.status != 201) {
            refused(answer, 409, "IpAddressGenerationFailure");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subnets_that_race_do_not_overlap() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let one = cloud.tenant("one").await;
        let id = network(&one, "n").await;
        let body = json!({"network_id": id, "ip_version": 4, "cidr": "10.0.0.0/24"});
        let answers = join_all((0..10).map(|_| try_make(&one, "subnet", body.clone()))).await;
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1);
        for answer in answers.iter().filter(|a| a.status != 201) {
            refused(answer, 400, "InvalidInput");
        }
        assert_eq!(ids(&one, &format!("{V2}/ports?device_owner=network:dhcp"), "ports").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_brings_its_ports_and_takes_them() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (one, admin) = (cloud.tenant("one").await, cloud.admin().await);
        let flavor = fixtures::flavor(&admin, "small", 1, 64, 1).await;
        let image = fixtures::image(&one, "image").await;
        let id = network(&one, "net").await;
        subnet(&one, &id, "10.0.0.0/24").await;
        let own =
            made(&one, "port", json!({"network_id": id, "fixed_ips": [{"ip_address": "10.0.0.40"}]})).await;
        let own = own["id"].as_str().unwrap();
        let mut body = fixtures::server("s", &flavor, &image);
        body["server"]["networks"] = json!([{"port": own}, {"uuid": id, "fixed_ip": "10.0.0.41"}]);
        let server = fixtures::boot(&one, &body).await;
        let shown = fixtures::until_status(&one, &server, "ACTIVE").await;
        let mut ips: Vec<&str> =
            shown["addresses"]["net"].as_array().unwrap().iter().filter_map(|a| a["addr"].as_str()).collect();
        ips.sort_unstable();
        assert_eq!(ips, ["10.0.0.40", "10.0.0.41"]);
        let own_ips = format!("/compute/v2.1/servers/{server}/ips");
        let all = one.get(&own_ips).await;
        let on_net = all.json["addresses"]["net"].clone();
        assert!(on_net.as_array().unwrap().contains(&json!({"addr": "10.0.0.40", "version": 4})), "{all:?}");
        assert_eq!(one.get(&format!("{own_ips}/net")).await.json, json!({ "net": on_net }));
        assert_eq!(one.get(&format!("{own_ips}/other")).await.status, 404);

        let ports = one.get(&format!("{V2}/ports?device_id={server}")).await;
        let ports = ports.json["ports"].as_array().unwrap().clone();
        assert_eq!(ports.len(), 2);
        for port in &ports {
            assert_eq!(
                (&port["status"], &port["device_owner"]),
                (&json!("ACTIVE"), &json!("compute:nova")),
                "{port}"
            );
            refused(
                &one.delete(&format!("{V2}/ports/{}", port["id"].as_str().unwrap())).await,
                409,
                "PortInUse",
            );
        }
        let seen = admin.get(&format!("{V2}/ports/{own}")).await;
        assert_eq!(
            (&seen.json["port"]["binding:host_id"], &seen.json["port"]["binding:vif_type"]),
            (&json!("host-1"), &json!("bridge"))
        );

        // The host's desired state has the network with everything on it.
        let host = cloud.hosts().await[0].id;
        let before = cloud.hosts().await[0].revision;
        let specs = cloud
            .app()
            .store
            .read(move |c| Box::pin(async move { canopy_store::ports::specs_for_host(c, host).await }))
            .await
            .unwrap();
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].subnets[0].service_ip.map(|ip| ip.to_string()).as_deref(), Some("10.0.0.2"));
        assert_eq!(specs[0].ports.len(), 3);
        assert_eq!(specs[0].ports.iter().filter(|p| p.server_id.is_some() && p.hostname == "s").count(), 2);
        let change = json!({"network": {"mtu": 1400}});
        assert_eq!(one.put(&format!("{V2}/networks/{id}"), &change).await.status, 200);
        assert!(cloud.hosts().await[0].revision > before);

        // What the server needs is not to be had twice.
        let mut twice = fixtures::server("t", &flavor, &image);
        twice["server"]["networks"] = json!([{"port": own}]);
        assert_eq!(one.at("2.37").post("/compute/v2.1/servers", &twice).await.status, 409);
        twice["server"]["networks"] = json!([{"uuid": id, "fixed_ip": "10.0.0.41"}]);
        assert_eq!(one.at("2.37").post("/compute/v2.1/servers", &twice).await.status, 400);
        let other = cloud.tenant("two").await;
        twice["server"]["networks"] = json!([{"uuid": id}]);
        twice["server"]["imageRef"] = json!(fixtures::image(&other, "image").await);
        assert_eq!(other.at("2.37").post("/compute/v2.1/servers", &twice).await.status, 400);

        assert_eq!(one.delete(&format!("/compute/v2.1/servers/{server}")).await.status, 204);
        fixtures::until_gone(&one, &server).await;
        assert_eq!(ids(&one, &format!("{V2}/ports?device_id={server}"), "ports").await, [""; 0]);
        let kept = one.get(&format!("{V2}/ports/{own}")).await;
        assert_eq!((kept.status, &kept.json["port"]["status"]), (200, &json!("DOWN")));
        let project = kept.text_at("/port/project_id").to_owned();
        assert_eq!(usage(&cloud, &project).await[1], ("ports", 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_finds_the_only_network_or_says_why_not() {
    let cloud = Cloud::start().await;
    let (one, admin) = (cloud.tenant("one").await, cloud.admin().await);
    let flavor = fixtures::flavor(&admin, "small", 1, 64, 1).await;
    let image = fixtures::image(&one, "image").await;
    let mut body = fixtures::server("s", &flavor, &image);
    body["server"]["networks"] = json!("auto");
    let none = one.at("2.37").post("/compute/v2.1/servers", &body).await;
    assert_eq!(none.status, 400, "{none:?}");
    let id = network(&one, "net").await;
    let bare = one.at("2.37").post("/compute/v2.1/servers", &body).await;
    assert_eq!(bare.status, 400, "{bare:?}");
    subnet(&one, &id, "10.0.0.0/29").await;
    for _ in 0..4 {
        fixtures::boot(&one, &body).await;
    }
    network(&one, "second").await;
    let many = one.at("2.37").post("/compute/v2.1/servers", &body).await;
    assert_eq!(many.status, 409, "{many:?}");
    assert!(many.text().contains("Multiple possible networks found"));
}
