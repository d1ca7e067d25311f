//! What a host has given up, as its server's owner meets it.

use super::{controller, controller_with, ready, register, report};
use canopy_agent_api::{Controller, Observed, ServerObserved};
use canopy_app::compute::controller::LocalController;
use canopy_tests::fixtures::{flavor, server, show};
use canopy_tests::{Client, Cloud, engines};
use canopy_types::HostId;
use canopy_types::server::{How, Phase};
use serde_json::{Value, json};

/// Says as the host's agent that it has given up the newest intent.
async fn given_up(cloud: &Cloud, host: HostId, generation: i64) -> How {
    let controller = LocalController(cloud.app().clone());
    let wanted = controller.desired(host, 0, std::time::Duration::ZERO).await.unwrap();
    let power = wanted.servers[0].power;
    let told = ServerObserved {
        id: wanted.servers[0].id,
        phase: Phase::Failed,
        power_n: power.n - 1,
        failed_n: Some(power.n),
        error: Some("The guest cannot be taken down.".into()),
    };
    let observed = Observed { revision: wanted.revision, generation, servers: vec![told], load: None };
    controller.report(host, observed).await.unwrap();
    power.how
}

async fn cores(client: &Client) -> i64 {
    let limits = client.get("/compute/v2.1/limits").await;
    limits.json["limits"]["absolute"]["totalCoresUsed"].as_i64().unwrap()
}

async fn act(client: &Client, id: &str, body: Value) {
    let asked = client.post(&format!("/compute/v2.1/servers/{id}/action"), &body).await;
    assert_eq!(asked.status, 202, "{body}: {asked:?}");
}

/// Its old disk is still put away on the host: what is asked next goes the way back first, and until then the books
/// stay as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_fails_is_gone_by_whatever_is_asked_next() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("one", 100)]).await;
        let (admin, tenant, small, image) = ready(&cloud).await;
        let large = flavor(&admin, "two", 2, 128, 2).await;
        for (asked, on) in [(json!({"reboot": {"type": "HARD"}}), true), (json!({"os-stop": null}), false)] {
            let made = tenant.at("2.37").post("/compute/v2.1/servers", &server("s", &small, &image)).await;
            let id = made.text_at("/server/id").to_owned();
            report(&cloud, &hosts, 1, Some(Phase::Running)).await;
            act(&tenant, &id, json!({"resize": {"flavorRef": large}})).await;
            report(&cloud, &hosts, 2, Some(Phase::Running)).await;
            assert_eq!(show(&tenant, &id).await["status"], "VERIFY_RESIZE");
            act(&tenant, &id, json!({"revertResize": null})).await;
            assert_eq!(given_up(&cloud, hosts[0], 3).await, How::RevertResize);
            let shown = show(&tenant, &id).await;
            assert_eq!(
                (&shown["status"], &shown["fault"]["message"]),
                (&json!("ERROR"), &json!("The guest cannot be taken down."))
            );
            assert_eq!(cores(&tenant).await, 2);
            for refused in [json!({"rescue": null}), json!({"rebuild": {"imageRef": image}})] {
                let path = format!("/compute/v2.1/servers/{id}/action");
                let answer = tenant.post(&path, &refused).await;
                assert_eq!(answer.status, 409, "its own disk is to be put back first: {answer:?}");
            }
            act(&tenant, &id, asked).await;
            assert_eq!(given_up(&cloud, hosts[0], 4).await, How::RevertResize);
            assert_eq!(cores(&tenant).await, 2);
            act(
                &tenant,
                &id,
                if on { json!({"reboot": {"type": "HARD"}}) } else { json!({"os-stop": null}) },
            )
            .await;
            let phase = if on { Phase::Running } else { Phase::Stopped };
            report(&cloud, &hosts, 5, Some(phase)).await;
            let shown = show(&tenant, &id).await;
            assert_eq!(shown["status"], if on { "ACTIVE" } else { "SHUTOFF" }, "{shown:#?}");
            assert_eq!(shown["flavor"]["id"], small.as_str());
            assert_eq!(cores(&tenant).await, 1);
            let usages = admin.get(&format!("/placement/resource_providers/{}/usages", hosts[0])).await;
            assert_eq!(usages.json["usages"]["VCPU"], 1, "{usages:?}");
            assert_eq!(tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
            report(&cloud, &hosts, 6, None).await;
            assert_eq!(cores(&tenant).await, 0);
        }
    }
}

/// The row names the new image from the beginning: it is not booted with the old disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_is_done_by_the_next_start() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let hosts = register(&cloud, &[("one", 100)]).await;
        let (_, tenant, small, image) = ready(&cloud).await;
        let made = tenant.at("2.37").post("/compute/v2.1/servers", &server("s", &small, &image)).await;
        let id = made.text_at("/server/id").to_owned();
        report(&cloud, &hosts, 1, Some(Phase::Running)).await;
        act(&tenant, &id, json!({"rebuild": {"imageRef": image}})).await;
        assert_eq!(given_up(&cloud, hosts[0], 2).await, How::Rebuild);
        assert_eq!(show(&tenant, &id).await["status"], "ERROR");
        act(&tenant, &id, json!({"reboot": {"type": "HARD"}})).await;
        assert_eq!(given_up(&cloud, hosts[0], 3).await, How::Rebuild);
        act(&tenant, &id, json!({"os-stop": null})).await;
        report(&cloud, &hosts, 4, Some(Phase::Stopped)).await;
        assert_eq!(show(&tenant, &id).await["status"], "SHUTOFF");
        act(&tenant, &id, json!({"os-start": null})).await;
        assert_eq!(given_up(&cloud, hosts[0], 5).await, How::Plain, "the rebuild is over");
    }
}

/// Who deletes it gets it deleted, be it for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_switched_off_softly_is_deleted_for_good() {
    for engine in engines() {
        let cloud = controller_with(engine, |config| config.reclaim_seconds = 3_600).await;
        let hosts = register(&cloud, &[("one", 100)]).await;
        let (_, tenant, small, image) = ready(&cloud).await;
        let made = tenant.at("2.37").post("/compute/v2.1/servers", &server("s", &small, &image)).await;
        let path = format!("/compute/v2.1/servers/{}", made.text_at("/server/id"));
        report(&cloud, &hosts, 1, Some(Phase::Running)).await;
        assert_eq!(tenant.delete(&path).await.status, 204);
        assert_eq!(given_up(&cloud, hosts[0], 2).await, How::SoftDelete);
        assert_eq!(tenant.get(&path).await.json["server"]["status"], "ERROR");
        assert_eq!(tenant.delete(&path).await.status, 204);
        report(&cloud, &hosts, 3, None).await;
        assert_eq!(tenant.get(&path).await.status, 404);
        assert_eq!(cores(&tenant).await, 0);
    }
}
