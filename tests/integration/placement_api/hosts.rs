//! Hosts as providers, servers as consumers.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_a_provider_whose_servers_are_its_own() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (root, admin) = (cloud.admin().await, admin(&cloud).await);
        let host = cloud.hosts().await.remove(0);
        let id = host.id.to_string();
        let shown = admin.get(&format!("{PROVIDERS}/{id}")).await;
        assert_eq!(
            (shown.text_at("/name"), shown.text_at("/root_provider_uuid")),
            (host.name.as_str(), id.as_str())
        );
        let listed = admin.get(&format!("{PROVIDERS}/{id}/inventories")).await;
        let inventories = listed.json["inventories"].clone();
        assert_eq!(inventories["VCPU"]["allocation_ratio"], json!(16.0), "{listed:?}");

        let flavor = fixtures::flavor(&root, "f", 2, 512, 1).await;
        let image = fixtures::image(&root, "i").await;
        let server = fixtures::boot(&root, &fixtures::server("s", &flavor, &image)).await;
        fixtures::until_status(&root, &server, "ACTIVE").await;
        let path = format!("/placement/allocations/{server}");
        let held = admin.get(&path).await;
        assert_eq!(
            held.json["allocations"][&id]["resources"],
            json!({"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 1}),
            "{held:?}"
        );
        assert_eq!(held.json["consumer_type"], "INSTANCE");
        assert_eq!(used(&admin, &id).await["VCPU"], 2);

        // The server's allocations are the server's.
        refused(&admin.delete(&path).await, 409, UNDEFINED);
        refused(&admin.put(&path, &allocation(&id, json!({"VCPU": 1}), Some(1))).await, 409, UNDEFINED);
        let many = json!({&server: allocation(&id, json!({"VCPU": 1}), Some(1))});
        refused(&admin.post("/placement/allocations", &many).await, 409, UNDEFINED);
        // The totals are the agent's; what is reserved and the ratio are the API's.
        let mut more = inventories.clone();
        more["VCPU"]["total"] = json!(1_000);
        refused(&stock(&admin, &id, more).await, 409, UNDEFINED);
        refused(&stock(&admin, &id, json!({})).await, 409, UNDEFINED);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}/inventories")).await, 409, UNDEFINED);
        let mut own = inventories.clone();
        own["VCPU"]["allocation_ratio"] = json!(1.0);
        own["VCPU"]["reserved"] = json!(own["VCPU"]["total"].as_i64().unwrap() - 3);
        own["VGPU"] = json!({"total": 2});
        let set = stock(&admin, &id, own).await;
        assert_eq!(set.status, 200, "{set:?}");
        refused(&admin.put(&format!("{PROVIDERS}/{id}"), &json!({"name": "other"})).await, 409, UNDEFINED);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}")).await, 409, "placement.resource_provider.inuse");
        made(&admin, "below", Some(&id)).await;

        // Another service's consumer counts: one VCPU is left, then none, and no server fits.
        let foreign = format!("/placement/allocations/{}", uuid());
        refused(&admin.put(&foreign, &allocation(&id, json!({"VCPU": 2}), None)).await, 409, UNDEFINED);
        assert_eq!(admin.put(&foreign, &allocation(&id, json!({"VCPU": 1}), None)).await.status, 204);
        let full = fixtures::boot(&root, &fixtures::server("s2", &flavor, &image)).await;
        fixtures::until_status(&root, &full, "ERROR").await;
        assert_eq!(
            admin.get(&format!("/placement/allocations/{full}")).await.json,
            json!({"allocations": {}})
        );
        refused(
            &admin
                .put(&format!("/placement/allocations/{full}"), &allocation(&id, json!({"VGPU": 1}), None))
                .await,
            409,
            UNDEFINED,
        );

        let before = generation(&admin, &id).await;
        root.delete(&format!("/compute/v2.1/servers/{server}")).await;
        fixtures::until_gone(&root, &server).await;
        assert_eq!(used(&admin, &id).await["VCPU"], 1, "the foreign consumer's");
        assert!(generation(&admin, &id).await > before);
    }
}
