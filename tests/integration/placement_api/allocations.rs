//! Allocations and the reshaper.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allocations_replace_each_other_and_never_exceed_the_capacity() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let (a, b) = (made(&admin, "a", None).await, made(&admin, "b", None).await);
        let inventory = json!({"VCPU": {"total": 10, "max_unit": 6, "min_unit": 2, "step_size": 2}});
        assert_eq!(stock(&admin, &a, inventory).await.status, 200);
        assert_eq!(stock(&admin, &b, json!({"VCPU": {"total": 10}})).await.status, 200);
        let consumer = uuid();
        let path = format!("/placement/allocations/{consumer}");
        for (amount, status) in [(1, 409), (3, 409), (8, 409), (0, 400), (-2, 400), (4, 204)] {
            let answer = admin.put(&path, &allocation(&a, json!({"VCPU": amount}), None)).await;
            assert_eq!(answer.status, status, "{amount} {answer:?}");
        }
        for body in [json!({"VCPU": u64::MAX}), json!({"VCPU": 1e300}), json!({"VCPU": 9_000_000_000_i64})] {
            refused(&admin.put(&path, &allocation(&a, body, Some(1))).await, 409, UNDEFINED);
        }
        let shown = admin.get(&path).await;
        assert_eq!(shown.json["allocations"][&a]["resources"], json!({"VCPU": 4}), "{shown:?}");
        assert_eq!(
            (&shown.json["consumer_generation"], &shown.json["consumer_type"], &shown.json["project_id"]),
            (&json!(1), &json!("INSTANCE"), &json!("p1"))
        );
        for stale in [None, Some(0), Some(2)] {
            refused(&admin.put(&path, &allocation(&b, json!({"VCPU": 1}), stale)).await, 409, CONFLICT);
        }
        refused(&admin.put(&path, &allocation(&uuid(), json!({"VCPU": 1}), Some(1))).await, 400, UNDEFINED);
        refused(&admin.put(&path, &allocation(&b, json!({"CUSTOM_NONE": 1}), Some(1))).await, 400, UNDEFINED);
        refused(&admin.put(&path, &allocation(&b, json!({"DISK_GB": 1}), Some(1))).await, 409, UNDEFINED);
        assert_eq!(admin.put(&path, &allocation(&b, json!({"VCPU": 1}), Some(1))).await.status, 204);
        assert_eq!(
            (used(&admin, &a).await, used(&admin, &b).await),
            (json!({"VCPU": 0}), json!({"VCPU": 1}))
        );

        // All or nothing: the first fits, the second does not.
        let many = json!({
            uuid(): allocation(&a, json!({"VCPU": 2}), None),
            uuid(): allocation(&b, json!({"VCPU": 10}), None),
        });
        refused(&admin.post("/placement/allocations", &many).await, 409, UNDEFINED);
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 0}));
        // A move between two consumers in one go.
        let other = uuid();
        let mut nothing = allocation(&b, json!({"VCPU": 1}), Some(2));
        nothing["allocations"] = json!({});
        let swap = json!({&consumer: nothing, &other: allocation(&b, json!({"VCPU": 10}), None)});
        assert_eq!(admin.post("/placement/allocations", &swap).await.status, 204);
        assert_eq!(admin.get(&path).await.json, json!({"allocations": {}}));
        assert_eq!(used(&admin, &b).await, json!({"VCPU": 10}));
        let usages = admin.get("/placement/usages?project_id=p1").await;
        assert_eq!(
            usages.json["usages"],
            json!({"INSTANCE": {"VCPU": 10, "consumer_count": 1}}),
            "{usages:?}"
        );
        let flat = at(&cloud.admin().await, "1.37").get("/placement/usages?project_id=p1&user_id=u1").await;
        assert_eq!(flat.json["usages"], json!({"VCPU": 10}));
        refused(&admin.get("/placement/usages").await, 400, UNDEFINED);

        // Forty at once for room for five.
        let one = allocation(&a, json!({"VCPU": 2}), None);
        let paths: Vec<String> = (0..40).map(|_| format!("/placement/allocations/{}", uuid())).collect();
        let race = join_all(paths.iter().map(|path| admin.put(path, &one))).await;
        assert_eq!(race.iter().filter(|answer| answer.status == 204).count(), 5, "{engine:?}");
        assert!(race.iter().all(|answer| matches!(answer.status, 204 | 409)), "{race:?}");
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 10}));
        for path in paths {
            assert!(matches!(admin.delete(&path).await.status, 204 | 404));
        }
        assert_eq!(used(&admin, &a).await, json!({"VCPU": 0}));
        refused(&admin.delete(&path).await, 404, UNDEFINED);

        // The oldest shape: a list, and nobody's.
        let old = at(&cloud.admin().await, "1.0");
        let body = json!({"allocations": [{"resource_provider": {"uuid": a}, "resources": {"VCPU": 2}}]});
        assert_eq!(old.put(&path, &body).await.status, 204);
        let shown = admin.get(&path).await;
        assert_eq!(shown.json["consumer_type"], "unknown");
        assert_eq!(shown.json["project_id"], "00000000-0000-0000-0000-000000000000");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reshaper_moves_inventory_and_what_is_held_together() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let root = made(&admin, "root", None).await;
        let child = made(&admin, "child", Some(&root)).await;
        assert_eq!(
            stock(&admin, &root, json!({"VCPU": {"total": 8}, "VGPU": {"total": 4}})).await.status,
            200
        );
        let consumer = uuid();
        let path = format!("/placement/allocations/{consumer}");
        let both = allocation(&root, json!({"VCPU": 2, "VGPU": 3}), None);
        assert_eq!(admin.put(&path, &both).await.status, 204);
        let body = |root_generation: i64, moved: i64| {
            let mut held = allocation(&root, json!({"VCPU": 2}), Some(1));
            held["allocations"][&child] = json!({"resources": {"VGPU": moved}});
            json!({
                "inventories": {
                    &root: {"resource_provider_generation": root_generation, "inventories": {"VCPU": {"total": 8}}},
                    &child: {"resource_provider_generation": 0, "inventories": {"VGPU": {"total": 4}}},
                },
                "allocations": {&consumer: held},
            })
        };
        let now = generation(&admin, &root).await;
        let reshaper = "/placement/reshaper";
        refused(&admin.post(reshaper, &body(now - 1, 3)).await, 409, CONFLICT);
        refused(&admin.post(reshaper, &body(now, 5)).await, 409, UNDEFINED);
        let mut orphan = body(now, 3);
        orphan["allocations"] = json!({});
        refused(&admin.post(reshaper, &orphan).await, 409, "placement.inventory.inuse");
        let mut absent = body(now, 3);
        absent["inventories"][uuid()] = json!({"resource_provider_generation": 0, "inventories": {}});
        refused(&admin.post(reshaper, &absent).await, 400, "placement.resource_provider.not_found");
        assert_eq!(used(&admin, &root).await, json!({"VCPU": 2, "VGPU": 3}), "refusals change nothing");
        let done = admin.post(reshaper, &body(now, 3)).await;
        assert_eq!(done.status, 204, "{done:?}");
        assert_eq!(
            (used(&admin, &root).await, used(&admin, &child).await),
            (json!({"VCPU": 2}), json!({"VGPU": 3}))
        );
        assert_eq!(at(&cloud.admin().await, "1.29").post(reshaper, &json!({})).await.status, 404);
    }
}
