//! Identity through the API: what clients rely on, and what attackers try.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_tests::{Answer, Client, Cloud, Engine, engines, login_body, until};
use canopy_types::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const TOKENS: &str = "/identity/v3/auth/tokens";
const PASSWORD: &str = "correct horse";

/// The wall clock, moved.
#[derive(Default)]
pub struct Moved(pub AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::SeqCst))
    }
}

fn password(user: Value, scope: Value) -> Value {
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    json!({ "auth": auth })
}

fn tenant_user(name: &str) -> Value {
    json!({"name": name, "domain": {"id": "default"}, "password": PASSWORD})
}

async fn validate(as_whom: &Client, subject: &str) -> Answer {
    as_whom.send(as_whom.request("GET", TOKENS).header("x-subject-token", subject)).await
}

fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.header("x-subject-token").expect("a token").to_owned()
}

async fn user_id(admin: &Client, name: &str) -> String {
    admin.get(&format!("/identity/v3/users?name={name}")).await.text_at("/users/0/id").to_owned()
}

async fn project_id(admin: &Client, name: &str) -> String {
    admin.get(&format!("/identity/v3/projects?name={name}")).await.text_at("/projects/0/id").to_owned()
}

async fn role_id(admin: &Client, name: &str) -> String {
    admin.get(&format!("/identity/v3/roles?name={name}")).await.text_at("/roles/0/id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_token_says_what_clients_read_from_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        cloud.tenant("t").await;
        let scope = json!({"project": {"name": "t", "domain": {"name": "Default"}}});
        let user = json!({"name": "t", "domain": {"name": "Default"}, "password": PASSWORD});
        let answer = cloud.anonymous().post(TOKENS, &password(user, scope)).await;
        let text = token_of(&answer);
        assert!(text.len() < 255);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("X-Auth-Token")));
        let token = &answer.json["token"];
        assert_eq!(token["methods"], json!(["password"]));
        assert_eq!(token["project"]["name"], "t");
        assert_eq!(token["project"]["domain"], json!({"id": "default", "name": "Default"}));
        assert_eq!(token["user"]["domain"], json!({"id": "default", "name": "Default"}));
        assert_eq!(token["user"]["password_expires_at"], Value::Null);
        assert_eq!(token["is_domain"], false);
        assert_eq!(token["audit_ids"].as_array().unwrap().len(), 1);
        for time in ["issued_at", "expires_at"] {
            let text = token[time].as_str().unwrap();
            assert!(text.len() == 27 && text.ends_with('Z'), "{text}");
        }
        let roles: Vec<&str> =
            token["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
        assert_eq!(roles, ["member", "reader"]);
        let kinds: Vec<&str> =
            token["catalog"].as_array().unwrap().iter().map(|s| s["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["compute", "identity", "image", "network", "placement"]);
        for endpoint in
            token["catalog"].as_array().unwrap().iter().flat_map(|s| s["endpoints"].as_array().unwrap())
        {
            assert!(endpoint["url"].as_str().unwrap().starts_with(&cloud.url), "{endpoint}");
            assert_eq!(
                (endpoint["region"].as_str(), endpoint["region_id"].as_str()),
                (Some("RegionOne"), Some("RegionOne"))
            );
        }

        let client = Client::new(&cloud.url, &text);
        let shown = validate(&client, &text).await;
        assert_eq!((shown.status, shown.header("x-subject-token")), (200, Some(text.as_str())));
        assert_eq!(shown.json, answer.json, "validating tells the same");
        let head = client.send(client.request("HEAD", TOKENS).header("x-subject-token", &text)).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        let path = format!("{TOKENS}?nocatalog");
        let bare = client.send(client.request("GET", &path).header("x-subject-token", &text)).await;
        assert!(bare.json["token"].get("catalog").is_none() && bare.json["token"]["roles"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_can_be_asked_for() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    cloud.tenant("t").await;
    let id = project_id(&admin, "t").await;
    let login =
        async |user: Value, scope: Value| cloud.anonymous().post(TOKENS, &password(user, scope)).await;
    let root = json!({"name": "admin", "domain": {"id": "default"}, "password": cloud.admin_password()});

    let by_id = login(tenant_user("t"), json!({"project": {"id": id}})).await;
    assert_eq!(by_id.json["token"]["project"]["name"], "t");
    for scope in [json!(null), json!("unscoped"), json!({"unscoped": {}}), json!({})] {
        let token = login(tenant_user("t"), scope.clone()).await;
        assert_eq!(token.status, 201, "{scope} {token:?}");
        assert!(token.json["token"].get("project").is_none() && token.json["token"].get("roles").is_none());
    }
    let system = login(root.clone(), json!({"system": {"all": true}})).await;
    assert_eq!(system.json["token"]["system"], json!({"all": true}));
    assert_eq!(system.json["token"]["roles"][0]["name"], "admin");

    // A domain, once a role is held there.
    let domain = json!({"domain": {"id": "default"}});
    assert_eq!(login(tenant_user("t"), domain.clone()).await.status, 401);
    let (user, role) = (user_id(&admin, "t").await, role_id(&admin, "reader").await);
    let grant = format!("/identity/v3/domains/default/users/{user}/roles/{role}");
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let scoped = login(tenant_user("t"), domain).await;
    assert_eq!(scoped.json["token"]["domain"], json!({"id": "default", "name": "Default"}));
    let client = Client::new(&cloud.url, &token_of(&scoped));
    assert_eq!(client.get("/identity/v3/auth/domains").await.json["domains"][0]["id"], "default");
    assert_eq!(client.get("/identity/v3/auth/system").await.json["system"], json!([]));

    // The default project, when it can be had.
    let path = format!("/identity/v3/users/{user}");
    assert_eq!(admin.patch(&path, &json!({"user": {"default_project_id": id}})).await.status, 200);
    assert_eq!(login(tenant_user("t"), Value::Null).await.json["token"]["project"]["id"], id.as_str());
    assert!(login(tenant_user("t"), json!("unscoped")).await.json["token"].get("project").is_none());
    let other = project_id(&admin, "admin").await;
    assert_eq!(admin.patch(&path, &json!({"user": {"default_project_id": other}})).await.status, 200);
    assert!(login(tenant_user("t"), Value::Null).await.json["token"].get("project").is_none());

    for bad in [
        json!({"project": {}, "domain": {}}),
        json!({"moon": {}}),
        json!("scoped"),
        json!({"system": {}}),
        json!(7),
    ] {
        assert_eq!(login(root.clone(), bad.clone()).await.status, 400, "{bad}");
    }
    for incomplete in [json!({"project": {"name": "t"}}), json!({"project": {}}), json!({"domain": {}})] {
        assert_eq!(login(root.clone(), incomplete.clone()).await.status, 400, "{incomplete}");
    }
}

/// Whoever guesses learns nothing: neither which users exist nor which projects.
#[tokio::test(flavor = "multi_thread")]
async fn every_failed_login_looks_the_same() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    cloud.tenant("t").await;
    cloud.tenant("disabled").await;
    cloud.tenant("u").await;
    let path = format!("/identity/v3/users/{}", user_id(&admin, "disabled").await);
    assert_eq!(admin.patch(&path, &json!({"user": {"enabled": false}})).await.status, 200);
    let nobody = json!({"user": {"name": "nobody"}});
    assert_eq!(admin.post("/identity/v3/users", &nobody).await.status, 201, "a user without a password");
    let own = json!({"project": {"name": "t", "domain": {"id": "default"}}});
    let default = json!({"id": "default"});
    let attempts = [
        (json!({"name": "t", "domain": default, "password": "wrong"}), own.clone()),
        (json!({"name": "no-such", "domain": default, "password": PASSWORD}), own.clone()),
        (json!({"name": "t", "domain": {"id": "no-such"}, "password": PASSWORD}), own.clone()),
        (json!({"name": "t", "domain": {"name": "no-such"}, "password": PASSWORD}), own.clone()),
        (json!({"id": "no-such", "password": PASSWORD}), own.clone()),
        (json!({"id": "", "password": PASSWORD}), own.clone()),
        (json!({"name": "t\u{0}", "domain": default, "password": PASSWORD}), own.clone()),
        (json!({"name": "t", "domain": default, "password": format!("{PASSWORD}\u{0}")}), own.clone()),
        (json!({"name": "t", "domain": default, "password": ""}), own.clone()),
        (json!({"name": "t", "domain": default, "password": "x".repeat(50_000)}), own.clone()),
        (json!({"name": "T", "domain": default, "password": PASSWORD}), own),
        (tenant_user("disabled"), Value::Null),
        (json!({"name": "nobody", "domain": default, "password": "no such user"}), Value::Null),
        (tenant_user("t"), json!({"project": {"name": "u", "domain": {"id": "default"}}})),
        (tenant_user("t"), json!({"project": {"name": "no-such", "domain": {"id": "default"}}})),
        (tenant_user("t"), json!({"project": {"id": "no-such\u{0}"}})),
        (tenant_user("t"), json!({"domain": {"id": "no-such"}})),
        (tenant_user("t"), json!({"system": {"all": true}})),
    ];
    let expected = json!({"error": {"code": 401, "title": "Unauthorized",
        "message": "The request you have made requires authentication."}});
    for (user, scope) in attempts {
        let name = format!("{:.80} {scope}", user.to_string());
        let answer = cloud.anonymous().post(TOKENS, &password(user, scope)).await;
        assert_eq!((answer.status, &answer.json), (401, &expected), "{name}");
        assert!(answer.header("x-subject-token").is_none());
    }
    let unknown = json!({"auth": {"identity": {"methods": ["telepathy"]}}});
    assert_eq!(cloud.anonymous().post(TOKENS, &unknown).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_logins_are_400_and_never_repeat_the_password() {
    let cloud = Cloud::start().await;
    let secret = "hunter2-do-not-echo";
    let user = json!({"name": "admin", "domain": {"id": "default"}, "password": [secret]});
    let bodies = [
        json!({}),
        json!({"auth": null}),
        json!({"auth": {}}),
        json!({"auth": {"identity": {}}}),
        json!({"auth": {"identity": {"methods": []}}}),
        json!({"auth": {"identity": {"methods": "password"}}}),
        json!({"auth": {"identity": {"methods": ["password"]}}}),
        json!({"auth": {"identity": {"methods": ["token"]}}}),
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": 7}}}}),
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": secret}}}}}),
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": secret}}}}}),
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}),
        json!({"auth": {"identity": {"methods": ["password"]}}, "extra": 1}),
    ];
    for body in bodies {
        let answer = cloud.anonymous().post(TOKENS, &body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
        assert_eq!(answer.json["error"]["code"], 400);
        assert!(!answer.text().contains(secret), "{}", answer.text());
    }
    let deep = format!("{}{}", "{\"auth\":".repeat(6_000), "}".repeat(6_000));
    for raw in [deep, "[".repeat(60_000), "{".into(), "\u{0}".into(), "nul".into()] {
        let request =
            cloud.anonymous().request("POST", TOKENS).header("content-type", "application/json").body(raw);
        assert_eq!(cloud.anonymous().send(request).await.status, 400);
    }
    let huge = cloud.anonymous().request("POST", TOKENS).body(" ".repeat(65 << 10));
    assert_eq!(cloud.anonymous().send(huge).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_a_token_keeps_expiry_and_chain() {
    let moved = Arc::new(Moved::default());
    let cloud = Cloud::start_with(Engine::Sqlite, |_| {}, Some(moved.clone())).await;
    let admin = cloud.admin().await;
    cloud.tenant("t").await;
    let first = cloud.anonymous().post(TOKENS, &password(tenant_user("t"), json!("unscoped"))).await;
    let rescope = |token: &str, scope: Value| json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": scope}});
    moved.0.store(600, Ordering::SeqCst);
    let scope = json!({"project": {"name": "t", "domain": {"id": "default"}}});
    let second = cloud.anonymous().post(TOKENS, &rescope(&token_of(&first), scope.clone())).await;
    let (one, two) = (&first.json["token"], &second.json["token"]);
    assert_eq!(two["expires_at"], one["expires_at"]);
    assert_ne!(two["issued_at"], one["issued_at"]);
    assert_eq!(two["methods"], json!(["password", "token"]));
    assert_eq!(two["audit_ids"][1], one["audit_ids"][0]);
    assert_ne!(two["audit_ids"][0], one["audit_ids"][0]);
    let third = cloud.anonymous().post(TOKENS, &rescope(&token_of(&second), json!("unscoped"))).await;
    assert_eq!(third.json["token"]["audit_ids"][1], one["audit_ids"][0], "the chain goes back to the login");

    // Both proofs must be of one user, and a token does not reach where its user has no role.
    let mut both = rescope(&token_of(&first), scope);
    both["auth"]["identity"]["methods"] = json!(["password", "token"]);
    both["auth"]["identity"]["password"] =
        json!({"user": {"name": "admin", "domain": {"id": "default"}, "password": cloud.admin_password()}});
    assert_eq!(cloud.anonymous().post(TOKENS, &both).await.status, 401);
    let elsewhere = json!({"project": {"id": project_id(&admin, "admin").await}});
    assert_eq!(cloud.anonymous().post(TOKENS, &rescope(&token_of(&first), elsewhere)).await.status, 401);
    let root = json!({"name": "admin", "domain": {"id": "default"}, "password": cloud.admin_password()});
    let system = cloud.anonymous().post(TOKENS, &password(root, json!({"system": {"all": true}}))).await;
    let narrow =
        rescope(&token_of(&system), json!({"project": {"name": "admin", "domain": {"id": "default"}}}));
    assert_eq!(cloud.anonymous().post(TOKENS, &narrow).await.status, 403, "as keystone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_its_time_its_user_or_its_place_does() {
    for engine in engines() {
        let moved = Arc::new(Moved::default());
        let cloud = Cloud::start_with(engine, |_| {}, Some(moved.clone())).await;
        let admin = cloud.admin().await;
        let t = cloud.tenant("t").await;
        let works = async |client: &Client| {
            let answer = client.get("/compute/v2.1/servers").await;
            if answer.status == 401 {
                assert_eq!(
                    answer.json["error"]["message"],
                    "The request you have made requires authentication."
                );
            }
            answer.status == 200
        };
        assert!(works(&t).await);
        let user = format!("/identity/v3/users/{}", user_id(&admin, "t").await);
        let project = format!("/identity/v3/projects/{}", project_id(&admin, "t").await);
        let grant = format!(
            "{project}{}/roles/{}",
            user.strip_prefix("/identity/v3").unwrap(),
            role_id(&admin, "member").await
        );
        let patch = async |path: &str, body: Value| assert_eq!(admin.patch(path, &body).await.status, 200);

        // A disabled project, back again.
        patch(&project, json!({"project": {"enabled": false}})).await;
        assert!(!works(&t).await);
        patch(&project, json!({"project": {"enabled": true}})).await;
        assert!(works(&t).await);
        // The last role.
        assert_eq!(admin.delete(&grant).await.status, 204);
        assert!(!works(&t).await);
        assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
        assert!(works(&t).await);
        // A disabled user's tokens do not come back with the user.
        patch(&user, json!({"user": {"enabled": false}})).await;
        assert!(!works(&t).await);
        patch(&user, json!({"user": {"enabled": true}})).await;
        assert!(!works(&t).await);
        let t = cloud.login("t", PASSWORD, "t").await;
        assert!(works(&t).await);
        // A new password, set by the admin.
        patch(&user, json!({"user": {"password": "another"}})).await;
        assert!(!works(&t).await);
        assert_eq!(cloud.anonymous().post(TOKENS, &login_body("t", PASSWORD, "t")).await.status, 401);
        let t = cloud.login("t", "another", "t").await;
        // Its own time.
        let seconds = cloud.app().settings.token_seconds;
        moved.0.store(seconds - 60, Ordering::SeqCst);
        assert!(works(&t).await);
        moved.0.store(seconds + 60, Ordering::SeqCst);
        assert!(!works(&t).await);
        let body = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": t.token}}}});
        assert_eq!(
            cloud.anonymous().post(TOKENS, &body).await.status,
            401,
            "an expired token makes no new one"
        );
        // The user itself.
        let (t, admin) = (cloud.login("t", "another", "t").await, cloud.admin().await);
        assert_eq!(admin.delete(&user).await.status, 204);
        assert!(!works(&t).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_gone_also_after_a_restart_and_for_another_server() {
    let mut cloud = Cloud::start().await;
    let (t, other) = (cloud.tenant("t").await, cloud.tenant("u").await);
    let second = cloud.login("t", PASSWORD, "t").await;
    let revoke = async |by: &Client, subject: &str| {
        by.send(by.request("DELETE", TOKENS).header("x-subject-token", subject)).await.status
    };
    assert_eq!(revoke(&other, &t.token).await, 403, "another's token");
    assert_eq!(revoke(&t, &t.token).await, 204);
    assert_eq!(t.get("/identity/v3/auth/projects").await.status, 401);
    assert_eq!(second.get("/identity/v3/auth/projects").await.status, 200, "other logins live on");
    let admin = cloud.admin().await;
    assert_eq!(validate(&admin, &t.token).await.status, 404);
    assert_eq!(validate(&admin, &second.token).await.status, 200);
    assert_eq!(validate(&other, &second.token).await.status, 403);
    assert_eq!(validate(&admin, "rubbish").await.status, 404);
    assert_eq!(admin.get(TOKENS).await.status, 400, "no subject");

    // A second server on the same data: the same key, the same view, and it follows.
    let app = cloud.app();
    let peer =
        canopy_app::identity::Identity::open(&app.store, app.clock.clone(), &app.settings).await.unwrap();
    assert!(peer.check(&second.token).is_ok());
    assert!(peer.check(&t.token).is_err());
    assert_eq!(revoke(&second, &second.token).await, 204);
    until("the peer has noticed", async || peer.check(&second.token).is_err()).await;

    let third = cloud.login("t", PASSWORD, "t").await;
    cloud.restart().await;
    let at = |token: &str| Client::new(&cloud.url, token);
    assert_eq!(at(&t.token).get("/identity/v3/auth/projects").await.status, 401);
    assert_eq!(at(&third.token).get("/identity/v3/auth/projects").await.status, 200, "the key was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_cloud_and_bent_ones_are_refused_alike() {
    let (cloud, foreign) = (Cloud::start().await, Cloud::start().await);
    let (here, there) = (cloud.admin().await, foreign.admin().await);
    let mut cut = here.token.clone();
    cut.pop();
    let mut flipped = here.token.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let jwt = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZG1pbiJ9.".to_owned();
    for token in [there.token.clone(), cut, flipped, format!("{}=", here.token), jwt, "x".repeat(8_000)] {
        let answer = Client::new(&cloud.url, &token).get("/identity/v3/users").await;
        assert_eq!(answer.status, 401, "{token:.60} {answer:?}");
        assert_eq!(answer.json["error"]["message"], "The request you have made requires authentication.");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Keystone uri="));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_live_and_die() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let base = "/identity/v3/projects";
        let made = admin
            .post(base, &json!({"project": {"name": "p", "description": "d", "is_domain": false, "tags": [], "options": {}}}))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text_at("/project/id").to_owned();
        let expected = json!({
            "id": id, "name": "p", "domain_id": "default", "description": "d", "enabled": true,
            "parent_id": "default", "is_domain": false, "tags": [], "options": {},
            "links": {"self": format!("{}{base}/{id}", cloud.url)},
        });
        assert_eq!(made.json["project"], expected);
        let one = format!("{base}/{id}");
        assert_eq!(admin.get(&one).await.json["project"], expected);
        let found = admin.get(&format!("{base}?name=p&domain_id=default")).await;
        assert_eq!(found.json["projects"], json!([expected]));
        assert_eq!(found.json["links"]["self"], format!("{}{base}?name=p&domain_id=default", cloud.url));
        assert_eq!(admin.get(&format!("{base}?name=none")).await.json["projects"], json!([]));
        assert_eq!(admin.get(&format!("{base}?name=%00")).await.json["projects"], json!([]));
        assert_eq!(admin.get(&format!("{base}/p")).await.status, 404, "a name is no id");
        let again = admin.post(base, &json!({"project": {"name": "p"}})).await;
        assert_eq!(again.status, 409, "{again:?}");

        let changed = admin
            .patch(&one, &json!({"project": {"name": "q", "description": null, "domain_id": "default"}}))
            .await;
        assert_eq!(
            (changed.status, changed.json["project"]["name"].as_str()),
            (200, Some("q")),
            "{changed:?}"
        );
        assert_eq!(changed.json["project"]["description"], "");
        let child = admin.post(base, &json!({"project": {"name": "child", "parent_id": id}})).await;
        assert_eq!(child.json["project"]["parent_id"], id.as_str());
        assert_eq!(admin.delete(&one).await.status, 403, "not a leaf");
        let mut parent = child.text_at("/project/id").to_owned();
        let mut depth = 2;
        loop {
            let deeper = admin
                .post(base, &json!({"project": {"name": format!("d{depth}"), "parent_id": parent}}))
                .await;
            if deeper.status != 201 {
                assert_eq!((deeper.status, depth), (403, 5), "{deeper:?}");
                break;
            }
            parent = deeper.text_at("/project/id").to_owned();
            depth += 1;
        }

        let lone = admin.post(base, &json!({"project": {"name": "lone"}})).await;
        let lone = format!("{base}/{}", lone.text_at("/project/id"));
        assert_eq!(admin.delete(&lone).await.status, 204);
        assert_eq!(admin.get(&lone).await.status, 404);
        assert_eq!(admin.delete(&lone).await.status, 404);
        for (body, status) in [
            (json!({"project": {"name": ""}}), 400),
            (json!({"project": {"name": "x".repeat(65)}}), 400),
            (json!({"project": {"name": "a\u{0}b"}}), 400),
            (json!({"project": {"name": " "}}), 400),
            (json!({"project": {"name": 7}}), 400),
            (json!({"project": {"name": "x", "enabled": "yes"}}), 400),
            (json!({"project": {}}), 400),
            (json!({"project": {"name": "x"}, "user": {}}), 400),
            (json!({"project": {"name": "x", "domain_id": "no-such"}}), 404),
            (json!({"project": {"name": "x", "parent_id": "no-such"}}), 404),
        ] {
            let answer = admin.post(base, &body).await;
            assert_eq!(answer.status, status, "{body} {answer:?}");
        }
        for body in [
            json!({"project": {"domain_id": "other"}}),
            json!({"project": {"parent_id": "x"}}),
            json!({"project": {}}),
        ] {
            assert_eq!(admin.patch(&one, &body).await.status, 400, "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_still_holds_something_is_not_removed() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let t = cloud.tenant("t").await;
    let path = format!("/identity/v3/projects/{}", project_id(&admin, "t").await);
    let network = t.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    assert_eq!(network.status, 201, "{network:?}");
    let refused = admin.delete(&path).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text_at("/error/message").contains("1 networks"), "{refused:?}");
    let network = format!("/network/v2.0/networks/{}", network.text_at("/network/id"));
    assert_eq!(t.delete(&network).await.status, 204);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(t.get("/compute/v2.1/servers").await.status, 401, "its tokens ended with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_live_and_change_their_own_password() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let base = "/identity/v3/users";
        let body = json!({"user": {"name": "u", "password": PASSWORD, "email": "u@example.org", "description": "d", "options": {}}});
        let made = admin.post(base, &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert!(!made.text().contains("horse") && !made.text().contains("argon2"));
        let id = made.text_at("/user/id").to_owned();
        let one = format!("{base}/{id}");
        let expected = json!({
            "id": id, "name": "u", "domain_id": "default", "enabled": true, "password_expires_at": null,
            "options": {}, "email": "u@example.org", "description": "d",
            "links": {"self": format!("{}{one}", cloud.url)},
        });
        assert_eq!(made.json["user"], expected);
        assert_eq!(
            admin.get(&format!("{base}?name=u&domain_id=default&enabled=true")).await.json["users"],
            json!([expected])
        );
        assert_eq!(admin.post(base, &body).await.status, 409);

        let scope = json!("unscoped");
        let own = cloud.anonymous().post(TOKENS, &password(tenant_user("u"), scope.clone())).await;
        let own = Client::new(&cloud.url, &token_of(&own));
        assert_eq!(own.get(&one).await.json["user"], expected, "one may look at oneself");
        assert_eq!(own.get(&format!("{one}/projects")).await.json["projects"], json!([]));
        assert_eq!(own.get(base).await.status, 403);
        assert_eq!(own.patch(&one, &json!({"user": {"enabled": true}})).await.status, 403);
        let change = |old: &str, new: &str| json!({"user": {"original_password": old, "password": new}});
        let at = format!("{one}/password");
        assert_eq!(own.post(&at, &change("wrong", "new one")).await.status, 401);
        assert_eq!(own.post(&at, &change(PASSWORD, "")).await.status, 400);
        assert_eq!(own.post(&at, &change(PASSWORD, &"x".repeat(4_097))).await.status, 400);
        let theirs = format!("{base}/{}/password", user_id(&admin, "admin").await);
        assert_eq!(own.post(&theirs, &change(PASSWORD, "mine now")).await.status, 401);
        assert_eq!(own.post(&at, &change(PASSWORD, "new one")).await.status, 204);
        assert_eq!(own.get(&one).await.status, 401, "the token was of the old password");
        assert_eq!(
            cloud.anonymous().post(TOKENS, &password(tenant_user("u"), scope.clone())).await.status,
            401
        );
        let new = json!({"id": id, "password": "new one"});
        assert_eq!(cloud.anonymous().post(TOKENS, &password(new, scope)).await.status, 201);

        // Properties of one's own are kept and shown, as keystone does, and mean nothing.
        for (n, own) in ["is_admin", "id", "password_hash", "tokens_valid_after"].into_iter().enumerate() {
            let name = format!("own-{n}");
            let mut body = json!({"user": {"name": name, "password": PASSWORD}});
            body["user"][own] = json!("chosen");
            let made = admin.post(base, &body).await;
            assert_eq!(made.status, 201, "{own}: {made:?}");
            assert_ne!(made.json["user"]["id"], "chosen");
            let login = password(tenant_user(&name), Value::Null);
            let token = cloud.anonymous().post(TOKENS, &login).await;
            assert_eq!(token.status, 201, "{own}: {token:?}");
            assert!(token.json["token"].get("roles").is_none(), "{own}: {token:?}");
        }
        for (body, status) in [
            (json!({"user": {"name": "x".repeat(256)}}), 400),
            (json!({"user": {"name": "a\u{0}"}}), 400),
            (json!({"user": {"name": "x", "password": "y".repeat(4_097)}}), 400),
            (json!({"user": {"name": "x", "password": {"secret": "hunter2"}}}), 400),
            (json!({"user": {"name": "x", "description": "\u{0}"}}), 400),
            (json!({"user": {"name": "x", "domain_id": "no-such"}}), 404),
        ] {
            let answer = admin.post(base, &body).await;
            assert_eq!(answer.status, status, "{body:.100} {answer:?}");
            assert!(!answer.text().contains("hunter2"));
        }
        assert_eq!(admin.patch(&one, &json!({"user": {"domain_id": "elsewhere"}})).await.status, 400);
        let cleared = admin.patch(&one, &json!({"user": {"email": null, "name": "v"}})).await;
        assert!(
            cleared.json["user"].get("email").is_none() && cleared.json["user"]["name"] == "v",
            "{cleared:?}"
        );
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.get(&one).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_end() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    for name in ["a", "b", "c", "d"] {
        assert_eq!(
            admin.post("/identity/v3/projects", &json!({"project": {"name": name}})).await.status,
            201
        );
    }
    let mut seen = Vec::new();
    let mut next = "/identity/v3/projects?limit=2&domain_id=default".to_owned();
    loop {
        let page = admin.get(&next).await;
        let names = page.json["projects"].as_array().unwrap();
        assert!(names.len() <= 2);
        seen.extend(names.iter().map(|project| project["name"].as_str().unwrap().to_owned()));
        let Some(href) = page.json["links"]["next"].as_str() else { break };
        next = href.strip_prefix(&cloud.url).expect("an absolute link to us").to_owned();
    }
    seen.sort();
    assert_eq!(seen, ["a", "admin", "b", "c", "d"]);
    assert_eq!(admin.get("/identity/v3/projects?marker=no-such").await.status, 400);
    assert_eq!(admin.get("/identity/v3/users?marker=%00").await.status, 400);
    assert_eq!(admin.get("/identity/v3/users?limit=-1").await.status, 400);
    assert_eq!(admin.get("/identity/v3/users?enabled=perhaps").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_listed_and_taken() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        cloud.tenant("t").await;
        let (user, project) = (user_id(&admin, "t").await, project_id(&admin, "t").await);
        let (member, manager) = (role_id(&admin, "member").await, role_id(&admin, "manager").await);
        let names: Vec<String> = admin.get("/identity/v3/roles").await.json["roles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|role| role["name"].as_str().unwrap().to_owned())
            .collect();
        for name in ["admin", "manager", "member", "reader", "service"] {
            assert!(names.iter().any(|role| role == name), "{names:?}");
        }
        let all = format!("/identity/v3/projects/{project}/users/{user}/roles");
        assert_eq!(admin.get(&all).await.json["roles"][0]["name"], "member");
        let one = format!("{all}/{manager}");
        assert_eq!(admin.get(&one).await.status, 404);
        let head = admin.send(admin.request("HEAD", &one)).await;
        assert_eq!(head.status, 404);
        for _ in 0..2 {
            assert_eq!(admin.put(&one, &Value::Null).await.status, 204, "giving twice is fine");
        }
        let head = admin.send(admin.request("HEAD", &one)).await;
        assert_eq!((head.status, head.body.len()), (204, 0));

        let listed =
            admin.get(&format!("/identity/v3/role_assignments?user.id={user}&include_names=True")).await;
        let lines = listed.json["role_assignments"].as_array().unwrap();
        assert_eq!(lines.len(), 2, "{listed:?}");
        let line = lines.iter().find(|line| line["role"]["name"] == "member").unwrap();
        assert_eq!(
            *line,
            json!({
                "role": {"id": member, "name": "member"},
                "user": {"id": user, "name": "t", "domain": {"id": "default", "name": "Default"}},
                "scope": {"project": {"id": project, "name": "t", "domain": {"id": "default", "name": "Default"}}},
                "links": {"assignment": format!("{}{all}/{member}", cloud.url)},
            })
        );
        let count = async |query: &str| {
            let answer = admin.get(&format!("/identity/v3/role_assignments?{query}")).await;
            answer.json["role_assignments"].as_array().expect("a list").len()
        };
        assert_eq!(
            count(&format!("user.id={user}&effective")).await,
            5,
            "manager, member, reader and member, reader"
        );
        assert_eq!(count(&format!("scope.project.id={project}&role.id={member}")).await, 1);
        assert_eq!(count("scope.system=all").await, 1);
        assert_eq!(count("scope.project.id=no-such").await, 0);
        assert_eq!(count("group.id=x").await, 0);

        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 404);
        for absent in [
            format!("/identity/v3/projects/none/users/{user}/roles/{member}"),
            format!("/identity/v3/projects/{project}/users/none/roles/{member}"),
            format!("/identity/v3/projects/{project}/users/{user}/roles/none"),
            format!("/identity/v3/projects/{project}/users/%00/roles/{member}"),
            format!("/identity/v3/domains/none/users/{user}/roles/{member}"),
        ] {
            assert_eq!(admin.put(&absent, &Value::Null).await.status, 404, "{absent}");
        }
        let system = format!("/identity/v3/system/users/{user}/roles/{member}");
        assert_eq!(admin.put(&system, &Value::Null).await.status, 204);
        assert_eq!(admin.get(&system).await.status, 204);
        assert_eq!(admin.delete(&system).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_races_to_bootstrap_gets_one_cloud() {
    for engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let options = match engine {
            Engine::Sqlite => canopy_store::Options::sqlite(&dir.path().join("db")),
            Engine::Postgres => {
                let server = std::env::var("CANOPY_TEST_POSTGRES").unwrap();
                let name = format!("canopy_bootstrap_{}", std::process::id());
                canopy_store::Options::url(
                    canopy_store::testing::create_database(&server, &name).await.unwrap(),
                )
            }
        };
        let store = canopy_store::Store::open(&options).await.unwrap();
        let unkept =
            |_: &str| Err(canopy_types::Error::unavailable("config.file", "the password cannot be kept"));
        assert!(canopy_app::identity::bootstrap(&store, &SystemClock, unkept).await.is_err());
        let kept = |password: &str| {
            assert_eq!(password.len(), 32);
            Ok(())
        };
        let racing = (0..4).map(|_| canopy_app::identity::bootstrap(&store, &SystemClock, kept));
        let outcomes = futures::future::join_all(racing).await;
        let made = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap()).count();
        assert_eq!(made, 1, "one call made it, and none whose password could not be kept");
        let late = |_: &str| panic!("a cloud with an identity gets no second password");
        assert!(!canopy_app::identity::bootstrap(&store, &SystemClock, late).await.unwrap());
    }
}
