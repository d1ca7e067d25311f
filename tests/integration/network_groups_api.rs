//! Security groups: whose they are to delete, and when.

use crate::network_api::{V2, made, network, refused, try_make};
use canopy_tests::{Cloud, engines};
use futures::future::join_all;
use serde_json::json;

/// Who takes a project away takes its default group away, as keystone does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_group_is_an_operators_to_delete_once_no_port_is_in_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (one, two, admin) = (cloud.tenant("one").await, cloud.tenant("two").await, cloud.admin().await);
        let default = async || -> String {
            let listed = one.get(&format!("{V2}/security-groups?name=default")).await;
            listed.text_at("/security_groups/0/id").to_owned()
        };
        let group = default().await;
        let path = format!("{V2}/security-groups/{group}");
        refused(&two.delete(&path).await, 404, "SecurityGroupNotFound");
        refused(&one.delete(&path).await, 409, "SecurityGroupCannotRemoveDefault");
        let net = network(&one, "n").await;
        let port = made(&one, "port", json!({"network_id": net})).await;
        assert_eq!(port["security_groups"], json!([group]));
        refused(&admin.delete(&path).await, 409, "SecurityGroupInUse");
        assert_eq!(one.delete(&format!("{V2}/ports/{}", port["id"].as_str().unwrap())).await.status, 204);
        assert_eq!(admin.delete(&path).await.status, 204);
        refused(&admin.delete(&path).await, 404, "SecurityGroupNotFound");
        refused(&admin.get(&path).await, 404, "SecurityGroupNotFound");
        let rules = admin.get(&format!("{V2}/security-group-rules?security_group_id={group}")).await;
        assert_eq!(rules.json["security_group_rules"], json!([]));
        refused(
            &try_make(&admin, "port", json!({"network_id": net, "security_groups": [group]})).await,
            404,
            "SecurityGroupNotFound",
        );
        // From the next use on there is a new one, also when many come at once, and none is taken from under them.
        let makers = (0..8).map(async |_| made(&one, "port", json!({"network_id": net})).await);
        let taker = async { admin.delete(&format!("{V2}/security-groups/{}", default().await)).await.status };
        let (ports, taken) = tokio::join!(join_all(makers), taker);
        assert!([204, 409].contains(&taken), "{taken}");
        let now = default().await;
        assert_ne!(now, group);
        assert!(ports.iter().all(|port| port["security_groups"] == json!([now])), "{ports:?}");
    }
}
