//! Backups of a running cloud: taken under writes, restored elsewhere, and refused where they would destroy.

use canopy::Config;
use canopy::backup::{backup, restore};
use canopy_tests::{Client, Cloud, Engine};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

async fn image(client: &Client, bytes: &str) -> String {
    let body = json!({"disk_format": "raw", "container_format": "bare", "name": bytes});
    let made = client.post("/image/v2/images", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.text_at("/id").to_owned();
    let path = format!("/image/v2/images/{id}/file");
    let put = client.request("PUT", &path).header("content-type", "application/octet-stream");
    assert_eq!(client.send(put.body(bytes.to_owned())).await.status, 204);
    id
}

fn elsewhere(config: &Config, dir: &Path) -> Config {
    Config { data_dir: dir.to_owned(), ..config.clone() }
}

/// Starts a cloud on a restored folder.
async fn start(dir: &Path) -> Cloud {
    let dir = dir.to_owned();
    Cloud::start_with(Engine::Sqlite, move |config| config.data_dir = dir, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_writes_holds_everything_that_was_there_when_it_began() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let mut before = Vec::new();
    for n in 0..5 {
        before.push((image(&tenant, &format!("before {n}")).await, format!("before {n}")));
    }
    // Images come and go all the while.
    let (stop, errors) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (tenant, stop, errors) = (tenant.clone(), stop.clone(), errors.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let id = image(&tenant, &format!("during {writer} {n}")).await;
                    let gone = tenant.delete(&format!("/image/v2/images/{id}")).await;
                    if gone.status != 204 {
                        errors.lock().unwrap().push(gone.status);
                    }
                }
                n
            })
        })
        .collect();
    let copies = tempfile::tempdir().unwrap();
    let mut manifests = Vec::new();
    for n in 0..3 {
        let to = copies.path().join(n.to_string());
        manifests.push(backup(&cloud.config, &to).await.expect("a backup under writes"));
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0, "the writer has written");
    }
    assert!(errors.lock().unwrap().is_empty(), "writers are not disturbed");
    assert!(manifests.iter().all(|made| made.files.contains_key("canopy.db")));
    assert!(manifests[0].files.keys().any(|name| name.starts_with("keys/")));

    for n in 0..3 {
        let data = copies.path().join(format!("data-{n}"));
        let from = copies.path().join(n.to_string());
        restore(&elsewhere(&cloud.config, &data), &from).await.expect("a restore");
        let restored = start(&data).await;
        let tenant = restored.login("t", "correct horse", "t").await;
        for (id, bytes) in &before {
            let got = tenant.get(&format!("/image/v2/images/{id}/file")).await;
            assert_eq!((got.status, got.text()), (200, bytes.clone()));
        }
        // Whatever else the snapshot names is whole.
        let all = tenant.get("/image/v2/images?status=active").await;
        for image in all.json["images"].as_array().expect("images") {
            let id = image["id"].as_str().expect("an id");
            let got = tenant.get(&format!("/image/v2/images/{id}/file")).await;
            assert_eq!(Some(got.text().as_str()), image["name"].as_str());
        }
        image(&tenant, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_to_an_empty_folder_only_and_takes_nothing_damaged() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    image(&tenant, "bytes").await;
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("backup");
    let manifest = backup(&cloud.config, &to).await.unwrap();
    assert!(backup(&cloud.config, &to).await.is_err(), "a backup is never written over");
    let full = restore(&cloud.config, &to).await.unwrap_err();
    assert!(full.message.contains("empty data folder"), "{full}");
    assert_eq!(tenant.get("/image/v2/images").await.status, 200, "the cloud that was there is untouched");

    let data = copies.path().join("data");
    let config = elsewhere(&cloud.config, &data);
    let blob = manifest.files.keys().find(|name| name.starts_with("images/")).unwrap();
    let kept = std::fs::read(to.join(blob)).unwrap();
    std::fs::write(to.join(blob), "other").unwrap();
    let damaged = restore(&config, &to).await.unwrap_err();
    assert!(damaged.message.contains("not as it was written"), "{damaged}");
    assert!(!data.join("canopy.db").exists());
    std::fs::remove_file(to.join(blob)).unwrap();
    assert!(restore(&config, &to).await.is_err(), "a file of it is missing");
    std::fs::write(to.join(blob), kept).unwrap();

    let text = std::fs::read_to_string(to.join("manifest.json")).unwrap();
    let mut hostile: Value = serde_json::from_str(&text).unwrap();
    hostile["files"]["../outside"] = json!({"size": 0, "sha256": ""});
    std::fs::write(to.join("manifest.json"), hostile.to_string()).unwrap();
    assert!(restore(&config, &to).await.unwrap_err().message.contains("leads out"));
    std::fs::remove_file(to.join("manifest.json")).unwrap();
    assert!(restore(&config, &to).await.unwrap_err().message.contains("not a backup"));

    // What was refused can be tried again; the guests' disks may be there.
    std::fs::write(to.join("manifest.json"), text).unwrap();
    std::fs::create_dir_all(data.join("agent")).unwrap();
    restore(&config, &to).await.unwrap();
    let restored = start(&data).await;
    let older = canopy_tests::Client::new(&restored.url, &tenant.token);
    assert_eq!(older.get("/image/v2/images").await.status, 401, "whether it was revoked since is not known");
    assert_eq!(restored.login("t", "correct horse", "t").await.get("/image/v2/images").await.status, 200);
}
