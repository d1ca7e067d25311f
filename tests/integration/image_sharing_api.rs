//! Images between projects: members and their answers, community images, and images taken out of use.

use canopy_tests::{Answer, Client, Cloud, engines};
use serde_json::{Value, json};

const PATCH: &str = "application/openstack-images-v2.1-json-patch";

async fn image(client: &Client, body: Value) -> String {
    let made = client.post("/image/v2/images", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text_at("/id").to_owned()
}

async fn active(client: &Client, name: &str) -> String {
    let id = image(client, json!({"name": name, "disk_format": "raw", "container_format": "bare"})).await;
    let path = format!("/image/v2/images/{id}/file");
    let put = client.request("PUT", &path).header("content-type", "application/octet-stream").body("bytes");
    assert_eq!(client.send(put).await.status, 204);
    id
}

async fn set(client: &Client, id: &str, name: &str, value: Value) -> Answer {
    let body = json!([{"op": "replace", "path": format!("/{name}"), "value": value}]);
    let request = client.request("PATCH", &format!("/image/v2/images/{id}"));
    client.send(request.header("content-type", PATCH).body(body.to_string())).await
}

async fn put(client: &Client, path: &str, body: Value) -> Answer {
    client.send(client.request("PUT", path).json(&body)).await
}

async fn listed(client: &Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("/image/v2/images?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let images = answer.json["images"].as_array().expect("images");
    images.iter().map(|image| image["id"].as_str().expect("an id").to_owned()).collect()
}

async fn project(client: &Client) -> String {
    let id = image(client, json!({})).await;
    let owner = client.get(&format!("/image/v2/images/{id}")).await.text_at("/owner").to_owned();
    assert_eq!(client.delete(&format!("/image/v2/images/{id}")).await.status, 204);
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_image_is_seen_by_its_members_and_listed_once_they_accept() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (owner, guest, other) =
            (cloud.tenant("owner").await, cloud.tenant("guest").await, cloud.tenant("other").await);
        let (guest_project, other_project) = (project(&guest).await, project(&other).await);
        let id = active(&owner, "shared").await;
        let show = format!("/image/v2/images/{id}");
        let all = format!("{show}/members");
        let one = format!("{all}/{guest_project}");
        assert_eq!(guest.get(&show).await.status, 404);
        assert_eq!(guest.get(&all).await.status, 404);
        assert_eq!(guest.post(&all, &json!({"member": guest_project})).await.status, 404);

        let made = owner.post(&all, &json!({"member": guest_project})).await;
        assert_eq!(made.status, 200, "{made:?}");
        assert_eq!((made.text_at("/status"), made.text_at("/image_id")), ("pending", id.as_str()));
        assert_eq!(made.text_at("/member_id"), guest_project);
        assert_eq!(made.text_at("/schema"), "/v2/schemas/member");
        let twice = owner.post(&all, &json!({"member": guest_project})).await;
        assert_eq!(twice.status, 409, "{twice:?}");
        assert_eq!(owner.post(&all, &json!({"member": other_project})).await.status, 200);

        // By id at once, in lists when it has been accepted.
        assert_eq!(guest.get(&show).await.status, 200);
        assert_eq!(guest.get(&format!("{show}/file")).await.text(), "bytes");
        assert!(listed(&guest, "").await.is_empty());
        assert_eq!(listed(&guest, "member_status=pending").await, std::slice::from_ref(&id));
        assert_eq!(listed(&guest, "visibility=shared&member_status=all").await, std::slice::from_ref(&id));
        assert_eq!(put(&owner, &one, json!({"status": "accepted"})).await.status, 403, "the member's to say");
        assert_eq!(put(&guest, &one, json!({"status": "maybe"})).await.status, 400);
        assert_eq!(put(&guest, &one, json!({})).await.status, 400);
        let accepted = put(&guest, &one, json!({"status": "accepted"})).await;
        assert_eq!((accepted.status, accepted.text_at("/status")), (200, "accepted"), "{accepted:?}");
        assert_eq!(listed(&guest, "").await, std::slice::from_ref(&id));
        assert_eq!(listed(&guest, "visibility=shared&limit=1").await, std::slice::from_ref(&id));
        assert!(listed(&guest, "visibility=private").await.is_empty());
        assert!(listed(&guest, "member_status=rejected").await.is_empty());
        assert!(listed(&other, "").await.is_empty(), "the other one has not answered");
        assert_eq!(put(&guest, &one, json!({"status": "rejected"})).await.status, 200);
        assert!(listed(&guest, "").await.is_empty());
        assert_eq!(guest.get(&show).await.status, 200, "a rejected image can still be accepted");

        // The owner sees all members, a member itself only.
        let members = async |client: &Client| client.get(&all).await.json["members"].as_array().map(Vec::len);
        assert_eq!((members(&owner).await, members(&guest).await), (Some(2), Some(1)));
        assert_eq!(guest.get(&format!("{all}/{other_project}")).await.status, 404);
        assert_eq!(owner.get(&one).await.status, 200);
        let foreign = format!("{all}/{other_project}");
        assert_eq!(put(&guest, &foreign, json!({"status": "accepted"})).await.status, 404);

        for nobody in ["%00", "%0a", "nobody", &"x".repeat(300)] {
            assert_eq!(owner.get(&format!("{all}/{nobody}")).await.status, 404);
            assert_eq!(owner.delete(&format!("{all}/{nobody}")).await.status, 404);
        }

        // A member reads and no more.
        assert_eq!(set(&guest, &id, "name", json!("mine")).await.status, 403);
        assert_eq!(guest.delete(&show).await.status, 403);
        assert_eq!(guest.post(&all, &json!({"member": "x"})).await.status, 403);
        assert_eq!(guest.delete(&one).await.status, 403);

        // What is not shared has no members; those it had wait.
        assert_eq!(set(&owner, &id, "visibility", json!("private")).await.status, 200);
        assert_eq!(guest.get(&show).await.status, 404);
        assert_eq!(owner.get(&all).await.status, 403);
        assert_eq!(owner.post(&all, &json!({"member": "x"})).await.status, 403);
        assert_eq!(set(&owner, &id, "visibility", json!("shared")).await.status, 200);
        assert_eq!(guest.get(&show).await.status, 200);

        assert_eq!(owner.delete(&one).await.status, 204);
        assert_eq!(owner.delete(&one).await.status, 404);
        assert_eq!(guest.get(&show).await.status, 404);
        assert_eq!(owner.delete(&show).await.status, 204, "with the members it has left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_an_image_are_bounded_and_bad_ones_refused() {
    let cloud = Cloud::start().await;
    let owner = cloud.tenant("owner").await;
    let id = image(&owner, json!({})).await;
    let all = format!("/image/v2/images/{id}/members");
    for body in [
        json!({}),
        json!([]),
        json!({"member": ""}),
        json!({"member": 1}),
        json!({"member": "a\u{0}b"}),
        json!({"member": "a\nb"}),
        json!({"member": "x".repeat(256)}),
    ] {
        let answer = owner.post(&all, &body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
    }
    for n in 0..128 {
        assert_eq!(owner.post(&all, &json!({"member": format!("p{n}")})).await.status, 200);
    }
    let answer = owner.post(&all, &json!({"member": "one-more"})).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn community_images_are_read_by_all_and_listed_for_those_who_ask() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (owner, other) = (cloud.tenant("owner").await, cloud.tenant("other").await);
        let id = image(&owner, json!({"visibility": "community"})).await;
        assert_eq!(other.get(&format!("/image/v2/images/{id}")).await.status, 200);
        assert!(listed(&other, "").await.is_empty());
        assert_eq!(listed(&other, "visibility=community").await, std::slice::from_ref(&id));
        assert_eq!(listed(&other, "visibility=all").await, std::slice::from_ref(&id));
        assert_eq!(listed(&owner, "").await, std::slice::from_ref(&id));
        let public = owner.post("/image/v2/images", &json!({"visibility": "public"})).await;
        assert_eq!(public.status, 403, "only an admin makes images public: {public:?}");

        assert_eq!(listed(&owner, "created_at=gte:2020-01-01T00:00:00Z").await, std::slice::from_ref(&id));
        assert_eq!(listed(&owner, "updated_at=neq:2020-01-01").await, std::slice::from_ref(&id));
        assert!(listed(&owner, "created_at=lt:2020-01-01T00:00:00Z").await.is_empty());
        let created = owner.get(&format!("/image/v2/images/{id}")).await.text_at("/created_at").to_owned();
        assert_eq!(listed(&owner, &format!("created_at=eq:{created}")).await, std::slice::from_ref(&id));
        assert!(listed(&owner, &format!("created_at=gt:{created}")).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_image_keeps_its_bytes_from_users_until_it_is_reactivated() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, owner, other) =
            (cloud.admin().await, cloud.tenant("owner").await, cloud.tenant("other").await);
        let id = active(&owner, "suspect").await;
        let show = format!("/image/v2/images/{id}");
        let act = async |client: &Client, id: &str, action: &str| {
            let path = format!("/image/v2/images/{id}/actions/{action}");
            client.send(client.request("POST", &path)).await.status
        };
        assert_eq!(act(&other, &id, "deactivate").await, 404);
        assert_eq!(act(&owner, &id, "deactivate").await, 204);
        assert_eq!(act(&owner, &id, "deactivate").await, 204, "twice is once");
        assert_eq!(owner.get(&show).await.text_at("/status"), "deactivated");
        assert_eq!(owner.get(&format!("{show}/file")).await.status, 403);
        assert_eq!(admin.get(&format!("{show}/file")).await.text(), "bytes");
        assert_eq!(listed(&owner, "status=deactivated").await, std::slice::from_ref(&id));
        assert_eq!(act(&owner, &id, "reactivate").await, 204);
        assert_eq!(owner.get(&show).await.text_at("/status"), "active");
        assert_eq!(owner.get(&format!("{show}/file")).await.text(), "bytes");
        let part = owner.with_header("content-range", "bytes 1-2/5").get(&format!("{show}/file")).await;
        assert_eq!((part.status, part.text().as_str()), (206, "yt"), "{part:?}");

        let queued = image(&owner, json!({})).await;
        assert_eq!(act(&owner, &queued, "deactivate").await, 403);
        assert_eq!(act(&owner, &queued, "reactivate").await, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_bytes_become_an_image_once_they_are_imported() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, owner, other) =
            (cloud.admin().await, cloud.tenant("owner").await, cloud.tenant("other").await);
        let info = owner.get("/image/v2/info/import").await;
        assert_eq!(info.json["import-methods"]["value"], json!(["glance-direct"]));
        let made =
            owner.post("/image/v2/images", &json!({"disk_format": "raw", "container_format": "bare"})).await;
        assert_eq!(made.header("openstack-image-import-methods"), Some("glance-direct"));
        let id = made.text_at("/id").to_owned();
        let show = format!("/image/v2/images/{id}");
        let stage = async |client: &Client, bytes: &'static str| {
            let put = client.request("PUT", &format!("{show}/stage"));
            client.send(put.header("content-type", "application/octet-stream").body(bytes)).await
        };
        let ask = json!({"method": {"name": "glance-direct"}});
        let import = async |client: &Client, body: &Value| client.post(&format!("{show}/import"), body).await;
        assert_eq!(import(&owner, &ask).await.status, 409, "nothing is staged");
        assert_eq!(stage(&other, "x").await.status, 404);
        assert_eq!(import(&other, &ask).await.status, 404);
        assert_eq!(stage(&owner, "staged").await.status, 204);
        assert_eq!(owner.get(&show).await.text_at("/status"), "uploading");
        assert_eq!(stage(&owner, "again").await.status, 409);
        for bad in [
            json!({}),
            json!({"method": {"name": "web-download", "uri": "http://127.0.0.1/"}}),
            json!({"method": {"name": "copy-image"}}),
            json!({"method": {"name": "glance-direct"}, "stores": ["elsewhere"]}),
            json!({"method": {"name": 7}}),
        ] {
            let answer = import(&owner, &bad).await;
            assert_eq!(answer.status, 400, "{bad} {answer:?}");
        }
        let asked = import(&owner, &ask).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        let status = async || owner.get(&show).await.text_at("/status").to_owned();
        canopy_tests::until("the image is active", async || status().await == "active").await;
        let file = owner.get(&format!("{show}/file")).await;
        assert_eq!((file.text().as_str(), file.status), ("staged", 200));
        assert_eq!(owner.get(&show).await.text_at("/stores"), "local");
        assert_eq!(import(&owner, &ask).await.status, 409, "an active image is imported no more");

        let tasks = format!("{show}/tasks");
        let ended = async || owner.get(&tasks).await.json["tasks"][0]["status"] == "success";
        canopy_tests::until("the task has ended", ended).await;
        let told = owner.get(&tasks).await.json["tasks"].clone();
        assert_eq!(told.as_array().map(Vec::len), Some(1));
        assert_eq!((&told[0]["type"], &told[0]["image_id"]), (&json!("api_image_import"), &json!(id)));
        assert_eq!(other.get(&tasks).await.status, 404);
        assert_eq!(owner.get("/image/v2/tasks").await.status, 403, "the list of all is an admin's");
        let all = admin.get("/image/v2/tasks?status=success&limit=1").await;
        assert_eq!(all.json["tasks"][0]["id"], told[0]["id"], "{all:?}");
        let one = admin.get(&format!("/image/v2/tasks/{}", all.text_at("/tasks/0/id"))).await;
        assert_eq!(one.json["result"]["image_id"], json!(id));
        assert_eq!(admin.get("/image/v2/tasks?status=x").await.status, 400);
        let staging = cloud.config.data_dir.join("images/staging");
        let empty = async || std::fs::read_dir(&staging).is_ok_and(|mut files| files.next().is_none());
        canopy_tests::until("nothing is staged any more", empty).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_bad_bytes_says_why_and_the_image_can_be_staged_again() {
    let mut cloud = Cloud::start().await;
    let owner = cloud.tenant("owner").await;
    let id = image(&owner, json!({"disk_format": "qcow2", "container_format": "bare"})).await;
    let show = format!("/image/v2/images/{id}");
    let stage = async |client: &Client, id: &str| {
        let put = client.request("PUT", &format!("/image/v2/images/{id}/stage"));
        let answer = client.send(put.header("content-type", "application/octet-stream").body("bytes")).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    };
    stage(&owner, &id).await;
    let ask = json!({"method": {"name": "glance-direct"}});
    assert_eq!(owner.post(&format!("{show}/import"), &ask).await.status, 202);
    let queued = async || owner.get(&show).await.text_at("/status") == "queued";
    canopy_tests::until("the image is queued again", queued).await;
    let told = async || owner.get(&format!("{show}/tasks")).await.json["tasks"][0].clone();
    canopy_tests::until("the task has failed", async || told().await["status"] == "failure").await;
    assert!(told().await["message"].as_str().is_some_and(|text| !text.is_empty()));
    let staging = cloud.config.data_dir.join("images/staging");
    let files = || std::fs::read_dir(&staging).map_or(0, Iterator::count);
    canopy_tests::until("what was staged is gone", async || files() == 0).await;

    // Whole bytes wait over a restart; deleting their image gives their space back.
    stage(&owner, &id).await;
    cloud.restart().await;
    let owner = cloud.login("owner", "correct horse", "owner").await;
    assert_eq!(owner.get(&show).await.text_at("/status"), "uploading");
    assert_eq!(owner.delete(&show).await.status, 204);
    assert_eq!(files(), 0);
    let formless = image(&owner, json!({})).await;
    stage(&owner, &formless).await;
    let refused = owner.post(&format!("/image/v2/images/{formless}/import"), &ask).await;
    assert_eq!(refused.status, 409, "{refused:?}");
}
