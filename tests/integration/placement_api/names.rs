//! Traits, classes and aggregates.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traits_classes_and_aggregates_have_names_and_owners() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let all = admin.get("/placement/traits").await;
        let names: BTreeSet<&str> =
            all.json["traits"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(
            names.len() > 300
                && names.contains("HW_CPU_X86_AVX2")
                && names.contains("MISC_SHARES_VIA_AGGREGATE")
        );
        let gold = "/placement/traits/CUSTOM_GOLD";
        assert_eq!(admin.get(gold).await.status, 404);
        assert_eq!(admin.put(gold, &Value::Null).await.status, 201);
        assert_eq!(admin.put(gold, &Value::Null).await.status, 204);
        let some = admin.get("/placement/traits?name=startswith:CUSTOM_").await;
        assert_eq!(some.json["traits"], json!(["CUSTOM_GOLD"]));
        for bad in ["GOLD", "CUSTOM_", "CUSTOM_gold", &format!("CUSTOM_{}", "A".repeat(250))] {
            refused(&admin.put(&format!("/placement/traits/{bad}"), &Value::Null).await, 400, UNDEFINED);
            refused(
                &admin.put(&format!("/placement/resource_classes/{bad}"), &Value::Null).await,
                400,
                UNDEFINED,
            );
        }
        refused(&admin.delete("/placement/traits/HW_CPU_X86_AVX2").await, 400, UNDEFINED);

        let id = made(&admin, "rp", None).await;
        let aggregate = uuid();
        mark(&admin, &id, &["CUSTOM_GOLD", "HW_CPU_X86_AVX2"], &[&aggregate]).await;
        refused(&admin.delete(gold).await, 409, UNDEFINED);
        assert_eq!(
            admin.get("/placement/traits?associated=true").await.json["traits"].as_array().unwrap().len(),
            2
        );
        let now = generation(&admin, &id).await;
        let traits = format!("{PROVIDERS}/{id}/traits");
        let same = json!({"traits": ["HW_CPU_X86_AVX2", "CUSTOM_GOLD"], "resource_provider_generation": now});
        assert_eq!(
            admin.put(&traits, &same).await.json["resource_provider_generation"],
            now,
            "nothing changed"
        );
        let unknown = json!({"traits": ["CUSTOM_NOT_THERE"], "resource_provider_generation": now});
        refused(&admin.put(&traits, &unknown).await, 400, UNDEFINED);
        let stale = json!({"traits": [], "resource_provider_generation": now - 1});
        refused(&admin.put(&traits, &stale).await, 409, CONFLICT);
        for (query, count) in [
            ("required=CUSTOM_GOLD", 1),
            ("required=CUSTOM_GOLD,!HW_CPU_X86_AVX2", 0),
            ("required=in:CUSTOM_GOLD,HW_CPU_X86_SSE&required=HW_CPU_X86_AVX2", 1),
            ("required=!CUSTOM_GOLD&name=rp", 0),
            (&format!("member_of={aggregate}"), 1),
            (&format!("member_of=in:{aggregate},{}", uuid()), 1),
            (&format!("member_of=!{aggregate}&name=rp"), 0),
        ] {
            let found = admin.get(&format!("{PROVIDERS}?{query}")).await;
            assert_eq!(
                found.json["resource_providers"].as_array().map(Vec::len),
                Some(count),
                "{query} {found:?}"
            );
        }
        assert_eq!(admin.delete(&traits).await.status, 204);
        assert_eq!(admin.delete(gold).await.status, 204);

        let class = "/placement/resource_classes/CUSTOM_DISK";
        assert_eq!(admin.put(class, &Value::Null).await.status, 201);
        assert_eq!(stock(&admin, &id, json!({"CUSTOM_DISK": {"total": 4}})).await.status, 200);
        refused(&admin.delete(class).await, 409, UNDEFINED);
        let held = allocation(&id, json!({"CUSTOM_DISK": 3}), None);
        assert_eq!(admin.put(&format!("/placement/allocations/{}", uuid()), &held).await.status, 204);
        // Old versions rename; what is held keeps its class.
        let old = at(&cloud.admin().await, "1.6");
        assert_eq!(old.put(class, &json!({"name": "CUSTOM_TAPE"})).await.status, 200);
        assert_eq!(used(&admin, &id).await, json!({"CUSTOM_TAPE": 3}));
        let found = admin.get(&format!("{PROVIDERS}?resources=CUSTOM_TAPE:1")).await;
        assert_eq!(found.json["resource_providers"].as_array().map(Vec::len), Some(1), "{found:?}");
        refused(&admin.get(&format!("{PROVIDERS}?resources=CUSTOM_DISK:1")).await, 400, UNDEFINED);
        refused(&admin.delete("/placement/resource_classes/VCPU").await, 400, UNDEFINED);
        refused(
            &admin.post("/placement/resource_classes", &json!({"name": "CUSTOM_TAPE"})).await,
            409,
            UNDEFINED,
        );
    }
}
