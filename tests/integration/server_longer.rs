//! Operations of more than one step: resize, rescue, shelve, soft delete, images of servers. What they hold is held
//! until their end and given back then, whichever end that is.

use canopy_hypervisor::fake::Op;
use canopy_tests::fixtures::{boot, flavor, image, server, show, until_gone, until_status};
use canopy_tests::{Answer, Client, Cloud, Engine, engines, until};
use canopy_types::{Clock, Error, SystemClock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

async fn act(client: &Client, id: &str, body: Value) -> Answer {
    client.at("2.37").post(&format!("/compute/v2.1/servers/{id}/action"), &body).await
}

async fn done(client: &Client, id: &str, body: Value) {
    let answer = act(client, id, body.clone()).await;
    assert!(answer.status < 300, "{body}: {answer:?}");
}

/// What all hosts have given, and what the tenant's project has used; the counters are held against the rows.
async fn counted(cloud: &Cloud, project: &str) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let project = canopy_types::ProjectId::from(project);
    let (hosts, usage, wrong) = cloud
        .app()
        .store
        .read(move |c| {
            Box::pin(async move {
                let (_, inventories) = canopy_store::hosts::all(c).await?;
                let usage = canopy_store::quota::usage(c, &project).await?.used;
                let wrong = canopy_store::quota::truth::differences(c).await?;
                Ok((inventories, usage, wrong))
            })
        })
        .await
        .unwrap();
    assert_eq!(wrong, []);
    let hosts = hosts.into_iter().map(|row| (row.class, row.used)).collect();
    (hosts, usage.into_iter().filter(|(_, used)| *used > 0).collect())
}

struct Room {
    cloud: Cloud,
    tenant: Client,
    project: String,
    small: String,
    large: String,
    image: String,
}

impl Room {
    async fn new(cloud: Cloud) -> Self {
        let admin = cloud.admin().await;
        let small = flavor(&admin, "small", 1, 512, 1).await;
        let large = flavor(&admin, "large", 2, 1024, 2).await;
        let tenant = cloud.tenant("t").await;
        let image = image(&tenant, "img").await;
        let shown = tenant.get(&format!("/image/v2/images/{image}")).await;
        let project = shown.text_at("/owner").to_owned();
        Self { cloud, tenant, project, small, large, image }
    }

    async fn server(&self) -> String {
        let id = boot(&self.tenant, &server("s", &self.small, &self.image)).await;
        until_status(&self.tenant, &id, "ACTIVE").await;
        id
    }

