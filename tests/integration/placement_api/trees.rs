//! Providers and the trees they form.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_form_trees_that_never_loop() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let (a, b) = (made(&admin, "a", None).await, made(&admin, "b", None).await);
        let child = made(&admin, "child", Some(&a)).await;
        let grandchild = made(&admin, "grandchild", Some(&child)).await;
        let shown = admin.get(&format!("{PROVIDERS}/{grandchild}")).await;
        assert_eq!(shown.text_at("/root_provider_uuid"), a);
        assert_eq!(shown.text_at("/parent_provider_uuid"), child);
        let tree = admin.get(&format!("{PROVIDERS}?in_tree={grandchild}")).await;
        assert_eq!(tree.json["resource_providers"].as_array().unwrap().len(), 3);
        assert_eq!(
            admin.get(&format!("{PROVIDERS}?name=child")).await.text_at("/resource_providers/0/uuid"),
            child
        );

        let put = async |client: &Client, id: &str, name: &str, parent: Value| {
            client
                .put(&format!("{PROVIDERS}/{id}"), &json!({"name": name, "parent_provider_uuid": parent}))
                .await
        };
        for (id, parent) in [(&a, &grandchild), (&a, &a), (&child, &grandchild)] {
            refused(&put(&admin, id, "x", json!(parent)).await, 400, UNDEFINED);
        }
        refused(&put(&admin, &child, "child", json!(uuid())).await, 400, UNDEFINED);
        // Before 1.37 nobody moves.
        let old = at(&cloud.admin().await, "1.36");
        refused(&put(&old, &child, "child", json!(b)).await, 400, UNDEFINED);
        refused(&put(&old, &child, "child", Value::Null).await, 400, UNDEFINED);
        let moved = put(&admin, &child, "child", json!(b)).await;
        assert_eq!((moved.status, moved.text_at("/root_provider_uuid")), (200, b.as_str()), "{moved:?}");
        let below = admin.get(&format!("{PROVIDERS}/{grandchild}")).await;
        assert_eq!(below.text_at("/root_provider_uuid"), b, "the whole subtree moved");
        assert_eq!(put(&admin, &child, "child", Value::Null).await.status, 200);
        assert_eq!(
            admin.get(&format!("{PROVIDERS}/{grandchild}")).await.text_at("/root_provider_uuid"),
            child
        );

        // Two that each go below the other: at most one does.
        let both = join_all([put(&admin, &a, "a", json!(b)), put(&admin, &b, "b", json!(a))]).await;
        assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1, "{both:?}");

        refused(&admin.post(PROVIDERS, &json!({"name": "child"})).await, 409, "placement.duplicate_name");
        refused(
            &admin.post(PROVIDERS, &json!({"name": "n", "uuid": a})).await,
            409,
            "placement.duplicate_name",
        );
        refused(&put(&admin, &grandchild, "child", json!(child)).await, 409, "placement.duplicate_name");
        for body in [
            json!({}),
            json!({"name": ""}),
            json!({"name": "x".repeat(201)}),
            json!({"name": 1}),
            json!({"name": "n", "uuid": "no"}),
            json!({"name": "n", "parent_provider_uuid": uuid()}),
            json!({"name": "n", "other": 1}),
            json!([]),
        ] {
            refused(&admin.post(PROVIDERS, &body).await, 400, UNDEFINED);
        }
        let gone = admin.delete(&format!("{PROVIDERS}/{child}")).await;
        refused(&gone, 409, "placement.resource_provider.cannot_delete_parent");
        assert_eq!(admin.delete(&format!("{PROVIDERS}/{grandchild}")).await.status, 204);
        refused(&admin.delete(&format!("{PROVIDERS}/{grandchild}")).await, 404, UNDEFINED);
    }
}
