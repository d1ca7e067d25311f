//! What operators write with the placement API steers servers: traits, reserved amounts, unit sizes, custom classes,
//! devices below a host, storage that hosts share.

use super::{controller, controller_with, host_of, ready, register, report, special};
use canopy_tests::fixtures::{boot, server, show};
use canopy_tests::{Answer, Client, Engine, engines};
use canopy_types::HostId;
use canopy_types::server::Phase;
use serde_json::{Value, json};

const PROVIDERS: &str = "/placement/resource_providers";

/// The placement API at its newest version.
fn placement(admin: &Client) -> Client {
    admin.with_header("openstack-api-version", "placement 1.39")
}

async fn write(client: &Client, provider: &str, what: &str, mut body: Value) -> Answer {
    let shown = client.get(&format!("{PROVIDERS}/{provider}")).await;
    body["resource_provider_generation"] = shown.json["generation"].clone();
    let answer = client.put(&format!("{PROVIDERS}/{provider}/{what}"), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn mark(client: &Client, provider: &str, traits: &[&str]) {
    for name in traits.iter().filter(|name| name.starts_with("CUSTOM_")) {
        assert!(client.put(&format!("/placement/traits/{name}"), &Value::Null).await.status < 300);
    }
    write(client, provider, "traits", json!({ "traits": traits })).await;
}

/// One more inventory; the provider keeps the others.
async fn stock(client: &Client, provider: &str, class: &str, inventory: Value) {
    if class.starts_with("CUSTOM_") {
        assert!(client.put(&format!("/placement/resource_classes/{class}"), &Value::Null).await.status < 300);
    }
    let old = client.get(&format!("{PROVIDERS}/{provider}/inventories")).await;
    let mut all = old.json["inventories"].clone();
    all[class] = inventory;
    write(client, provider, "inventories", json!({ "inventories": all })).await;
}

async fn provider(client: &Client, name: &str, parent: Option<&str>) -> String {
    let body = json!({"name": name, "parent_provider_uuid": parent});
    let made = client.post(PROVIDERS, &body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.text_at("/uuid").to_owned()
}

async fn used(client: &Client, provider: &str, class: &str) -> i64 {
    let usages = client.get(&format!("{PROVIDERS}/{provider}/usages")).await;
    usages.json["usages"][class].as_i64().unwrap_or(0)
}

/// Boots and answers the host, or the fault of a refused server.
async fn place(admin: &Client, tenant: &Client, flavor: &str, image: &str) -> Result<String, String> {
    let id = boot(tenant, &server("s", flavor, image)).await;
    let shown = show(tenant, &id).await;
    match shown["fault"]["message"].as_str() {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(host_of(admin, &id).await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traits_of_hosts_steer_servers_and_the_refusal_names_the_one_to_drop() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("h1", 50), ("h2", 50)]).await;
        let (admin, tenant, plain, image) = ready(&cloud).await;
        let operator = placement(&admin);
        let fast = special(&admin, "fast", 1, &[("trait:CUSTOM_FAST", "required")]).await;
        let slow = special(&admin, "slow", 1, &[("trait:CUSTOM_FAST", "forbidden")]).await;
        let big = special(&admin, "big", 60, &[]).await;

        let fault = place(&admin, &tenant, &fast, &image).await.unwrap_err();
        assert!(fault.contains("refused by trait: h1 lacks CUSTOM_FAST"), "{fault}");
        assert!(
            fault.contains("It would fit with the rule about the trait CUSTOM_FAST left out."),
            "{fault}"
        );
        place(&admin, &tenant, &plain, &image).await.expect("the advice holds");
        let fault = place(&admin, &tenant, &big, &image).await.unwrap_err();
        assert!(fault.contains("It would fit with "), "{fault}");

        mark(&operator, &hosts[1].to_string(), &["CUSTOM_FAST", "HW_CPU_X86_AVX2"]).await;
        for _ in 0..3 {
            assert_eq!(place(&admin, &tenant, &fast, &image).await.as_deref(), Ok("h2"), "{engine:?}");
            assert_eq!(place(&admin, &tenant, &slow, &image).await.as_deref(), Ok("h1"), "{engine:?}");
        }
        let patch = tenant
            .request("PATCH", &format!("/image/v2/images/{image}"))
            .header("content-type", "application/openstack-images-v2.1-json-patch")
            .body(json!([{"op": "add", "path": "/trait:HW_CPU_X86_AVX2", "value": "required"}]).to_string());
        assert_eq!(tenant.send(patch).await.status, 200);
        assert_eq!(
            place(&admin, &tenant, &plain, &image).await.as_deref(),
            Ok("h2"),
            "the image asks for it"
        );
        let fault = place(&admin, &tenant, &slow, &image).await.unwrap_err();
        assert!(fault.contains("CUSTOM_FAST") && fault.contains("HW_CPU_X86_AVX2"), "{fault}");
        mark(&operator, &hosts[1].to_string(), &[]).await;
        place(&admin, &tenant, &fast, &image).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_classes_unit_sizes_and_reserved_amounts_count() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("h1", 50), ("h2", 50)]).await;
        let (admin, tenant, plain, image) = ready(&cloud).await;
        let operator = placement(&admin);
        let h2 = hosts[1].to_string();
        let slots = json!({"total": 8, "min_unit": 2, "max_unit": 4, "step_size": 2, "reserved": 2});
        stock(&operator, &h2, "CUSTOM_SLOT", slots).await;
        let three = special(&admin, "three", 1, &[("resources:CUSTOM_SLOT", "3")]).await;
        let four =
            special(&admin, "four", 1, &[("resources:CUSTOM_SLOT", "4"), ("resources:VCPU", "0")]).await;
        let two = special(&admin, "two", 1, &[("resources:CUSTOM_SLOT", "2")]).await;
        let none = special(&admin, "none", 1, &[("resources:CUSTOM_NOBODY_HAS", "1")]).await;

        let fault = place(&admin, &tenant, &three, &image).await.unwrap_err();
        assert!(fault.contains("h2 gives 2 to 4 CUSTOM_SLOT in steps of 2, not 3"), "{fault}");
        assert_eq!(place(&admin, &tenant, &four, &image).await.as_deref(), Ok("h2"), "{engine:?}");
        assert_eq!((used(&operator, &h2, "CUSTOM_SLOT").await, used(&operator, &h2, "VCPU").await), (4, 0));
        // 8 − 2 reserved − 4.
        let fault = place(&admin, &tenant, &four, &image).await.unwrap_err();
        assert!(fault.contains("2 of 2 hosts refused by capacity:CUSTOM_SLOT"), "{fault}");
        assert!(fault.contains("It would fit with 2 instead of 4 CUSTOM_SLOT."), "{fault}");
        assert_eq!(place(&admin, &tenant, &two, &image).await.as_deref(), Ok("h2"));
        place(&admin, &tenant, &none, &image).await.unwrap_err();

        // What the operator reserves on a host is not given away.
        for host in &hosts {
            let held = used(&operator, &host.to_string(), "DISK_GB").await;
            let old = operator.get(&format!("{PROVIDERS}/{host}/inventories/DISK_GB")).await;
            let mut disk = old.json.clone();
            disk["reserved"] = json!(50 - held);
            for key in ["resource_provider_generation", "used"] {
                disk.as_object_mut().unwrap().remove(key);
            }
            stock(&operator, &host.to_string(), "DISK_GB", disk).await;
        }
        let fault = place(&admin, &tenant, &plain, &image).await.unwrap_err();
        assert!(fault.contains("0 of 1 DISK_GB free"), "{fault}");
    }
}