    async fn counted(&self) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
        counted(&self.cloud, &self.project).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_holds_both_flavors_until_it_is_confirmed_or_reverted() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let id = room.server().await;
        let before = room.counted().await;
        let resize = json!({"resize": {"flavorRef": room.large}});
        for end in ["revertResize", "confirmResize"] {
            done(&room.tenant, &id, resize.clone()).await;
            let shown = until_status(&room.tenant, &id, "VERIFY_RESIZE").await;
            assert_eq!(shown["flavor"]["id"], room.large.as_str());
            assert_eq!(shown["OS-EXT-STS:vm_state"], "resized");
            let held = room.counted().await;
            assert_eq!(held.0["MEMORY_MB"], 512 + 1024, "the host's, of both");
            assert_eq!(held.1["ram"], 1024, "of quota the larger");
            assert_eq!(held.1["cores"], 2);
            done(&room.tenant, &id, json!({end: null})).await;
            until_status(&room.tenant, &id, "ACTIVE").await;
            if end == "revertResize" {
                assert_eq!(room.counted().await, before, "{engine:?}");
                assert_eq!(show(&room.tenant, &id).await["flavor"]["id"], room.small.as_str());
            }
        }
        let after = room.counted().await;
        assert_eq!((after.0["MEMORY_MB"], after.1["ram"], after.1["instances"]), (1024, 1024, 1));
        let lines =
            room.tenant.at("2.37").get(&format!("/compute/v2.1/servers/{id}/os-instance-actions")).await;
        let lines: Vec<&str> = lines.json["instanceActions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|l| l["action"].as_str())
            .collect();
        assert_eq!(lines, ["confirmResize", "resize", "revertResize", "resize", "create"]);
        // Deleted in the middle it gives back both.
        let other = room.server().await;
        done(&room.tenant, &other, resize.clone()).await;
        until_status(&room.tenant, &other, "VERIFY_RESIZE").await;
        assert_eq!(room.tenant.delete(&format!("/compute/v2.1/servers/{other}")).await.status, 204);
        until_gone(&room.tenant, &other).await;
        assert_eq!(room.counted().await, after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_cannot_be_is_refused_as_nova_refuses_it() {
    let room = Room::new(Cloud::start().await).await;
    let admin = room.cloud.admin().await;
    let id = room.server().await;
    let huge = flavor(&admin, "huge", 4, 64 << 10, 1).await;
    let no_disk = flavor(&admin, "no-disk", 1, 512, 0).await;
    let costly = flavor(&admin, "costly", 100, 512, 1).await;
    let before = room.counted().await;
    for (flavor, status, words) in [
        (room.small.as_str(), 400, "must change flavor"),
        ("no-such-flavor", 400, "could not be found"),
        (&no_disk, 400, "zero disk"),
        (&huge, 403, "ram"),
        (&costly, 403, "cores"),
    ] {
        let answer = act(&room.tenant, &id, json!({"resize": {"flavorRef": flavor}})).await;
        assert_eq!(answer.status, status, "{flavor}: {answer:?}");
        assert!(answer.text().contains(words), "{flavor}: {answer:?}");
    }
    for bad in [
        json!({"resize": null}),
        json!({"resize": {}}),
        json!({"resize": {"flavorRef": ""}}),
        json!({"resize": {"flavorRef": "1", "x": 1}}),
    ] {
        assert_eq!(act(&room.tenant, &id, bad.clone()).await.status, 400, "{bad}");
    }
    // The admin's own quota is no hindrance; the host is too small.
    let lifted = json!({"quota_set": {"ram": -1, "cores": -1}});
    let path = format!("/compute/v2.1/os-quota-sets/{}", room.project);
    assert_eq!(admin.put(&path, &lifted).await.status, 200);
    let answer = act(&room.tenant, &id, json!({"resize": {"flavorRef": huge}})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("No valid host was found"), "{answer:?}");
    assert_eq!(room.counted().await, before, "a refusal holds nothing");
    done(&room.tenant, &id, json!({"resize": {"flavorRef": room.large}})).await;
    until_status(&room.tenant, &id, "VERIFY_RESIZE").await;
    done(&room.tenant, &id, json!({"confirmResize": null})).await;
    until_status(&room.tenant, &id, "ACTIVE").await;
    let answer = act(&room.tenant, &id, json!({"resize": {"flavorRef": room.small}})).await;
    assert!(answer.status == 400 && answer.text().contains("resize disk down"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_the_host_is_undone_and_told_in_the_history() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let before = room.counted().await;
    for (word, body) in
        [("resize", json!({"resize": {"flavorRef": room.large}})), ("rescue", json!({"rescue": null}))]
    {
        room.cloud.hypervisor.fail_next(Op::Start, Error::bad_request("test.start", "It does not start."));
        done(&room.tenant, &id, body).await;
        until(&format!("the {word} is undone"), async || {
            let lines = room.tenant.get(&format!("/compute/v2.1/servers/{id}/os-instance-actions")).await;
            lines.json["instanceActions"][0]["message"] == "Error"
        })
        .await;
        let shown = until_status(&room.tenant, &id, "ACTIVE").await;
        assert_eq!(shown["flavor"]["id"], room.small.as_str());
        assert_eq!(room.counted().await, before, "{word}");
        assert_eq!(room.cloud.hypervisor.spec(id.parse().unwrap()).unwrap().disks.len(), 1);
    }
}

struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_ends_ends_itself_when_its_time_is_up() {
    let clock = Arc::new(Moved(AtomicI64::new(0)));
    let limits = |config: &mut canopy::config::Config| {
        config.resize_confirm_seconds = 600;
        config.reclaim_seconds = 600;
    };
    let room = Room::new(Cloud::start_with(Engine::Sqlite, limits, Some(clock.clone())).await).await;
    let (resized, deleted, restored) = (room.server().await, room.server().await, room.server().await);
    done(&room.tenant, &resized, json!({"resize": {"flavorRef": room.large}})).await;
    until_status(&room.tenant, &resized, "VERIFY_RESIZE").await;
    for id in [&deleted, &restored] {
        assert_eq!(room.tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
        until_status(&room.tenant, id, "SOFT_DELETED").await;
    }
    let listed = room.tenant.get("/compute/v2.1/servers").await;
    assert_eq!(listed.json["servers"].as_array().unwrap().len(), 1, "what can be restored is not listed");
    let listed = room.tenant.get("/compute/v2.1/servers?status=SOFT_DELETED").await;
    assert_eq!(listed.json["servers"].as_array().unwrap().len(), 2);
    done(&room.tenant, &restored, json!({"restore": null})).await;
    until_status(&room.tenant, &restored, "ACTIVE").await;
    canopy_app::compute::servers::overdue(room.cloud.app()).await.unwrap();
    assert_eq!(show(&room.tenant, &resized).await["status"], "VERIFY_RESIZE", "not yet");
    assert_eq!(show(&room.tenant, &deleted).await["status"], "SOFT_DELETED", "not yet");
    clock.0.store(700, Ordering::SeqCst);
    canopy_app::compute::servers::overdue(room.cloud.app()).await.unwrap();
    until_status(&room.tenant, &resized, "ACTIVE").await;
    assert_eq!(show(&room.tenant, &resized).await["flavor"]["id"], room.large.as_str());
    until_gone(&room.tenant, &deleted).await;
    assert_eq!(show(&room.tenant, &restored).await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_disk_becomes_an_image_that_boots() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let id = room.server().await;
        let before = room.counted().await;
        let wanted = json!({"createImage": {"name": "copy", "metadata": {"colour": "green"}}});
        let asked = act(&room.tenant, &id, wanted.clone()).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        let image = asked.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
        let is_active = async |image: &str| {
            room.tenant.get(&format!("/image/v2/images/{image}")).await.json["status"] == "active"
        };
        until("the image is there", async || is_active(&image).await).await;
        until_status(&room.tenant, &id, "ACTIVE").await;
        let shown = room.tenant.get(&format!("/image/v2/images/{image}")).await.json;
        assert_eq!((&shown["name"], &shown["colour"]), (&json!("copy"), &json!("green")));
        assert_eq!((&shown["image_type"], &shown["instance_uuid"]), (&json!("snapshot"), &json!(id)));
        assert_eq!((&shown["disk_format"], &shown["visibility"]), (&json!("qcow2"), &json!("private")));
        // Of one that is off, as well.
        done(&room.tenant, &id, json!({"os-stop": null})).await;
        until_status(&room.tenant, &id, "SHUTOFF").await;
        let asked = act(&room.tenant, &id, wanted).await;
        let resting = asked.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
        until("the second is there", async || is_active(&resting).await).await;
        until_status(&room.tenant, &id, "SHUTOFF").await;
        let copy = boot(&room.tenant, &server("c", &room.small, &resting)).await;
        until_status(&room.tenant, &copy, "ACTIVE").await;
        assert_eq!(room.counted().await.1["images"], before.1["images"] + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_backups_of_a_type_stay_and_older_ones_go() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let id = room.server().await;
        let before = room.counted().await.1["images"];
        let backup = async |name: &str, kind: &str, keep: Value| {
            let wanted = json!({"name": name, "backup_type": kind, "rotation": keep, "metadata": {"k": "v"}});
            let asked = act(&room.tenant, &id, json!({"createBackup": wanted})).await;
            assert_eq!(asked.status, 202, "{asked:?}");
            // Several in a second would not be in the order in which they were made.
            until("the backup has ended", async || {
                show(&room.tenant, &id).await["OS-EXT-STS:task_state"].is_null()
            })
            .await;
            asked.header("location").map(|link| link.rsplit('/').next().unwrap().to_owned())
        };
        let names = async || -> Vec<String> {
            let listed = room.tenant.get("/image/v2/images?image_type=backup&sort=name:asc").await;
            let images = listed.json["images"].as_array().unwrap().clone();
            assert!(images.iter().all(|image| image["status"] == "active"), "{images:?}");
            images.iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
        };
        let first = backup("d1", "daily", json!(2)).await.unwrap();
        let shown = room.tenant.get(&format!("/image/v2/images/{first}")).await.json;
        assert_eq!((&shown["backup_type"], &shown["k"]), (&json!("daily"), &json!("v")));
        assert_eq!(shown["instance_uuid"], id.as_str());
        backup("w1", "weekly", json!(1)).await;
        backup("d2", "daily", json!("2")).await;
        assert_eq!(names().await, ["d1", "d2", "w1"]);
        backup("d3", "daily", json!(2)).await;
        assert_eq!(names().await, ["d2", "d3", "w1"], "the oldest daily one made room");
        assert_eq!(room.counted().await.1["images"], before + 3, "and quota");
        // One that its owner protects stays.
        let images = room.tenant.get("/image/v2/images?name=d2").await;
        let protect = json!([{"op": "replace", "path": "/protected", "value": true}]);
        let path = format!("/image/v2/images/{}", images.text_at("/images/0/id"));
        let patch = room.tenant.request("PATCH", &path);
        let patch = patch.header("content-type", "application/openstack-images-v2.1-json-patch");
        assert_eq!(room.tenant.send(patch.body(protect.to_string())).await.status, 200);
        assert_eq!(backup("d4", "daily", json!(0)).await, None, "nothing stays to point at");
        assert_eq!(names().await, ["d2", "w1"]);
        // A backup of which nothing comes takes nothing away.
        for _ in 0..3 {
            let broken = Error::unavailable("libvirt.copy_broken", "No copy.");
            room.cloud.hypervisor.fail_next(Op::CopyDisk, broken);
        }
        backup("w2", "weekly", json!(1)).await;
        assert_eq!(names().await, ["d2", "w1"]);
        // A server of a backup is no backup.
        let weekly = room.tenant.get("/image/v2/images?name=w1").await;
        let copy = boot(&room.tenant, &server("c", &room.small, weekly.text_at("/images/0/id"))).await;
        until_status(&room.tenant, &copy, "ACTIVE").await;
        let image = act(&room.tenant, &copy, json!({"createImage": {"name": "i"}})).await;
        let image = image.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
        let image = room.tenant.get(&format!("/image/v2/images/{image}")).await.json;
        assert_eq!((&image["image_type"], &image["backup_type"]), (&json!("snapshot"), &Value::Null));
        let named = json!({"createBackup": {"name": "n", "backup_type": "", "rotation": 0}});
        let path = format!("/compute/v2.1/servers/{id}/action");
        let named = room.tenant.at("2.45").post(&path, &named).await;
        assert!(named.status == 202 && named.json["image_id"].is_string(), "{named:?}");
        for bad in [
            json!({"name": "b", "backup_type": "daily"}),
            json!({"name": "b", "backup_type": "daily", "rotation": -1}),
            json!({"name": "b", "backup_type": "daily", "rotation": "many"}),
            json!({"name": "", "backup_type": "daily", "rotation": 1}),
            json!({"name": "b", "backup_type": 1, "rotation": 1}),
        ] {
            assert_eq!(act(&room.tenant, &id, json!({"createBackup": bad})).await.status, 400, "{bad}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_to_a_project_and_of_all_to_an_admin() {
    for engine in engines() {
        let room = Room::new(Cloud::start_on(engine).await).await;
        let admin = room.cloud.admin().await;
        let id = room.server().await;
        assert_eq!(room.tenant.delete(&format!("/compute/v2.1/servers/{id}")).await.status, 204);
        until_gone(&room.tenant, &id).await;
        let other = room.server().await;
        let base = "/compute/v2.1/os-simple-tenant-usage";
        let span = "start=2020-01-01T00:00:00&end=2100-01-01T00:00:00.000000";
        let own = room.tenant.get(&format!("{base}/{}?{span}", room.project)).await;
        assert_eq!(own.status, 200, "{own:?}");
        let usage = &own.json["tenant_usage"];
        assert!(usage["total_hours"].as_f64().unwrap() > 0.0, "{usage}");
        let ratio = usage["total_memory_mb_usage"].as_f64().unwrap() / usage["total_hours"].as_f64().unwrap();
        assert!((ratio - 512.0).abs() < 1e-6, "{usage}");
        let servers: Vec<_> = usage["server_usages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| (s["instance_id"].as_str().unwrap(), s["state"].as_str().unwrap()))
            .collect();
        assert_eq!(servers, [(id.as_str(), "terminated"), (other.as_str(), "active")]);
        assert_eq!(room.tenant.get(&format!("{base}?{span}")).await.status, 403);
        assert_eq!(room.tenant.get(&format!("{base}/{}?{span}", "0".repeat(32))).await.status, 403);
        let all = admin.get(&format!("{base}?{span}")).await;
        assert_eq!(all.json["tenant_usages"][0]["tenant_id"], room.project.as_str(), "{all:?}");
        assert!(all.json["tenant_usages"][0].get("server_usages").is_none());
        let all = admin.get(&format!("{base}?{span}&detailed=1")).await;
        assert_eq!(all.json["tenant_usages"][0]["server_usages"].as_array().unwrap().len(), 2);
        let before =
            room.tenant.get(&format!("{base}/{}?start=2020-01-01&end=2020-01-02", room.project)).await;
        assert_eq!(before.json["tenant_usage"], json!({}));
        for bad in ["start=yesterday", "start=2021-01-01&end=2020-01-01", "end=%00"] {
            assert_eq!(room.tenant.get(&format!("{base}/{}?{bad}", room.project)).await.status, 400, "{bad}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_made_goes_again() {
    let room = Room::new(Cloud::start().await).await;
    let id = room.server().await;
    let before = room.counted().await;
    for _ in 0..3 {
        room.cloud.hypervisor.fail_next(Op::CopyDisk, Error::unavailable("libvirt.copy_broken", "No copy."));
    }
    let asked = act(&room.tenant, &id, json!({"createImage": {"name": "copy"}})).await;
    let image = asked.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
    until("the image is gone", async || {
        room.tenant.get(&format!("/image/v2/images/{image}")).await.status == 404
    })
    .await;
    until_status(&room.tenant, &id, "ACTIVE").await;
    assert_eq!(room.counted().await, before);
    for bad in [
        json!({"createImage": {}}),
        json!({"createImage": {"name": ""}}),
        json!({"createImage": {"name": "n", "metadata": {"a": 1}}}),
    ] {
        assert_eq!(act(&room.tenant, &id, bad.clone()).await.status, 400, "{bad}");
    }
}
