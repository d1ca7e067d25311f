//! Inventories: generations, units, what is allocated.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inventories_are_checked_by_generation_and_by_what_is_allocated() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let id = made(&admin, "rp", None).await;
        let path = format!("{PROVIDERS}/{id}/inventories");
        let set = stock(
            &admin,
            &id,
            json!({"VCPU": {"total": 8, "allocation_ratio": 1.5}, "DISK_GB": {"total": 10}}),
        )
        .await;
        assert_eq!((set.status, &set.json["resource_provider_generation"]), (200, &json!(1)), "{set:?}");
        assert_eq!(
            set.json["inventories"]["VCPU"],
            json!({"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 2_147_483_647, "step_size": 1, "allocation_ratio": 1.5})
        );
        for never in [0, 2, -1, i64::MIN] {
            let stale = json!({"resource_provider_generation": never, "inventories": {}});
            refused(&admin.put(&path, &stale).await, 409, CONFLICT);
        }
        // Ten at the same generation: one is first.
        let body = json!({"resource_provider_generation": 1, "total": 9});
        let vcpu = format!("{path}/VCPU");
        let race = join_all((0..10).map(|_| admin.put(&vcpu, &body))).await;
        assert_eq!(race.iter().filter(|answer| answer.status == 200).count(), 1, "{engine:?}");
        assert!(race.iter().all(|answer| matches!(answer.status, 200 | 409)));

        let consumer = uuid();
        let held = admin
            .put(&format!("/placement/allocations/{consumer}"), &allocation(&id, json!({"VCPU": 9}), None))
            .await;
        assert_eq!(held.status, 204, "{held:?}");
        refused(
            &stock(&admin, &id, json!({"DISK_GB": {"total": 1}})).await,
            409,
            "placement.inventory.inuse",
        );
        refused(&admin.delete(&path).await, 409, "placement.inventory.inuse");
        refused(&admin.delete(&vcpu).await, 409, CONFLICT);
        refused(&admin.delete(&format!("{PROVIDERS}/{id}")).await, 409, "placement.resource_provider.inuse");
        // Less than is held is allowed, and nothing more can be taken then.
        assert_eq!(stock(&admin, &id, json!({"VCPU": {"total": 2}})).await.status, 200);
        let more = allocation(&id, json!({"VCPU": 1}), None);
        refused(&admin.put(&format!("/placement/allocations/{}", uuid()), &more).await, 409, UNDEFINED);
        let less = allocation(&id, json!({"VCPU": 5}), Some(1));
        assert_eq!(admin.put(&format!("/placement/allocations/{consumer}"), &less).await.status, 204);

        for (body, status) in [
            (json!({"VCPU": {"total": 0}}), 400),
            (json!({"VCPU": {"total": -1}}), 400),
            (json!({"VCPU": {"total": 2_147_483_648_i64}}), 400),
            (json!({"VCPU": {"total": 1e300}}), 400),
            (json!({"VCPU": {"total": 1, "reserved": 2}}), 400),
            (json!({"VCPU": {"total": 1, "step_size": 0}}), 400),
            (json!({"VCPU": {"total": 1, "allocation_ratio": -1}}), 400),
            (json!({"VCPU": {"total": "1"}}), 400),
            (json!({"CUSTOM_NOT_THERE": {"total": 1}}), 400),
            (json!({"vcpu": {"total": 1}}), 400),
            (json!({"VCPU": {"total": 2, "reserved": 2}}), 200),
        ] {
            let answer = stock(&admin, &id, body.clone()).await;
            assert_eq!(answer.status, status, "{body} {answer:?}");
        }
        let old = at(&cloud.admin().await, "1.25");
        refused_at_old(&stock(&old, &id, json!({"VCPU": {"total": 2, "reserved": 2}})).await, 400);
        assert_eq!(admin.delete(&format!("/placement/allocations/{consumer}")).await.status, 204);
        assert_eq!(admin.delete(&path).await.status, 204);
        assert_eq!(admin.delete(&format!("{PROVIDERS}/{id}")).await.status, 204);
    }
}
