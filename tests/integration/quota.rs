//! Quotas: their APIs over the same rows, and that nothing gets past them, however many ask at once.

mod api;
mod races;
mod rule;
mod tree;

use canopy_store::Store;
use canopy_tests::{Answer, Client};
use serde_json::{Value, json};

/// Every counter is what there is, in one state of the database.
async fn exact(store: &Store, what: &str) {
    let differences = store
        .read(|c| Box::pin(async move { canopy_store::quota::truth::differences(c).await }))
        .await
        .unwrap();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

/// The project that a client's token is for.
async fn project(client: &Client) -> String {
    let answer = client.get("/network/v2.0/quotas/tenant").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text_at("/tenant/tenant_id").to_owned()
}

async fn set(admin: &Client, project: &str, limits: Value) -> Answer {
    admin
        .at("2.37")
        .put(&format!("/compute/v2.1/os-quota-sets/{project}"), &json!({"quota_set": limits}))
        .await
}

/// The id of a service of the catalog.
async fn service(admin: &Client, kind: &str) -> String {
    admin.get(&format!("/identity/v3/services?type={kind}")).await.text_at("/services/0/id").to_owned()
}

async fn network(client: &Client) -> Answer {
    client.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await
}