/// Two GPUs of different sizes below h1, one below h2.
async fn gpus(operator: &Client, hosts: &[HostId]) -> Vec<String> {
    let mut all = Vec::new();
    for (name, host, total, size) in
        [("gpu-a", 0, 4, "CUSTOM_BIG"), ("gpu-b", 0, 2, "CUSTOM_SMALL"), ("gpu-c", 1, 2, "CUSTOM_SMALL")]
    {
        let id = provider(operator, name, Some(&hosts[host].to_string())).await;
        stock(operator, &id, "VGPU", json!({ "total": total })).await;
        mark(operator, &id, &[size]).await;
        all.push(id);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_resources_are_served_by_devices_below_a_host_and_claimed_there() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("h1", 50), ("h2", 50), ("h3", 50)]).await;
        let (admin, tenant, _, image) = ready(&cloud).await;
        let operator = placement(&admin);
        let devices = gpus(&operator, &hosts).await;
        let big =
            special(&admin, "big", 1, &[("resources1:VGPU", "3"), ("trait1:CUSTOM_BIG", "required")]).await;
        let id = boot(&tenant, &server("s", &big, &image)).await;
        assert_eq!(host_of(&admin, &id).await, "h1", "{engine:?}");
        let held = operator.get(&format!("/placement/allocations/{id}")).await;
        assert_eq!(held.json["allocations"][&devices[0]]["resources"], json!({"VGPU": 3}), "{held:?}");
        let own = &held.json["allocations"][hosts[0].to_string()]["resources"];
        assert_eq!(*own, json!({"DISK_GB": 1, "MEMORY_MB": 64, "VCPU": 1}), "{held:?}");
        let shown = admin.get(&format!("/canopy/v1/servers/{id}/decision")).await;
        let candidates = &shown.json["decision"]["document"]["candidates"];
        assert_eq!(candidates["groups"]["1"], json!([devices[0]]), "{shown:?}");
        assert!(!tenant.get(&format!("/canopy/v1/servers/{id}/decision")).await.text().contains(&devices[0]));

        // No provider has three left; one has one.
        let fault = place(&admin, &tenant, &big, &image).await.unwrap_err();
        assert!(
            fault.contains("no-candidate: no provider can give 3 VGPU with CUSTOM_BIG for group 1"),
            "{fault}"
        );
        assert!(fault.contains("1 instead of 3 resources1:VGPU"), "{fault}");
        let one =
            special(&admin, "one-big", 1, &[("resources1:VGPU", "1"), ("trait1:CUSTOM_BIG", "required")])
                .await;
        assert_eq!(place(&admin, &tenant, &one, &image).await.as_deref(), Ok("h1"), "the advice holds");

        // A class without a group may come from below the host too.
        let any = special(&admin, "any", 1, &[("resources:VGPU", "2")]).await;
        let mut found = Vec::new();
        for _ in 0..2 {
            found.push(place(&admin, &tenant, &any, &image).await.unwrap());
        }
        found.sort();
        assert_eq!(found, ["h1", "h2"]);
        place(&admin, &tenant, &any, &image).await.unwrap_err();

        // What ends gives back what it held, wherever that was.
        assert_eq!(used(&operator, &devices[0], "VGPU").await, 4);
        let listed = tenant.get("/compute/v2.1/servers").await;
        for one in listed.json["servers"].as_array().unwrap() {
            let path = format!("/compute/v2.1/servers/{}", one["id"].as_str().unwrap());
            assert_eq!(tenant.delete(&path).await.status, 204);
        }
        report(&cloud, &hosts, 5, None).await;
        for device in &devices {
            assert_eq!(used(&operator, device, "VGPU").await, 0);
        }

        // Each group a provider of its own, and several servers as one decision.
        let pair = [("resources1:VGPU", "1"), ("resources2:VGPU", "1"), ("group_policy", "isolate")];
        let pair = special(&admin, "pair", 1, &pair).await;
        let mut body = server("s", &pair, &image);
        body["server"]["min_count"] = json!(2);
        let id = boot(&tenant, &body).await;
        assert_eq!(show(&tenant, &id).await["status"], "BUILD");
        assert_eq!(
            (used(&operator, &devices[0], "VGPU").await, used(&operator, &devices[1], "VGPU").await),
            (2, 2)
        );
        body["server"]["min_count"] = json!(3);
        let refused = show(&tenant, &boot(&tenant, &body).await).await;
        assert_eq!(refused["status"], "ERROR", "h1's small one is full, h2 has one only");
        assert_eq!(used(&operator, &devices[0], "VGPU").await, 2, "a refused batch holds nothing");
        let together = [("resources1:VGPU", "1"), ("resources2:VGPU", "1"), ("group_policy", "none")];
        let together = special(&admin, "together", 1, &together).await;
        let mut body = server("s", &together, &image);
        body["server"]["min_count"] = json!(2);
        let id = boot(&tenant, &body).await;
        assert_eq!(show(&tenant, &id).await["status"], "BUILD");
        let sum = used(&operator, &devices[0], "VGPU").await + used(&operator, &devices[2], "VGPU").await;
        assert_eq!(sum, 6, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_an_aggregate_take_disk_from_what_is_shared_with_them() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("h1", 2), ("h2", 2), ("h3", 2)]).await;
        let (admin, tenant, plain, image) = ready(&cloud).await;
        let operator = placement(&admin);
        let made = admin.post("/compute/v2.1/os-aggregates", &json!({"aggregate": {"name": "nfs"}})).await;
        let number = made.json["aggregate"]["id"].clone();
        for host in ["h1", "h2"] {
            let path = format!("/compute/v2.1/os-aggregates/{number}/action");
            assert_eq!(admin.post(&path, &json!({"add_host": {"host": host}})).await.status, 200);
        }
        // Placement knows the aggregate by its uuid.
        let known = operator.get(&format!("{PROVIDERS}/{}/aggregates", hosts[0])).await;
        let id = known.text_at("/aggregates/0").to_owned();
        let nfs = provider(&operator, "nfs", None).await;
        stock(&operator, &nfs, "DISK_GB", json!({"total": 20})).await;
        mark(&operator, &nfs, &["MISC_SHARES_VIA_AGGREGATE"]).await;
        write(&operator, &nfs, "aggregates", json!({"aggregates": [id]})).await;

        let ten = special(&admin, "ten", 10, &[]).await;
        for _ in 0..2 {
            let host = place(&admin, &tenant, &ten, &image).await.unwrap();
            assert!(host == "h1" || host == "h2", "{engine:?}: {host} shares nothing");
        }
        assert_eq!(used(&operator, &nfs, "DISK_GB").await, 20);
        let fault = place(&admin, &tenant, &ten, &image).await.unwrap_err();
        assert!(fault.contains("2 instead of 10 DISK_GB"), "{fault}");
        for host in &hosts {
            assert_eq!(used(&operator, &host.to_string(), "DISK_GB").await, 0);
        }
        // What fits on the host itself stays there.
        for _ in 0..6 {
            place(&admin, &tenant, &plain, &image).await.unwrap();
        }
        place(&admin, &tenant, &plain, &image).await.unwrap_err();
        let path = format!("/compute/v2.1/os-aggregates/{number}/action");
        let left = admin.post(&path, &json!({"remove_host": {"host": "h2"}})).await;
        assert_eq!(left.status, 200);
        let known = operator.get(&format!("{PROVIDERS}/{}/aggregates", hosts[1])).await;
        assert_eq!(known.json["aggregates"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_many_ask_for_at_once_are_each_given_once() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("h1", 50), ("h2", 50)]).await;
        let (admin, tenant, _, image) = ready(&cloud).await;
        let operator = placement(&admin);
        let devices = gpus(&operator, &hosts).await;
        let one = special(&admin, "vgpu", 1, &[("resources1:VGPU", "1")]).await;
        let mut clients = vec![(tenant, image)];
        for n in 0..3 {
            let client = cloud.tenant(&format!("more-{n}")).await;
            let image = canopy_tests::fixtures::image(&client, "img").await;
            clients.push((client, image));
        }
        let creates = (0..40).map(|n| {
            let (client, image) = &clients[n % 4];
            let body = server("s", &one, image);
            async move { show(client, &boot(client, &body).await).await["status"].clone() }
        });
        let all = futures::future::join_all(creates).await;
        assert_eq!(all.iter().filter(|status| **status == "BUILD").count(), 8, "{engine:?}: {all:?}");
        let mut sum = 0;
        for device in &devices {
            sum += used(&operator, device, "VGPU").await;
        }
        assert_eq!(sum, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_specs_that_make_no_sense_are_refused_before_anything_is_made() {
    let cloud = controller(Engine::Sqlite).await;
    register(&cloud, &[("h1", 50)]).await;
    let (admin, tenant, _, image) = ready(&cloud).await;
    let cases: [&[(&str, &str)]; 9] = [
        &[("resources:VCPU", "-1")],
        &[("resources:VCPU", "1.5")],
        &[("resources:VCPU", "2147483648")],
        &[("resources:VCPU", "99999999999999999999999")],
        &[("resources1:VGPU", "x")],
        &[("trait:CUSTOM_X", "maybe")],
        &[("trait1:CUSTOM_X", "required")],
        &[("resources1:VGPU", "1"), ("resources2:VGPU", "1")],
        &[("resources1:VGPU", "1"), ("resources2:VGPU", "1"), ("group_policy", "whatever")],
    ];
    for (n, specs) in cases.iter().enumerate() {
        let flavor = special(&admin, &format!("bad-{n}"), 1, specs).await;
        let answer = tenant.at("2.37").post("/compute/v2.1/servers", &server("s", &flavor, &image)).await;
        assert_eq!(answer.status, 400, "{specs:?}: {answer:?}");
    }
    assert!(tenant.get("/compute/v2.1/servers").await.json["servers"].as_array().unwrap().is_empty());
    // Names that nobody knows are no mistake of the tenant's: no host has them.
    for specs in
        [("resources1:CUSTOM_NEVER", "1"), ("trait:CUSTOM_NEVER", "required"), ("resources:NEVER", "1")]
    {
        let flavor = special(&admin, specs.0, 1, &[specs]).await;
        let fault = place(&admin, &tenant, &flavor, &image).await.unwrap_err();
        assert!(fault.contains("NEVER"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_on_which_builds_fail_is_avoided_until_one_succeeds() {
    for engine in engines() {
        let weighted = canopy_tests::process::plugins().join("scheduler-weighted");
        let cloud = controller_with(engine, |config| {
            config.plugins.scheduler = Some(weighted);
            // Only what builds came to has a say.
            let free = json!({"VCPU": 0.0, "MEMORY_MB": 0.0, "DISK_GB": 0.0});
            let weights = json!({"free": free, "build_failures": 2.0});
            config.plugins.config.insert("scheduler".into(), serde_json::from_value(weights).unwrap());
        })
        .await;
        let hosts = register(&cloud, &[("h1", 50), ("h2", 50)]).await;
        let (admin, tenant, flavor, image) = ready(&cloud).await;
        // Which of two equals comes first is the seed's business.
        let first = place(&admin, &tenant, &flavor, &image).await.unwrap();
        let (bad, good) = if first == "h1" { (&hosts[..1], &hosts[1..]) } else { (&hosts[1..], &hosts[..1]) };
        report(&cloud, bad, 1, Some(Phase::Failed)).await;
        let id = boot(&tenant, &server("s", &flavor, &image)).await;
        let second = host_of(&admin, &id).await;
        assert_ne!(second, first, "{engine:?}: a build failed there");
        let shown = admin.get(&format!("/canopy/v1/servers/{id}/decision")).await;
        let top = &shown.json["decision"]["document"]["top"];
        let [best, next] = [0, 1].map(|n| top[n]["score"].as_f64().unwrap());
        assert!((best - next - 2.0).abs() < 1e-6, "{engine:?}: one failure weighs 2: {shown:?}");
        // The same report again is no other failure, nor is one that was told before.
        report(&cloud, bad, 2, Some(Phase::Failed)).await;
        report(&cloud, good, 1, Some(Phase::Failed)).await;
        assert_eq!(place(&admin, &tenant, &flavor, &image).await.as_ref(), Ok(&first), "one each");
        report(&cloud, good, 2, Some(Phase::Running)).await;
        for _ in 0..2 {
            assert_eq!(place(&admin, &tenant, &flavor, &image).await.as_ref(), Ok(&second), "it works again");
        }
    }
}
