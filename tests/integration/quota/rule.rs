//! A rule that no quota table can express, as a real plugin in a real cloud: `examples/quota-gpu-cap`.

use super::exact;
use canopy_tests::fixtures::{flavor, image, server};
use canopy_tests::process::plugins;
use canopy_tests::{Cloud, Engine};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_holds_so_many_gpus_in_a_zone_and_limits_hold_beside_it() {
    let with_rule = |config: &mut canopy::Config| {
        config.plugins.quota = Some(plugins().join("quota-gpu-cap"));
        let settings = serde_json::from_value(json!({"most": 3})).unwrap();
        config.plugins.config.insert("quota".to_owned(), settings);
        config.quota.defaults.insert("instances".to_owned(), 4);
    };
    let cloud = Cloud::start_with(Engine::Sqlite, with_rule, None).await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let gpu = flavor(&admin, "gpu", 1, 64, 1).await;
    let specs = json!({"extra_specs": {"resources:CUSTOM_GPU": "2"}});
    assert_eq!(admin.post(&format!("/compute/v2.1/flavors/{gpu}/os-extra_specs"), &specs).await.status, 200);
    let plain = flavor(&admin, "plain", 1, 64, 1).await;
    let image = image(&tenant, "img").await;
    let boot = async |flavor: &str| {
        tenant.at("2.37").post("/compute/v2.1/servers", &server("s", flavor, &image)).await
    };
    let first = boot(&gpu).await;
    assert_eq!(first.status, 202, "{first:?}");
    let over = boot(&gpu).await;
    assert_eq!(over.status, 403, "{over:?}");
    let text = over.text_at("/forbidden/message");
    assert!(
        text.starts_with("At most 3 GPUs in zone nova for one user: Requested 2, but already used 2."),
        "{text}"
    );
    for _ in 0..3 {
        assert_eq!(boot(&plain).await.status, 202);
    }
    let over = boot(&plain).await;
    assert!(over.text_at("/forbidden/message").starts_with("Quota exceeded for instances"), "{over:?}");
    // What is given back is there again.
    let id = first.text_at("/server/id");
    assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
    canopy_tests::fixtures::until_gone(&tenant, id).await;
    assert_eq!(boot(&gpu).await.status, 202);
    exact(&cloud.app().store, "after").await;
}
