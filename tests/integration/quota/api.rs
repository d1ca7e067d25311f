//! Quota sets, network quotas, limits and usage as their services show and set them.

use super::{exact, network, project, service, set};
use canopy_tests::fixtures::{flavor, image, server};
use canopy_tests::{Cloud, engines};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_set_is_shown_changed_enforced_and_put_back() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let (small, image) = (flavor(&admin, "small", 2, 64, 1).await, image(&tenant, "img").await);
        let id = project(&tenant).await;
        let path = format!("/compute/v2.1/os-quota-sets/{id}");

        let shown = tenant.at("2.37").get(&path).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        let quota = &shown.json["quota_set"];
        assert_eq!(
            (&quota["id"], &quota["cores"], &quota["metadata_items"]),
            (&json!(id), &json!(20), &json!(128))
        );
        assert!(quota.get("floating_ips").is_none());
        assert_eq!(tenant.at("2.35").get(&path).await.json["quota_set"]["floating_ips"], -1);

        let changed = set(&admin, &id, json!({"cores": "3", "metadata_items": 1})).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert!(changed.json["quota_set"].get("id").is_none());
        assert_eq!(changed.json["quota_set"]["cores"], 3);

        let boot = async |body: &Value| tenant.at("2.37").post("/compute/v2.1/servers", body).await;
        let body = server("s", &small, &image);
        assert_eq!(boot(&body).await.status, 202);
        let over = boot(&body).await;
        assert_eq!(over.status, 403, "{over:?}");
        let text = "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores";
        assert_eq!(over.text_at("/forbidden/message"), text);
        let detail = tenant.at("2.37").get(&format!("{path}/detail")).await;
        assert_eq!(detail.json["quota_set"]["cores"], json!({"limit": 3, "in_use": 2, "reserved": 0}));

        // Metadata items are bounded per server.
        set(&admin, &id, json!({"cores": -1})).await;
        let mut tagged = body.clone();
        tagged["server"]["metadata"] = json!({"a": "1"});
        assert_eq!(boot(&tagged).await.status, 202);
        assert_eq!(boot(&tagged).await.status, 202);
        tagged["server"]["metadata"] = json!({"a": "1", "b": "2"});
        let over = boot(&tagged).await;
        assert!(over.text_at("/forbidden/message").contains("metadata_items"), "{over:?}");

        // Below what is used only by force.
        let low = set(&admin, &id, json!({"instances": 1})).await;
        assert_eq!(low.status, 400, "{low:?}");
        assert!(low.text_at("/badRequest/message").contains("already used and reserved 3"), "{low:?}");
        assert_eq!(set(&admin, &id, json!({"instances": 1, "force": true})).await.status, 200);

        assert_eq!(admin.delete(&path).await.status, 202);
        let back = tenant.at("2.37").get(&path).await;
        let defaults = tenant.at("2.37").get(&format!("{path}/defaults")).await;
        assert_eq!(back.json, defaults.json, "{engine:?}");
        exact(&cloud.app().store, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_limits_of_its_own_within_the_projects() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let (small, image) = (flavor(&admin, "small", 1, 64, 1).await, image(&tenant, "img").await);
        let id = project(&tenant).await;
        let user = admin.get("/identity/v3/users?name=t").await.text_at("/users/0/id").to_owned();
        let path = format!("/compute/v2.1/os-quota-sets/{id}?user_id={user}");
        let admin = admin.at("2.37");
        let too_many = admin.put(&path, &json!({"quota_set": {"instances": 11}})).await;
        assert_eq!(too_many.status, 400, "{too_many:?}");
        assert!(too_many.text_at("/badRequest/message").contains("less than or equal to 10"), "{too_many:?}");
        assert_eq!(admin.put(&path, &json!({"quota_set": {"instances": 1}})).await.status, 200);
        assert_eq!(tenant.at("2.37").get(&path).await.json["quota_set"]["instances"], 1);
        let body = server("s", &small, &image);
        assert_eq!(tenant.at("2.37").post("/compute/v2.1/servers", &body).await.status, 202);
        let over = tenant.at("2.37").post("/compute/v2.1/servers", &body).await;
        assert!(over.text_at("/forbidden/message").ends_with("of this user"), "{over:?}");
        // The project's limit cannot go below a user's.
        let whole = format!("/compute/v2.1/os-quota-sets/{id}");
        assert_eq!(
            admin.put(&whole, &json!({"quota_set": {"instances": 0, "force": true}})).await.status,
            400
        );
        assert_eq!(admin.delete(&path).await.status, 202);
        assert_eq!(tenant.at("2.37").post("/compute/v2.1/servers", &body).await.status, 202);
        exact(&cloud.app().store, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_class_is_what_projects_have_that_have_nothing_of_their_own() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let path = "/compute/v2.1/os-quota-class-sets/default";
    assert_eq!(tenant.get(path).await.status, 403);
    let shown = admin.get(path).await;
    assert_eq!((shown.status, &shown.json["quota_class_set"]["id"]), (200, &json!("default")), "{shown:?}");
    assert!(shown.json["quota_class_set"].get("server_groups").is_none());
    let changed = admin.put(path, &json!({"quota_class_set": {"key_pairs": 1}})).await;
    assert_eq!(
        (changed.status, &changed.json["quota_class_set"]["key_pairs"]),
        (200, &json!(1)),
        "{changed:?}"
    );
    let id = project(&tenant).await;
    let defaults = tenant.get(&format!("/compute/v2.1/os-quota-sets/{id}/defaults")).await;
    assert_eq!(defaults.json["quota_set"]["key_pairs"], 1);
    let pair = async |name: &str| {
        let body = json!({"keypair": {"name": name}});
        tenant.post("/compute/v2.1/os-keypairs", &body).await.status
    };
    assert_eq!((pair("a").await, pair("b").await), (200, 403));
    // The limit on a user's key pairs is that of the project it works in.
    assert_eq!(set(&admin, &id, json!({"key_pairs": 2})).await.status, 200);
    assert_eq!((pair("b").await, pair("c").await), (200, 403));
    assert_eq!(admin.get("/compute/v2.1/os-quota-class-sets/other").await.status, 404);
    let bad = admin.put(path, &json!({"quota_class_set": {"injected_files": 5}})).await;
    assert!(bad.text_at("/badRequest/message").contains("does not count injected_files"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compute_limits_show_what_is_used() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let (small, image) = (flavor(&admin, "small", 2, 64, 1).await, image(&tenant, "img").await);
    let made = tenant.at("2.37").post("/compute/v2.1/servers", &server("s", &small, &image)).await;
    assert_eq!(made.status, 202, "{made:?}");
    let limits = tenant.at("2.36").get("/compute/v2.1/limits").await;
    assert_eq!(limits.status, 200, "{limits:?}");
    let absolute = &limits.json["limits"]["absolute"];
    assert_eq!((&absolute["maxTotalCores"], &absolute["totalCoresUsed"]), (&json!(20), &json!(2)));
    assert_eq!((&absolute["totalRAMUsed"], &absolute["totalInstancesUsed"]), (&json!(64), &json!(1)));
    assert!(absolute.get("maxTotalFloatingIps").is_none());
    assert_eq!(limits.json["limits"]["rate"], json!([]));
    let id = project(&tenant).await;
    let other = cloud.tenant("other").await;
    let path = format!("/compute/v2.1/limits?tenant_id={id}");
    assert_eq!(other.get(&path).await.status, 403);
    assert_eq!(admin.get(&path).await.json["limits"]["absolute"]["totalCoresUsed"], 2);
    assert_eq!(admin.get("/compute/v2.1/limits?tenant_id=none").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn network_quotas_are_listed_changed_enforced_and_put_back() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let id = project(&tenant).await;
        let path = format!("/network/v2.0/quotas/{id}");
        let shown = tenant.get(&path).await;
        assert_eq!(shown.json, json!({"quota": {"network": 100, "subnet": 100, "port": 500}}), "{engine:?}");
        assert_eq!(admin.get("/network/v2.0/quotas").await.json["quotas"], json!([]));
        let changed = admin.put(&path, &json!({"quota": {"network": "2"}})).await;
        assert_eq!((changed.status, &changed.json["quota"]["network"]), (200, &json!(2)), "{changed:?}");
        assert_eq!((network(&tenant).await.status, network(&tenant).await.status), (201, 201));
        let over = network(&tenant).await;
        assert_eq!((over.status, over.text_at("/NeutronError/type")), (409, "OverQuota"), "{over:?}");
        for details in ["details", "details.json"] {
            let details = tenant.get(&format!("{path}/{details}")).await;
            assert_eq!(details.json["quota"]["network"], json!({"limit": 2, "used": 2, "reserved": 0}));
        }
        let listed = admin.get("/network/v2.0/quotas").await;
        assert_eq!(listed.json["quotas"][0]["project_id"], id.as_str());
        let checked = admin.put(&path, &json!({"quota": {"network": 1, "check_limit": true}})).await;
        assert_eq!(checked.status, 400, "{checked:?}");
        assert_eq!(admin.put(&path, &json!({"quota": {"network": 1}})).await.status, 200);
        assert_eq!(tenant.get(&format!("{path}/default")).await.json["quota"]["network"], 100);
        assert_eq!(admin.delete(&path).await.status, 204);
        assert_eq!(tenant.get(&path).await.json, shown.json);
        exact(&cloud.app().store, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_of_others_are_not_shown_and_ones_own_not_changed() {
    let cloud = Cloud::start().await;
    let (tenant, other) = (cloud.tenant("t").await, cloud.tenant("other").await);
    let (own, theirs) = (project(&tenant).await, project(&other).await);
    for base in ["/compute/v2.1/os-quota-sets", "/network/v2.0/quotas"] {
        let absent = tenant.get(&format!("{base}/5f0c8a5752a54b1f8e66bd6c1f5a1c11")).await;
        let hidden = tenant.get(&format!("{base}/{theirs}")).await;
        assert_eq!(
            (hidden.status, absent.status),
            (403, 403),
            "the same, so that nobody learns who is there"
        );
        for body in [json!({"quota_set": {"cores": -1}}), json!({"quota": {"network": -1}})] {
            let changed = tenant.put(&format!("{base}/{own}"), &body).await;
            assert!(matches!(changed.status, 400 | 403), "{changed:?}");
        }
        assert_eq!(tenant.delete(&format!("{base}/{own}")).await.status, 403);
    }
    assert_eq!(tenant.get("/network/v2.0/quotas").await.status, 403);
    let body = json!({"quota_set": {"cores": -1}});
    let unlimited = tenant.put(&format!("/compute/v2.1/os-quota-sets/{own}"), &body).await;
    assert_eq!(unlimited.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_quotas_are_refused_with_words() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let id = project(&tenant).await;
    for limits in [
        json!({"cores": -2}),
        json!({"cores": 1_i64 << 40}),
        json!({"cores": "many"}),
        json!({"cores": 1.5}),
        json!({"volumes": 1}),
        json!({"floating_ips": 5}),
        json!([]),
        Value::Null,
    ] {
        let answer = set(&admin, &id, limits.clone()).await;
        assert_eq!(answer.status, 400, "{limits}: {answer:?}");
        assert!(!answer.text_at("/badRequest/message").is_empty());
    }
    for quota in
        [json!({"network": -2}), json!({"network": "x"}), json!({"router": 5}), json!([]), Value::Null]
    {
        let answer = admin.put(&format!("/network/v2.0/quotas/{id}"), &json!({ "quota": quota })).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.json["NeutronError"]["message"].is_string());
    }
    let user = format!("/compute/v2.1/os-quota-sets/{id}?user_id=..%00");
    assert_eq!(admin.get(&user).await.status, 400);
    assert_eq!(admin.get("/compute/v2.1/os-quota-sets/none").await.status, 400);
    assert_eq!(admin.get("/network/v2.0/quotas/none").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_counted_in_bytes_once_they_are_there() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let body = json!({"limits": [{
            "project_id": project(&tenant).await, "service_id": service(&admin, "image").await,
            "resource_name": "image_size_total", "resource_limit": 1,
        }]});
        let made = admin.post("/identity/v3/limits", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = image(&tenant, "one MiB").await;
        let usage = tenant.get("/image/v2/info/usage").await;
        assert_eq!(usage.json["usage"]["image_size_total"], json!({"limit": 1, "usage": 1}), "{usage:?}");
        assert_eq!(usage.json["usage"]["image_count_total"], json!({"limit": 100, "usage": 1}));

        let body = json!({"name": "more", "disk_format": "raw", "container_format": "bare"});
        let more = tenant.post("/image/v2/images", &body).await.text_at("/id").to_owned();
        let upload = async || {
            let file = tenant.request("PUT", &format!("/image/v2/images/{more}/file"));
            tenant.send(file.header("content-type", "application/octet-stream").body("1")).await.status
        };
        assert_eq!(upload().await, 413);
        // It can be tried again once there is room.
        assert_eq!(tenant.delete(&format!("/image/v2/images/{id}")).await.status, 204);
        assert_eq!(upload().await, 204);
        exact(&cloud.app().store, "after").await;
        assert_eq!(tenant.delete(&format!("/image/v2/images/{more}")).await.status, 204);
        exact(&cloud.app().store, "in the end").await;
    }
}
