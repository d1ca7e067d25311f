//! What no client should send: each gets the service's own answer, never a 500.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_json_and_callers_that_take_none_are_told_so() {
    let cloud = Cloud::start().await;
    let admin = admin(&cloud).await;
    let send = async |media: Option<&str>, body: &'static str| {
        let mut request = admin.request("POST", PROVIDERS).body(body);
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        admin.send(request).await
    };
    refused(&send(Some("text/plain"), "{}").await, 415, UNDEFINED);
    refused(&send(None, "{}").await, 400, UNDEFINED);
    refused(&send(None, "").await, 415, UNDEFINED);
    refused(&send(Some("application/json"), "{").await, 400, UNDEFINED);
    refused(&send(Some("application/json"), r#"{"name": 1e999}"#).await, 400, UNDEFINED);
    let html = admin.request("GET", PROVIDERS).header("accept", "text/html");
    refused(&admin.send(html).await, 406, UNDEFINED);
    let many: String = (1..900).map(|n| format!("&resources{n}=A:1")).collect();
    let long = admin.get(&format!("/placement/allocation_candidates?group_policy=none{many}")).await;
    assert!(matches!(long.status, 400 | 414), "{long:?}");
    let patch = admin.send(admin.request("PATCH", PROVIDERS)).await;
    assert_eq!((patch.status, patch.header("allow")), (405, Some("GET, POST")), "{patch:?}");
}

/// Amounts that are no amounts, and amounts that nothing can hold.
fn amounts() -> Vec<Value> {
    let huge: Value = serde_json::from_str("99999999999999999999999").unwrap();
    vec![
        json!(-1),
        json!(i64::MIN),
        json!(2_147_483_648_i64),
        json!(i64::MAX),
        json!(u64::MAX),
        huge,
        json!(1.5),
        json!("1"),
        json!(null),
        json!(true),
        json!([1]),
        json!({}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_that_make_no_sense_are_refused_wherever_they_stand() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = admin(&cloud).await;
        let id = made(&admin, "rp", None).await;
        assert_eq!(stock(&admin, &id, json!({"VCPU": {"total": 8}})).await.status, 200);
        for amount in amounts().into_iter().chain([json!(0)]) {
            let path = format!("/placement/allocations/{}", uuid());
            let answer = admin.put(&path, &allocation(&id, json!({"VCPU": amount}), None)).await;
            // A whole number that is merely too large is one that the inventory does not give.
            refused(
                &answer,
                if amount.as_f64().is_some_and(|n| n >= 1.0 && n.fract() == 0.0) { 409 } else { 400 },
                UNDEFINED,
            );
        }
        for key in ["total", "reserved", "min_unit", "max_unit", "step_size"] {
            for amount in amounts() {
                let mut inventory = json!({"total": 8});
                inventory[key] = amount.clone();
                let answer = stock(&admin, &id, json!({ "VCPU": inventory })).await;
                assert_eq!(answer.status, 400, "{engine:?} {key} = {amount}: {answer:?}");
            }
        }
        for ratio in [json!(-1.0), json!(1e39), json!("NaN"), json!(null)] {
            let answer = stock(&admin, &id, json!({"VCPU": {"total": 8, "allocation_ratio": ratio}})).await;
            assert_eq!(answer.status, 400, "{engine:?} ratio {ratio}: {answer:?}");
        }
        // The largest that there are do not overflow together.
        let most = json!({"total": i32::MAX, "allocation_ratio": 3.4e38});
        assert_eq!(
            stock(&admin, &id, json!({"VCPU": most, "DISK_GB": {"total": i32::MAX}})).await.status,
            200
        );
        for _ in 0..3 {
            let path = format!("/placement/allocations/{}", uuid());
            let all = allocation(&id, json!({"VCPU": i32::MAX}), None);
            assert_eq!(admin.put(&path, &all).await.status, 204, "{engine:?}");
        }
        let sum = used(&admin, &id).await;
        assert_eq!(sum["VCPU"], json!(3 * i64::from(i32::MAX)), "{engine:?}");
        for text in ["-1", "0", "1.5", "x", "", "-99999999999999999999", "1:1", "%00", "1e3"] {
            let path = format!("/placement/allocation_candidates?resources=VCPU:{text}");
            refused(&admin.get(&path).await, 400, UNDEFINED);
        }
        let far = admin.get("/placement/allocation_candidates?resources=VCPU:99999999999999999999").await;
        assert_eq!((far.status, requests(&far).len()), (200, 0), "{far:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_knows_and_too_many_groups_are_refused_in_time() {
    let cloud = Cloud::start().await;
    let admin = admin(&cloud).await;
    let id = made(&admin, "rp", None).await;
    let stocked = stock(&admin, &id, json!({"NEVER": {"total": 8}})).await;
    assert_eq!(stocked.status, 400, "{stocked:?}");
    let path = format!("/placement/allocations/{}", uuid());
    refused(&admin.put(&path, &allocation(&id, json!({"NEVER": 1}), None)).await, 400, UNDEFINED);
    refused(&admin.put(&path, &allocation(&uuid(), json!({"VCPU": 1}), None)).await, 400, UNDEFINED);
    let body =
        json!({"traits": ["CUSTOM_NEVER"], "resource_provider_generation": generation(&admin, &id).await});
    refused(&admin.put(&format!("{PROVIDERS}/{id}/traits"), &body).await, 400, UNDEFINED);
    for query in ["resources=NEVER:1", "resources=VCPU:1&required=NEVER", "resources1=NEVER:1", "in_tree=x"] {
        let answer = admin.get(&format!("/placement/allocation_candidates?{query}")).await;
        refused(&answer, 400, UNDEFINED);
    }
    // Ten thousand groups are more than a request's head may hold; what fits is answered within its bound.
    let groups = |n: usize| -> String { (0..n).map(|at| format!("&resources_{at}=VCPU:1")).collect() };
    let path = |n: usize| format!("/placement/allocation_candidates?group_policy=isolate{}", groups(n));
    let began = std::time::Instant::now();
    let status = raw(&cloud, &path(10_000)).await;
    assert!((400..500).contains(&status), "{status}");
    let answer = admin.get(&path(500)).await;
    assert!(matches!(answer.status, 200 | 400 | 414 | 431), "{answer:?}");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    // Two that read the same generation: one writes.
    let now = generation(&admin, &id).await;
    let body = json!({"resource_provider_generation": now, "inventories": {"VCPU": {"total": 8}}});
    let path = format!("{PROVIDERS}/{id}/inventories");
    let both = join_all((0..8).map(|_| admin.put(&path, &body))).await;
    assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1, "{both:?}");
    for late in both.iter().filter(|answer| answer.status != 200) {
        refused(late, 409, CONFLICT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_of_the_wrong_shape_are_refused_and_nothing_is_made() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
    let image = fixtures::image(&admin, "i").await;
    for hints in [
        json!([]),
        json!("group"),
        json!(7),
        json!({"group": 7}),
        json!({"group": "no-uuid"}),
        json!({"group": [uuid()]}),
        json!({"group": uuid()}),
        json!({"same_host": 7}),
        json!({"same_host": ["x"]}),
        json!({"different_host": {"a": 1}}),
        json!({"different_host": [[uuid()]]}),
    ] {
        let mut body = fixtures::server("s", &flavor, &image);
        body["os:scheduler_hints"] = hints.clone();
        let answer = admin.at("2.37").post("/compute/v2.1/servers", &body).await;
        assert_eq!(answer.status, 400, "{hints}: {answer:?}");
    }
    assert!(admin.get("/compute/v2.1/servers").await.json["servers"].as_array().unwrap().is_empty());
}

/// The status of a GET that no client would send.
async fn raw(cloud: &Cloud, path: &str) -> u16 {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let address = cloud.url.strip_prefix("http://").unwrap();
    let (read, mut write) = tokio::net::TcpStream::connect(address).await.unwrap().into_split();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    // It may be refused before all of it was taken.
    let sent =
        tokio::spawn(async move { write.write_all(request.as_bytes()).await.is_ok().then_some(write) });
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await.unwrap();
    drop(sent.await);
    line.split(' ').nth(1).unwrap().parse().unwrap()
}
