//! Allocation candidates.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_follow_trees_sharing_groups_and_versions() {
    for engine in engines() {
        let cloud = Cloud::start_with(engine, |config| config.agent.enabled = false, None).await;
        let admin = admin(&cloud).await;
        let shared_by = uuid();
        let (host, disk) = (made(&admin, "host", None).await, made(&admin, "disk", None).await);
        let numa = [made(&admin, "numa0", Some(&host)).await, made(&admin, "numa1", Some(&host)).await];
        for id in &numa {
            let offer = json!({"VCPU": {"total": 4, "max_unit": 4}, "MEMORY_MB": {"total": 1024}});
            assert_eq!(stock(&admin, id, offer).await.status, 200);
        }
        mark(&admin, &numa[1], &["CUSTOM_FAST"], &[]).await;
        mark(&admin, &host, &["COMPUTE_NODE"], &[&shared_by]).await;
        assert_eq!(stock(&admin, &disk, json!({"DISK_GB": {"total": 100}})).await.status, 200);
        mark(&admin, &disk, &["MISC_SHARES_VIA_AGGREGATE"], &[&shared_by]).await;
        let ask = async |client: &Client, query: &str| {
            client.get(&format!("/placement/allocation_candidates?{query}")).await
        };

        let spread = ask(&admin, "resources=VCPU:1,DISK_GB:10").await;
        assert_eq!(requests(&spread).len(), 2);
        for one in requests(&spread) {
            assert_eq!(one["allocations"][&disk]["resources"], json!({"DISK_GB": 10}));
            assert!(one["mappings"][""].as_array().unwrap().contains(&json!(disk)));
        }
        let summaries = spread.json["provider_summaries"].as_object().unwrap();
        assert_eq!(summaries.len(), 4, "whole trees: {summaries:?}");
        assert_eq!(summaries[&numa[1]]["traits"], json!(["CUSTOM_FAST"]));
        assert_eq!(summaries[&numa[0]]["resources"]["VCPU"], json!({"capacity": 4, "used": 0}));
        assert_eq!(summaries[&numa[0]]["root_provider_uuid"], json!(host));

        for (query, count) in [
            ("resources=VCPU:1&required=CUSTOM_FAST", 1),
            ("resources=VCPU:1&required=!CUSTOM_FAST", 1),
            ("resources=VCPU:1&required=in:CUSTOM_FAST,COMPUTE_NODE", 1),
            ("resources=VCPU:5", 0),
            ("resources=VCPU:1,MEMORY_MB:1", 4),
            ("resources_A=VCPU:1,MEMORY_MB:1", 2),
            ("resources_A=VCPU:1&resources_B=VCPU:1&group_policy=none", 4),
            ("resources_A=VCPU:1&resources_B=VCPU:1&group_policy=isolate", 2),
            ("resources_A=VCPU:3&resources_B=VCPU:3&group_policy=none", 2),
            ("resources_A=VCPU:1&resources_B=MEMORY_MB:1&group_policy=none&same_subtree=_A,_B", 2),
            ("resources_A=VCPU:1&required_R=COMPUTE_NODE&group_policy=none&same_subtree=_A,_R", 2),
            ("resources=VCPU:1&root_required=COMPUTE_NODE", 2),
            ("resources=VCPU:1&root_required=!COMPUTE_NODE", 0),
            ("resources=VCPU:1&limit=1", 1),
            (&format!("resources=VCPU:1&member_of={shared_by}"), 2),
            (&format!("resources=VCPU:1&member_of=!{shared_by}"), 0),
            (&format!("resources=VCPU:1&in_tree={}", numa[0]), 2),
            (&format!("resources=VCPU:1,DISK_GB:1&in_tree={host}"), 0),
            (&format!("resources=VCPU:1&in_tree={}", uuid()), 0),
            ("resources=VCPU:99999999999999999999", 0),
        ] {
            assert_eq!(requests(&ask(&admin, query).await).len(), count, "{engine:?} {query}");
        }
        for (query, code) in [
            ("", "placement.query.missing_value"),
            ("resources=", UNDEFINED),
            ("resources=VCPU:0", UNDEFINED),
            ("resources=VCPU:x", UNDEFINED),
            ("resources=CUSTOM_NONE:1", UNDEFINED),
            ("resources=VCPU:1&required=CUSTOM_NONE", UNDEFINED),
            ("resources=VCPU:1&required=CUSTOM_FAST,!CUSTOM_FAST", UNDEFINED),
            ("resources=VCPU:1&limit=0", UNDEFINED),
            ("resources=VCPU:1&bogus=1", UNDEFINED),
            ("resources=VCPU:1&member_of=x", UNDEFINED),
            ("resources1=VCPU:1&resources2=VCPU:1", UNDEFINED),
            ("resources1=VCPU:1&group_policy=some", UNDEFINED),
            ("resources=VCPU:1&required_R=COMPUTE_NODE", "placement.query.bad_value"),
            ("resources=VCPU:1&same_subtree=_X", "placement.query.bad_value"),
            (
                "resources=VCPU:1&root_required=COMPUTE_NODE&root_required=COMPUTE_NODE",
                "placement.query.duplicate_key",
            ),
            ("resources=VCPU:1&root_required=COMPUTE_NODE,!COMPUTE_NODE", "placement.query.bad_value"),
            ("resources=VCPU:1&resources%00=VCPU:1", UNDEFINED),
        ] {
            refused(&ask(&admin, query).await, 400, code);
        }

        // What is put away by one request is what the next sees.
        let consumer = uuid();
        let all = ask(&admin, "resources_A=VCPU:4&required_A=CUSTOM_FAST").await;
        let first = &requests(&all)[0];
        let mut claim = allocation(&host, json!({}), None);
        claim["allocations"] = first["allocations"].clone();
        claim["mappings"] = first["mappings"].clone();
        assert_eq!(admin.put(&format!("/placement/allocations/{consumer}"), &claim).await.status, 204);
        assert_eq!(requests(&ask(&admin, "resources=VCPU:1").await).len(), 1);

        // Callers from before trees see one provider of each tree, and what they asked for.
        let old = at(&cloud.admin().await, "1.10");
        let flat = ask(&old, "resources=VCPU:1,DISK_GB:1").await;
        assert_eq!(requests(&flat).len(), 1);
        assert_eq!(requests(&flat)[0]["allocations"].as_array().unwrap().len(), 2);
        let shown = flat.json["provider_summaries"].as_object().unwrap();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[&numa[0]], json!({"resources": {"VCPU": {"capacity": 4, "used": 0}}}));
        refused_at_old(&ask(&old, "resources=VCPU:1&limit=1").await, 400);
    }
}
