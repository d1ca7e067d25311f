//! What compute shows of other services' things to clients of its first versions.

use crate::network_api::network;
use canopy_tests::{Answer, Client, Cloud, fixtures};
use serde_json::{Value, json};
use std::slice::from_ref;

const V2: &str = "/compute/v2.1";
const NOBODYS: &str = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";

/// In nova's shape, with words in it.
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let faults: Vec<&Value> = answer.json.as_object().into_iter().flat_map(|body| body.values()).collect();
    assert_eq!((faults.len(), &faults[0]["code"]), (1, &json!(status)), "{answer:?}");
    let message = faults[0]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

fn ids(answer: &Answer, key: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json[key].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

async fn listed(client: &Client, query: &str) -> Vec<String> {
    ids(&client.get(&format!("{V2}/images?{query}")).await, "images")
}

async fn metadata(client: &Client, image: &str) -> Value {
    client.get(&format!("{V2}/images/{image}/metadata")).await.json["metadata"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_shown_found_and_deleted_as_nova_does() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.tenant("one").await, cloud.tenant("two").await);
    let image = fixtures::image(&one, "first").await;
    let path = format!("{V2}/images/{image}");
    let shown = one.at("2.35").get(&path).await;
    let base = &cloud.url;
    let fields = &shown.json["image"];
    let (created, updated) = (fields["created"].clone(), fields["updated"].clone());
    assert!(created.as_str().is_some_and(|time| time.ends_with('Z')), "{shown:?}");
    assert_eq!(
        shown.json,
        json!({"image": {
            "id": image, "name": "first", "status": "ACTIVE", "progress": 100, "minRam": 0, "minDisk": 0,
            "metadata": {}, "created": created, "updated": updated, "OS-EXT-IMG-SIZE:size": 1 << 20,
            "links": [
                {"rel": "self", "href": format!("{base}/compute/v2.1/images/{image}")},
                {"rel": "bookmark", "href": format!("{base}/compute/images/{image}")},
                {"rel": "alternate", "type": "application/vnd.openstack.image",
                    "href": format!("{base}/image/images/{image}")},
            ],
        }})
    );
    let body = json!({"name": "second", "min_ram": 64, "min_disk": 2, "instance_uuid": NOBODYS,
        "image_type": "snapshot", "auto_disk_config": "True"});
    let second = one.post("/image/v2/images", &body).await.text_at("/id").to_owned();
    let queued = one.get(&format!("{V2}/images/{second}")).await;
    let fields = &queued.json["image"];
    assert_eq!((&fields["status"], &fields["progress"]), (&json!("SAVING"), &json!(25)));
    assert_eq!((&fields["minRam"], &fields["OS-EXT-IMG-SIZE:size"]), (&json!(64), &json!(0)));
    assert_eq!((&fields["server"]["id"], &fields["OS-DCF:diskConfig"]), (&json!(NOBODYS), &json!("AUTO")));
    assert_eq!(fields["server"]["links"][1]["href"], format!("{base}/compute/servers/{NOBODYS}"));

    assert_eq!(listed(&one, "").await, [second.clone(), image.clone()]);
    let server = format!("server={base}/compute/servers/{NOBODYS}");
    for query in
        ["status=saving", "name=second", "type=snapshot", "minRam=64", "minDisk=2", "limit=1", &server]
    {
        assert_eq!(listed(&one, query).await, from_ref(&second), "{query}");
    }
    for query in ["status=ACTIVE", "name=first", "property-os_distro=&status=active&minDisk=0&name=first"] {
        let found = listed(&one, query).await;
        assert!(
            found == [image.clone()] || query.contains("distro") && found.is_empty(),
            "{query} {found:?}"
        );
    }
    assert_eq!(ids(&one.get("/image/v2/images?min_ram=64&min_disk=2").await, "images"), from_ref(&second));
    assert_eq!(listed(&one, "status=DELETED").await, [] as [String; 0]);
    assert_eq!(listed(&one, "changes-since=2200-01-01T00:00:00Z").await, [] as [String; 0]);
    assert_eq!(listed(&one, "changes-since=2020-01-01T00:00:00Z&visibility=public").await.len(), 2);
    for bad in ["minRam=x", "changes-since=never", "limit=-1", "limit=x", "marker=x", "name=%00"] {
        refused(&one.get(&format!("{V2}/images?{bad}")).await, 400, "");
    }
    let first_page = one.get(&format!("{V2}/images/detail?limit=1")).await;
    assert_eq!(first_page.json["images"][0]["status"], "SAVING");
    let next = first_page.text_at("/images_links/0/href");
    let rest = one.get(next.strip_prefix(base.as_str()).unwrap()).await;
    assert_eq!((ids(&rest, "images"), &rest.json["images_links"]), (vec![image.clone()], &Value::Null));

    // Another project's private image is nobody's.
    assert_eq!(listed(&two, "").await, [] as [String; 0]);
    refused(&two.get(&path).await, 404, "Image not found.");
    refused(&two.delete(&path).await, 404, "Image not found.");
    refused(&one.get(&format!("{V2}/images/x")).await, 404, "Image not found.");
    assert_eq!(one.delete(&format!("{V2}/images/")).await.status, 404);

    // Gone since 2.36.
    for version in ["2.36", "2.79"] {
        let later = one.at(version);
        for gone in [format!("{V2}/images"), format!("{V2}/images/detail"), path.clone()] {
            refused(&later.get(&gone).await, 404, "The resource could not be found.");
        }
        refused(&later.delete(&path).await, 404, "The resource could not be found.");
    }
    let protect = one
        .request("PATCH", &format!("/image/v2/images/{image}"))
        .header("content-type", "application/openstack-images-v2.1-json-patch");
    let protect = protect.body(json!([{"op": "replace", "path": "/protected", "value": true}]).to_string());
    assert_eq!(one.send(protect).await.status, 200);
    refused(&one.delete(&path).await, 403, "You are not allowed to delete the image.");
    assert_eq!(one.at("2.35").delete(&format!("{V2}/images/{second}")).await.status, 204);
    assert_eq!(one.get(&format!("/image/v2/images/{second}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_images_metadata_are_its_properties_until_2_39() {
    let cloud = Cloud::start().await;
    let (newer, two, admin) = (cloud.tenant("one").await, cloud.tenant("two").await, cloud.admin().await);
    let one = newer.at("2.38");
    let image = fixtures::image(&one, "i").await;
    let all = format!("{V2}/images/{image}/metadata");
    let item = |key: &str| format!("{all}/{key}");
    let given = json!({"metadata": {"os_distro": "debian", "a b": ""}});
    let added = one.post(&all, &given).await;
    assert_eq!((added.status, &added.json), (200, &given), "{added:?}");
    let more = one.post(&all, &json!({"metadata": {"os_version": "13"}})).await;
    assert_eq!(more.json["metadata"].as_object().unwrap().len(), 3);
    let one_item = one.put(&item("os_version"), &json!({"meta": {"os_version": "14"}})).await;
    assert_eq!((one_item.status, &one_item.json), (200, &json!({"meta": {"os_version": "14"}})));
    assert_eq!(one.get(&item("os_version")).await.json, json!({"meta": {"os_version": "14"}}));
    let glance = one.get(&format!("/image/v2/images/{image}")).await;
    assert_eq!((&glance.json["os_version"], &glance.json["os_distro"]), (&json!("14"), &json!("debian")));
    assert_eq!(one.delete(&item("os_distro")).await.status, 204);
    refused(&one.delete(&item("os_distro")).await, 404, "Invalid metadata key");
    refused(&one.get(&item("os_distro")).await, 404, "The resource could not be found.");
    let given = json!({"metadata": {"kept": "yes"}});
    let replaced = one.put(&all, &given).await;
    assert_eq!((replaced.status, &replaced.json), (200, &given));
    assert_eq!(metadata(&one, &image).await, json!({"kept": "yes"}));

    refused(&one.put(&item("x"), &json!({"meta": {"y": "1"}})).await, 400, "Request body and URI mismatch");
    for bad in [json!({}), json!({"metadata": {"k": 1}}), json!({"metadata": {"a/b": "1"}}), json!({"m": {}})]
    {
        refused(&one.post(&all, &bad).await, 400, "");
        refused(&one.put(&all, &bad).await, 400, "");
    }
    for field in ["visibility", "status", "owner", "name"] {
        let named = one.post(&all, &json!({"metadata": {field: "public"}})).await;
        refused(&named, 400, &format!("'{field}' is a field of every image"));
    }
    refused(&one.post(&all, &json!({"metadata": {"kernel_id": "x"}})).await, 400, "kernel_id");
    let project = admin.get("/identity/v3/projects?name=one").await.text_at("/projects/0/id").to_owned();
    let limit = json!({"quota_set": {"metadata_items": 2}});
    assert_eq!(admin.put(&format!("{V2}/os-quota-sets/{project}"), &limit).await.status, 200);
    assert_eq!(one.post(&all, &json!({"metadata": {"b": "1"}})).await.status, 200);
    refused(&one.post(&all, &json!({"metadata": {"c": "1"}})).await, 403, "Image metadata limit exceeded");
    refused(
        &one.put(&all, &json!({"metadata": {"c": "1", "d": "2", "e": "3"}})).await,
        403,
        "Image metadata limit exceeded",
    );
    let before = metadata(&one, &image).await;
    assert_eq!(before, json!({"kept": "yes", "b": "1"}));

    // Not another's, whose image it is not, and who may only look when everybody may.
    let theirs = two.at("2.38");
    let answers = [
        theirs.get(&all).await,
        theirs.post(&all, &json!({"metadata": {"a": "1"}})).await,
        theirs.put(&all, &json!({"metadata": {}})).await,
        theirs.put(&item("kept"), &json!({"meta": {"kept": "no"}})).await,
        theirs.delete(&item("kept")).await,
    ];
    answers.iter().for_each(|answer| refused(answer, 404, "Image not found."));
    let publish = admin
        .request("PATCH", &format!("/image/v2/images/{image}"))
        .header("content-type", "application/openstack-images-v2.1-json-patch")
        .body(json!([{"op": "replace", "path": "/visibility", "value": "public"}]).to_string());
    assert_eq!(admin.send(publish).await.status, 200);
    assert_eq!(metadata(&theirs, &image).await, before);
    assert_eq!(theirs.delete(&item("kept")).await.status, 403);
    assert_eq!(theirs.delete(&format!("{V2}/images/{image}")).await.status, 404, "gone since 2.36");
    assert_eq!(metadata(&one, &image).await, before);
    for path in [&all, &item("kept")] {
        refused(&newer.at("2.39").get(path).await, 404, "The resource could not be found.");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nova_took_out_says_so() {
    let cloud = Cloud::start().await;
    let client = cloud.tenant("one").await;
    for path in ["os-fping", "os-cells/detail", &format!("servers/{NOBODYS}/os-virtual-interfaces")] {
        refused(&client.at("2.79").get(&format!("{V2}/{path}")).await, 410, "no longer available");
    }
    refused(&client.get(&format!("{V2}/os-never")).await, 404, "The resource could not be found.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_are_known_by_id_and_name() {
    let cloud = Cloud::start().await;
    let (one, two, admin) = (cloud.tenant("one").await, cloud.tenant("two").await, cloud.admin().await);
    let id = network(&one, "mine").await;
    let paths = ["os-networks", "os-tenant-networks"].map(|kind| format!("{V2}/{kind}"));
    for all in &paths {
        let path = format!("{all}/{id}");
        assert_eq!(ids(&one.at("2.35").get(all).await, "networks"), from_ref(&id));
        assert_eq!(ids(&two.get(all).await, "networks"), [] as [String; 0]);
        assert!(ids(&admin.get(all).await, "networks").contains(&id));
        let shown = one.get(&path).await;
        assert_eq!((shown.status, shown.text_at("/network/label")), (200, "mine"));
        for absent in [
            two.get(&path).await,
            one.get(&format!("{all}/{NOBODYS}")).await,
            one.get(&format!("{all}/x")).await,
        ] {
            refused(&absent, 404, "Network not found");
        }
        for gone in [all, &path] {
            refused(&one.at("2.36").get(gone).await, 404, "The resource could not be found.");
        }
    }
    let short = one.get(&format!("{}/{id}", paths[1])).await;
    assert_eq!(short.json, json!({"network": {"id": id, "label": "mine", "cidr": "None"}}));
    let path = format!("{}/{id}", paths[0]);
    let (shown, to_admin) = (one.get(&path).await, admin.get(&path).await);
    let fields = |answer: &Answer| answer.json["network"].as_object().unwrap().len();
    assert_eq!((fields(&shown), fields(&to_admin)), (11, 32));
    assert_eq!((&shown.json["network"]["cidr"], shown.json["network"].get("bridge")), (&Value::Null, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn security_groups_are_listed_shown_and_deleted_by_those_who_may() {
    let cloud = Cloud::start().await;
    let (one, two, admin) = (cloud.tenant("one").await, cloud.tenant("two").await, cloud.admin().await);
    let all = format!("{V2}/os-security-groups");
    let listed = one.at("2.35").get(&all).await;
    let [group]: [String; 1] = ids(&listed, "security_groups").try_into().unwrap();
    let path = format!("{all}/{group}");
    let shown = one.get(&path).await;
    assert_eq!(shown.json["security_group"], listed.json["security_groups"][0]);
    let (name, project) = (shown.text_at("/security_group/name"), shown.text_at("/security_group/tenant_id"));
    assert_eq!(name, "default");
    let rules = shown.json["security_group"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "what may come in: {rules:?}");
    for rule in rules {
        assert_eq!((&rule["parent_group_id"], &rule["ip_range"]), (&json!(group), &json!({})));
        assert_eq!(rule["group"], json!({"name": "default", "tenant_id": project}));
    }

    let theirs = ids(&two.get(&format!("{all}?all_tenants=1")).await, "security_groups");
    assert!(theirs.len() == 1 && theirs[0] != group, "{theirs:?}");
    let own = ids(&admin.get(&all).await, "security_groups");
    assert!(own.len() == 1 && own[0] != group, "an admin's own project has one: {own:?}");
    let every = ids(&admin.get(&format!("{all}?all_tenants")).await, "security_groups");
    assert!([&group, &theirs[0], &own[0]].into_iter().all(|id| every.contains(id)), "{every:?}");
    let page = ids(&admin.get(&format!("{all}?all_tenants=1&offset=1&limit=1")).await, "security_groups");
    assert_eq!(page.len(), 1);
    refused(&one.get(&format!("{all}?limit=x")).await, 400, "limit must be a whole number");

    for absent in [two.get(&path).await, two.delete(&path).await] {
        refused(&absent, 404, &format!("Security group {group} does not exist"));
    }
    refused(&one.get(&format!("{all}/x")).await, 404, "Security group x does not exist");
    refused(&one.delete(&path).await, 400, "Insufficient rights for removing default security group.");
    assert_eq!(one.delete(&format!("{all}/")).await.status, 404);
    for gone in [&all, &path] {
        refused(&one.at("2.36").get(gone).await, 404, "The resource could not be found.");
    }
    assert_eq!(admin.delete(&path).await.status, 202);
    refused(&one.get(&path).await, 404, "does not exist");
}
