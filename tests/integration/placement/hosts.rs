//! Aggregates, zones, services and hypervisors.

use super::{controller, host_of, ready, register};
use canopy_tests::engines;
use canopy_tests::fixtures::{boot, server, show};
use serde_json::json;

const AGGREGATES: &str = "/compute/v2.1/os-aggregates";
const SERVICES: &str = "/compute/v2.1/os-services";

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_makes_a_zone_that_servers_can_ask_for() {
    for engine in engines() {
        let cloud = controller(engine).await;
        register(&cloud, &[("h1", 10), ("h2", 10)]).await;
        let (admin, tenant, flavor, image) = ready(&cloud).await;
        let made = admin
            .post(AGGREGATES, &json!({"aggregate": {"name": "fast", "availability_zone": "east"}}))
            .await;
        assert_eq!((made.status, made.text_at("/aggregate/availability_zone")), (200, "east"), "{made:?}");
        let one = format!("{AGGREGATES}/{}", made.json["aggregate"]["id"]);
        let action = format!("{one}/action");
        let again = admin.post(AGGREGATES, &json!({"aggregate": {"name": "fast"}})).await;
        assert_eq!(again.status, 409, "{again:?}");
        assert_eq!(tenant.get(AGGREGATES).await.status, 403);
        let added = admin.post(&action, &json!({"add_host": {"host": "h2"}})).await;
        assert_eq!((added.status, &added.json["aggregate"]["hosts"]), (200, &json!(["h2"])), "{added:?}");
        assert_eq!(admin.post(&action, &json!({"add_host": {"host": "h2"}})).await.status, 409);
        assert_eq!(admin.post(&action, &json!({"add_host": {"host": "h9"}})).await.status, 404);

        let zones = tenant.get("/compute/v2.1/os-availability-zone").await;
        let names: Vec<_> = zones.json["availabilityZoneInfo"]
            .as_array()
            .unwrap()
            .iter()
            .map(|z| z["zoneName"].clone())
            .collect();
        assert_eq!(names, [json!("east"), json!("nova")]);
        assert_eq!(tenant.get("/compute/v2.1/os-availability-zone/detail").await.status, 403);
        let detail = admin.get("/compute/v2.1/os-availability-zone/detail").await;
        assert_eq!(detail.json["availabilityZoneInfo"][0]["hosts"]["h2"]["nova-compute"]["available"], true);

        let mut body = server("s", &flavor, &image);
        body["server"]["availability_zone"] = json!("east");
        let id = boot(&tenant, &body).await;
        assert_eq!(host_of(&admin, &id).await, "h2", "{engine:?}");
        // The zone does not change under it.
        let moved = admin.put(&one, &json!({"aggregate": {"availability_zone": "west"}})).await;
        assert_eq!(moved.status, 400, "{moved:?}");
        assert_eq!(admin.post(&action, &json!({"remove_host": {"host": "h2"}})).await.status, 409);
        assert_eq!(admin.post(&action, &json!({"remove_host": {"host": "h1"}})).await.status, 404);
        let set = json!({"set_metadata": {"metadata": {"ssd": "true", "old": null}}});
        assert_eq!(admin.post(&action, &set).await.json["aggregate"]["metadata"]["ssd"], "true");
        let renamed = admin.put(&one, &json!({"aggregate": {"name": "slow"}})).await;
        assert_eq!(renamed.text_at("/aggregate/name"), "slow");
        assert_eq!(admin.delete(&one).await.status, 400, "it has a host");
        // One host, one zone.
        let west = json!({"aggregate": {"name": "w", "availability_zone": "west"}});
        let west = admin.post(AGGREGATES, &west).await.json["aggregate"]["id"].clone();
        let clash =
            admin.post(&format!("{AGGREGATES}/{west}/action"), &json!({"add_host": {"host": "h2"}})).await;
        assert_eq!(clash.status, 409, "{clash:?}");
        let west = format!("{AGGREGATES}/{west}");
        assert!(admin.get(&west).await.json["aggregate"]["hosts"].as_array().unwrap().is_empty());
        assert_eq!(admin.delete(&west).await.status, 200);
        assert_eq!(admin.get(&west).await.status, 404);
        for bad in [
            json!({}),
            json!({"aggregate": {}}),
            json!({"aggregate": {"name": 1}}),
            json!({"aggregate": {"name": ""}}),
        ] {
            assert_eq!(admin.post(AGGREGATES, &bad).await.status, 400, "{bad}");
        }
        for bad in [json!({"add_host": {}}), json!({"set_metadata": {"metadata": {"availability_zone": ""}}})]
        {
            assert_eq!(admin.post(&action, &bad).await.status, 400, "{bad}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_service_gets_no_new_servers_until_it_is_enabled() {
    for engine in engines() {
        let cloud = controller(engine).await;
        register(&cloud, &[("h1", 10)]).await;
        let (admin, tenant, flavor, image) = ready(&cloud).await;
        let named = json!({"host": "h1", "binary": "nova-compute"});
        let mut why = named.clone();
        why["disabled_reason"] = json!("new fans");
        let disabled = admin.put(&format!("{SERVICES}/disable-log-reason"), &why).await;
        assert_eq!((disabled.status, disabled.text_at("/service/status")), (200, "disabled"), "{disabled:?}");
        let listed = admin.at("2.11").get(&format!("{SERVICES}?host=h1")).await;
        let service = &listed.json["services"][0];
        assert_eq!((&service["status"], &service["state"]), (&json!("disabled"), &json!("up")), "{listed:?}");
        assert_eq!(
            (&service["disabled_reason"], &service["forced_down"]),
            (&json!("new fans"), &json!(false))
        );
        let refused = show(&tenant, &boot(&tenant, &server("s", &flavor, &image)).await).await;
        let message = refused["fault"]["message"].as_str().unwrap();
        assert!(message.contains("refused by closed") && message.contains("new fans"), "{message}");
        assert_eq!(admin.put(&format!("{SERVICES}/enable"), &named).await.status, 200);
        let placed = show(&tenant, &boot(&tenant, &server("s", &flavor, &image)).await).await;
        assert_eq!(placed["status"], "BUILD", "{engine:?}");
        let mut down = named.clone();
        down["forced_down"] = json!(true);
        assert_eq!(admin.at("2.11").put(&format!("{SERVICES}/force-down"), &down).await.status, 200);
        assert_eq!(admin.get(SERVICES).await.json["services"][0]["state"], "down");
        let refused = show(&tenant, &boot(&tenant, &server("s", &flavor, &image)).await).await;
        assert_eq!(refused["status"], "ERROR");
        let unknown = json!({"host": "h9", "binary": "nova-compute"});
        assert_eq!(admin.put(&format!("{SERVICES}/enable"), &unknown).await.status, 404);
        assert_eq!(admin.put(&format!("{SERVICES}/enable"), &json!({"host": "h1"})).await.status, 400);
        assert_eq!(tenant.put(&format!("{SERVICES}/enable"), &named).await.status, 403);
        assert_eq!(tenant.get(SERVICES).await.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hypervisors_show_what_they_have_and_what_is_used() {
    let cloud = controller(canopy_tests::Engine::Sqlite).await;
    register(&cloud, &[("h1", 10), ("h2", 20)]).await;
    let (admin, tenant, flavor, image) = ready(&cloud).await;
    let base = "/compute/v2.1/os-hypervisors";
    let id = boot(&tenant, &server("s", &flavor, &image)).await;
    let host = host_of(&admin, &id).await;
    let detail = admin.get(&format!("{base}/detail")).await;
    let of = |name: &str| {
        let all = detail.json["hypervisors"].as_array().unwrap();
        all.iter().find(|h| h["hypervisor_hostname"] == name).unwrap().clone()
    };
    assert_eq!((of(&host)["local_gb_used"].clone(), of(&host)["running_vms"].clone()), (json!(1), json!(1)));
    assert_eq!((of("h2")["local_gb"].clone(), of("h2")["cpu_info"].clone()), (json!(20), json!("")));
    let one = admin.at("2.28").get(&format!("{base}/{}", of("h1")["id"])).await;
    assert_eq!(one.json["hypervisor"]["cpu_info"], json!({}), "{one:?}");
    let sums = admin.get(&format!("{base}/statistics")).await;
    assert_eq!(sums.json["hypervisor_statistics"]["local_gb"], 30, "{sums:?}");
    let page = admin.at("2.33").get(&format!("{base}?limit=1")).await;
    assert_eq!(page.json["hypervisors"].as_array().unwrap().len(), 1);
    let next = page.text_at("/hypervisors_links/0/href").replace(&cloud.url, "");
    assert_eq!(admin.at("2.33").get(&next).await.json["hypervisors"][0]["hypervisor_hostname"], "h2");
    assert_eq!(admin.at("2.33").get(&format!("{base}?marker=99")).await.status, 400);
    let servers = admin.get(&format!("{base}/{host}/servers")).await;
    assert_eq!(servers.json["hypervisors"][0]["servers"][0]["uuid"], id.as_str(), "{servers:?}");
    assert_eq!(admin.get(&format!("{base}/h/search")).await.json["hypervisors"].as_array().unwrap().len(), 2);
    assert_eq!(admin.get(&format!("{base}/zz/search")).await.status, 404);
    assert_eq!(admin.get(&format!("{base}/99")).await.status, 404);
    assert_eq!(admin.get(&format!("{base}/{}/uptime", of("h1")["id"])).await.status, 501);
    assert_eq!(tenant.get(base).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_clients_ask_for_hosts_by_name() {
    let cloud = controller(canopy_tests::Engine::Sqlite).await;
    register(&cloud, &[("h1", 10), ("h2", 20)]).await;
    let (admin, tenant, flavor, image) = ready(&cloud).await;
    let base = "/compute/v2.1/os-hosts";
    let server = boot(&tenant, &server("s", &flavor, &image)).await;
    let host = host_of(&admin, &server).await;
    let names = async |query: &str| -> Vec<String> {
        let listed = admin.get(&format!("{base}{query}")).await;
        let hosts = listed.json["hosts"].as_array().unwrap_or_else(|| panic!("{listed:?}"));
        assert!(hosts.iter().all(|h| h["service"] == "compute" && h["zone"] == "nova"), "{hosts:?}");
        hosts.iter().map(|h| h["host_name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, found) in [("", vec!["h1", "h2"]), ("?zone=", vec!["h1", "h2"]), ("?zone=xxx", vec![])] {
        assert_eq!(names(query).await, found, "{query}");
    }
    let shown = admin.get(&format!("{base}/{host}")).await;
    let lines: Vec<(&str, i64)> = shown.json["host"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            (line["resource"]["project"].as_str().unwrap(), line["resource"]["disk_gb"].as_i64().unwrap())
        })
        .collect();
    let has = if host == "h1" { 10 } else { 20 };
    let project = admin.get(&format!("/compute/v2.1/servers/{server}")).await;
    let project = project.text_at("/server/tenant_id");
    assert_eq!(lines, [("(total)", has), ("(used_now)", 1), ("(used_max)", 1), (project, 1)], "{shown:?}");
    let put = async |body: serde_json::Value| admin.put(&format!("{base}/h2"), &body).await;
    let off = put(json!({"status": "disable"})).await;
    assert_eq!(off.json, json!({"host": "h2", "status": "disabled"}), "{off:?}");
    assert_eq!(names("").await, ["h1"], "only those that take servers");
    assert_eq!(put(json!({"status": "Enable"})).await.json["status"], "enabled");
    assert_eq!(names("").await, ["h1", "h2"]);
    assert_eq!(put(json!({"maintenance_mode": "enable"})).await.status, 501);
    for bad in [json!({}), json!({"status": "off"}), json!({"status": "enable", "x": 1})] {
        assert_eq!(put(bad.clone()).await.status, 400, "{bad}");
    }
    assert_eq!(admin.get(&format!("{base}/h3")).await.status, 404);
    assert_eq!(admin.at("2.43").get(base).await.status, 404);
    assert_eq!(tenant.get(base).await.status, 403);
    assert_eq!(tenant.get(&format!("{base}/h1")).await.status, 403);
}
