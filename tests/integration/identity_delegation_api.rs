//! Application credentials, access rules and trusts: what users hand on, and that nothing handed on grows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::identity_groups_api::id_of;
use canopy_tests::{Answer, Client, Cloud, engines};
use serde_json::{Value, json};

const TOKENS: &str = "/identity/v3/auth/tokens";
const TRUSTS: &str = "/identity/v3/OS-TRUST/trusts";

/// Logs in by what is given under `identity`, and a scope.
async fn login(cloud: &Cloud, identity: Value, scope: Value) -> Answer {
    let mut auth = json!({"identity": identity});
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    cloud.anonymous().post(TOKENS, &json!({ "auth": auth })).await
}

async fn by_credential(cloud: &Cloud, id: &str, secret: &str) -> Answer {
    let offered = json!({"methods": ["application_credential"],
        "application_credential": {"id": id, "secret": secret}});
    login(cloud, offered, Value::Null).await
}

fn with_token(cloud: &Cloud, answer: &Answer) -> Client {
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut client = cloud.anonymous();
    client.token = answer.header("x-subject-token").unwrap().to_owned();
    client
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

struct Party {
    client: Client,
    user: String,
    project: String,
    credentials: String,
}

async fn party(cloud: &Cloud, name: &str) -> Party {
    let (admin, client) = (cloud.admin().await, cloud.tenant(name).await);
    let user = id_of(&admin, "users", name).await;
    let project = id_of(&admin, "projects", name).await;
    Party { client, credentials: format!("/identity/v3/users/{user}/application_credentials"), user, project }
}

async fn credential(of: &Party, body: Value) -> (String, String) {
    let made = of.client.post(&of.credentials, &json!({ "application_credential": body })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |field: &str| made.text_at(&format!("/application_credential/{field}")).to_owned();
    (text("id"), text("secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_credential_logs_in_with_its_roles_until_it_is_gone() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let t = party(&cloud, "t").await;
        let (id, secret) =
            credential(&t, json!({"name": "ci", "description": "builds", "roles": [{"name": "reader"}]}))
                .await;
        assert!(secret.len() > 64);
        let one = format!("{}/{id}", t.credentials);
        let shown = t.client.get(&one).await;
        assert_eq!(names(&shown.json["application_credential"]["roles"]), ["reader"], "{shown:?}");
        assert!(!shown.text().contains(&secret) && !shown.text().contains("secret"));
        assert_eq!(names(&t.client.get(&t.credentials).await.json["application_credentials"]), ["ci"]);
        // The stock client sends an empty list where no role is named.
        let (all, its_secret) = credential(&t, json!({"name": "all", "roles": []})).await;
        let logged_in = by_credential(&cloud, &all, &its_secret).await;
        assert_eq!(logged_in.status, 201, "{logged_in:?}");
        assert!(names(&logged_in.json["token"]["roles"]).contains(&"member"), "{logged_in:?}");
        assert_eq!(t.client.delete(&format!("{}/{all}", t.credentials)).await.status, 204);
        let twice = json!({"application_credential": {"name": "ci"}});
        assert_eq!(t.client.post(&t.credentials, &twice).await.status, 409);

        let token = by_credential(&cloud, &id, &secret).await;
        let client = with_token(&cloud, &token);
        let body = &token.json["token"];
        assert_eq!(
            (names(&body["roles"]), &body["methods"]),
            (vec!["reader"], &json!(["application_credential"]))
        );
        assert_eq!(body["application_credential"], json!({"id": id, "name": "ci", "restricted": true}));
        assert_eq!(body["project"]["id"], t.project);
        assert_eq!(client.get("/compute/v2.1/servers").await.status, 200);
        let network = json!({"network": {"name": "n"}});
        assert_eq!(client.post("/network/v2.0/networks", &network).await.status, 403, "a reader only reads");
        let named = json!({"methods": ["application_credential"], "application_credential": {
            "name": "ci", "secret": secret, "user": {"name": "t", "domain": {"id": "default"}}}});
        assert_eq!(login(&cloud, named, Value::Null).await.status, 201);

        // It cannot be made into anything else.
        let rescope = json!({"methods": ["token"], "token": {"id": client.token}});
        let scope = json!({"project": {"id": t.project}});
        assert_eq!(login(&cloud, rescope, scope.clone()).await.status, 403);
        let scoped = json!({"methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret}});
        assert_eq!(login(&cloud, scoped, scope).await.status, 401);
        assert_eq!(
            client.post(&t.credentials, &json!({"application_credential": {"name": "x"}})).await.status,
            403
        );
        assert_eq!(client.delete(&one).await.status, 403);
        let trust = json!({"trust": {"trustor_user_id": t.user, "trustee_user_id": t.user, "project_id": t.project,
            "impersonation": false, "roles": [{"name": "reader"}]}});
        assert_eq!(client.post(TRUSTS, &trust).await.status, 403);

        for (id, secret) in [(id.as_str(), "wrong"), ("none", secret.as_str()), ("", ""), ("\u{0}", "x")] {
            let refused = by_credential(&cloud, id, secret).await;
            assert_eq!(refused.status, 401, "{refused:?}");
        }
        // Its user loses the role it stands on.
        let member = id_of(&admin, "roles", "member").await;
        let grant = format!("/identity/v3/projects/{}/users/{}/roles/{member}", t.project, t.user);
        assert_eq!(admin.delete(&grant).await.status, 204);
        assert_eq!(client.get("/compute/v2.1/servers").await.status, 401);
        assert_eq!(by_credential(&cloud, &id, &secret).await.status, 401);
        assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
        assert_eq!(client.get("/compute/v2.1/servers").await.status, 200);
        assert_eq!(t.client.delete(&one).await.status, 204);
        assert_eq!(client.get("/compute/v2.1/servers").await.status, 401);
        assert_eq!(by_credential(&cloud, &id, &secret).await.status, 401);
        assert_eq!(t.client.get(&one).await.status, 404);
        assert_eq!(t.client.delete(&one).await.status, 404);

        // As in keystone, a user that is enabled again finds none of them.
        let (id, secret) = credential(&t, json!({"name": "later"})).await;
        let user = format!("/identity/v3/users/{}", t.user);
        for enabled in [false, true] {
            let change = json!({"user": {"enabled": enabled}});
            assert_eq!(admin.patch(&user, &change).await.status, 200);
            assert_eq!(by_credential(&cloud, &id, &secret).await.status, 401);
        }
        assert_eq!(admin.get(&t.credentials).await.json["application_credentials"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrestricted_credential_hands_on_no_more_than_it_has() {
    let cloud = Cloud::start().await;
    let t = party(&cloud, "t").await;
    let (id, secret) =
        credential(&t, json!({"name": "root", "unrestricted": true, "roles": [{"name": "reader"}]})).await;
    let client = with_token(&cloud, &by_credential(&cloud, &id, &secret).await);
    let more = json!({"application_credential": {"name": "more", "roles": [{"name": "member"}]}});
    let refused = client.post(&t.credentials, &more).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let same = client.post(&t.credentials, &json!({"application_credential": {"name": "same"}})).await;
    assert_eq!(same.status, 201, "{same:?}");
    assert_eq!(names(&same.json["application_credential"]["roles"]), ["reader"]);
    assert_eq!(client.delete(&format!("{}/{id}", t.credentials)).await.status, 204);
    let trust = |role: &str| {
        json!({"trust": {"trustor_user_id": t.user, "trustee_user_id": t.user, "project_id": t.project,
            "impersonation": false, "roles": [{"name": role}]}})
    };
    let (id, secret) =
        credential(&t, json!({"name": "again", "unrestricted": true, "roles": [{"name": "reader"}]})).await;
    let client = with_token(&cloud, &by_credential(&cloud, &id, &secret).await);
    assert_eq!(client.post(TRUSTS, &trust("member")).await.status, 403);
    assert_eq!(client.post(TRUSTS, &trust("reader")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_rules_bound_every_services_requests() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (t, other) = (party(&cloud, "t").await, party(&cloud, "other").await);
        let rules = json!([
            {"service": "compute", "method": "GET", "path": "/v2.1/servers"},
            {"service": "network", "method": "GET", "path": "/v2.0/networks/*"},
        ]);
        let (id, secret) = credential(&t, json!({"name": "watch", "access_rules": rules})).await;
        let token = by_credential(&cloud, &id, &secret).await;
        assert_eq!(
            token.json["token"]["application_credential"]["access_rules"].as_array().unwrap().len(),
            2
        );
        let client = with_token(&cloud, &token);
        assert_eq!(client.get("/compute/v2.1/servers").await.status, 200);
        assert_eq!(client.get("/network/v2.0/networks/none").await.status, 404);
        for path in [
            "/compute/v2.1/servers/detail",
            "/compute/v2.1/flavors",
            "/compute/v2/servers",
            "/network/v2.0/networks",
            "/network/v2.0/ports",
            "/image/v2/images",
            "/identity/v3/auth/projects",
            "/placement/traits",
            "/canopy/v1/policies",
        ] {
            assert_eq!(client.get(path).await.status, 401, "{path}");
        }
        assert_eq!(client.post("/compute/v2.1/servers", &json!({})).await.status, 401);
        let (none, secret) = credential(&t, json!({"name": "none", "access_rules": []})).await;
        let client = with_token(&cloud, &by_credential(&cloud, &none, &secret).await);
        assert_eq!(
            client.get("/compute/v2.1/servers").await.status,
            200,
            "clients send an empty list for no rules"
        );

        let path = format!("/identity/v3/users/{}/access_rules", t.user);
        let listed = t.client.get(&path).await.json["access_rules"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 2);
        let rule = format!("{path}/{}", listed[0]["id"].as_str().unwrap());
        assert_eq!(t.client.get(&rule).await.json["access_rule"]["id"], listed[0]["id"]);
        assert_eq!(t.client.delete(&rule).await.status, 403, "in use");
        assert_eq!(other.client.get(&rule).await.status, 403);
        assert_eq!(t.client.delete(&format!("{}/{id}", t.credentials)).await.status, 204);
        assert_eq!(t.client.delete(&rule).await.status, 204);
        assert_eq!(t.client.delete(&rule).await.status, 404);
        let foreign =
            json!({"application_credential": {"name": "f", "access_rules": [{"id": listed[1]["id"]}]}});
        assert_eq!(other.client.post(&other.credentials, &foreign).await.status, 404, "another's rule");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_credential_for_another_and_hostile_bodies_make_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (t, other) = (party(&cloud, "t").await, party(&cloud, "other").await);
    let plain = json!({"application_credential": {"name": "x"}});
    for client in [&other.client, &admin] {
        assert_eq!(client.post(&t.credentials, &plain).await.status, 403);
    }
    for (fields, status) in [
        (json!({}), 400),
        (json!({"name": ""}), 400),
        (json!({"name": "a", "secret": 7}), 400),
        (json!({"name": "a", "secret": "x".repeat(4_097)}), 400),
        (json!({"name": "a", "expires_at": "yesterday"}), 400),
        (json!({"name": "a", "expires_at": "2001-01-01T00:00:00Z"}), 400),
        (json!({"name": "a", "roles": [{"name": "admin"}]}), 400),
        (json!({"name": "a", "roles": [{}]}), 400),
        (json!({"name": "a", "project_id": other.project}), 400),
        (json!({"name": "a", "access_rules": [{"service": "compute", "method": "FLY", "path": "/"}]}), 400),
        (json!({"name": "a", "access_rules": [{"service": "compute", "method": "GET", "path": "no"}]}), 400),
        (json!({"name": "a", "access_rules": [{"id": "none"}]}), 404),
    ] {
        let answer = t.client.post(&t.credentials, &json!({ "application_credential": fields })).await;
        assert_eq!(answer.status, status, "{fields:.100} {answer:?}");
    }
    assert!(
        t.client.get(&t.credentials).await.json["application_credentials"].as_array().unwrap().is_empty()
    );
    let (id, secret) =
        credential(&t, json!({"name": "a", "secret": "of my own", "expires_at": "2999-01-01T00:00:00"}))
            .await;
    assert_eq!(secret, "of my own");
    assert_eq!(by_credential(&cloud, &id, &secret).await.status, 201);
}

fn trust(from: &Party, to: &Party, fields: Value) -> Value {
    let mut body = json!({"trustor_user_id": from.user, "trustee_user_id": to.user, "project_id": from.project,
        "impersonation": true, "roles": [{"name": "reader"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    json!({ "trust": body })
}

fn password(name: &str) -> Value {
    json!({"methods": ["password"], "password": {"user": {
        "name": name, "domain": {"id": "default"}, "password": "correct horse"}}})
}

fn in_trust(id: &str) -> Value {
    json!({"OS-TRUST:trust": {"id": id}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trustee_acts_for_the_trustor_within_the_trust() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (a, b, c) = (party(&cloud, "a").await, party(&cloud, "b").await, party(&cloud, "c").await);
        let made = a.client.post(TRUSTS, &trust(&a, &b, json!({}))).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(names(&made.json["trust"]["roles"]), ["reader"]);
        let id = made.text_at("/trust/id").to_owned();
        let one = format!("{TRUSTS}/{id}");
        let token = login(&cloud, password("b"), in_trust(&id)).await;
        let acting = with_token(&cloud, &token);
        let body = &token.json["token"];
        assert_eq!(
            (body["user"]["id"].as_str(), names(&body["roles"])),
            (Some(a.user.as_str()), vec!["reader"])
        );
        assert_eq!(
            body["OS-TRUST:trust"],
            json!({"id": id, "impersonation": true, "trustor_user": {"id": a.user}, "trustee_user": {"id": b.user}})
        );
        assert_eq!(acting.get("/compute/v2.1/servers").await.status, 200);
        assert_eq!(acting.post("/network/v2.0/networks", &json!({"network": {}})).await.status, 403);

        // Nothing more comes of it.
        let rescope = json!({"methods": ["token"], "token": {"id": acting.token}});
        assert_eq!(login(&cloud, rescope, Value::Null).await.status, 403);
        let credential = json!({"application_credential": {"name": "x"}});
        assert_eq!(acting.post(&a.credentials, &credential).await.status, 403);
        assert_eq!(acting.post(TRUSTS, &trust(&a, &c, json!({}))).await.status, 403, "not to be handed on");
        assert_eq!(acting.delete(&one).await.status, 403);
        assert_eq!(login(&cloud, password("c"), in_trust(&id)).await.status, 403, "not a trustee");
        assert_eq!(login(&cloud, password("b"), in_trust("none")).await.status, 401);

        for (client, status) in [(&a.client, 200), (&b.client, 200), (&c.client, 404)] {
            assert_eq!(client.get(&one).await.status, status);
            assert_eq!(client.get(&format!("{one}/roles")).await.status, status);
        }
        assert_eq!(b.client.delete(&one).await.status, 403, "only the trustor ends it");
        let of_a = a.client.get(&format!("{TRUSTS}?trustor_user_id={}", a.user)).await;
        assert_eq!(of_a.json["trusts"].as_array().unwrap().len(), 1);
        assert!(of_a.json["trusts"][0].get("roles").is_none());
        assert_eq!(a.client.get(TRUSTS).await.status, 403);
        assert_eq!(c.client.get(&format!("{TRUSTS}?trustor_user_id={}", a.user)).await.status, 403);
        assert_eq!(a.client.delete(&one).await.status, 204);
        assert_eq!(acting.get("/compute/v2.1/servers").await.status, 401);
        assert_eq!(login(&cloud, password("b"), in_trust(&id)).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusts_have_bounds_in_use_and_in_handing_on() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (a, b, c) = (party(&cloud, "a").await, party(&cloud, "b").await, party(&cloud, "c").await);
        let made = a.client.post(TRUSTS, &trust(&a, &b, json!({"remaining_uses": 2}))).await;
        let id = made.text_at("/trust/id").to_owned();
        for status in [201, 201, 401, 401] {
            assert_eq!(login(&cloud, password("b"), in_trust(&id)).await.status, status);
        }
        assert_eq!(a.client.get(&format!("{TRUSTS}/{id}")).await.status, 404, "used up");

        let handed = json!({"allow_redelegation": true, "redelegation_count": 1});
        let made = a.client.post(TRUSTS, &trust(&a, &b, handed)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let first = made.text_at("/trust/id").to_owned();
        let acting = with_token(&cloud, &login(&cloud, password("b"), in_trust(&first)).await);
        let more = trust(&a, &c, json!({"roles": [{"name": "member"}]}));
        assert_eq!(acting.post(TRUSTS, &more).await.status, 403);
        let made = acting.post(TRUSTS, &trust(&a, &c, json!({"allow_redelegation": true}))).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json["trust"]["redelegated_trust_id"], first);
        let second = made.text_at("/trust/id").to_owned();
        let further = with_token(&cloud, &login(&cloud, password("c"), in_trust(&second)).await);
        assert_eq!(further.get("/compute/v2.1/servers").await.status, 200);
        assert_eq!(further.post(TRUSTS, &trust(&a, &b, json!({}))).await.status, 403, "the end of the chain");
        assert_eq!(a.client.delete(&format!("{TRUSTS}/{first}")).await.status, 204);
        assert_eq!(further.get("/compute/v2.1/servers").await.status, 401, "goes with what it came from");

        for (fields, status) in [
            (json!({"roles": []}), 403),
            (json!({"roles": [{"name": "admin"}]}), 403),
            (json!({"roles": [{"name": "no-such"}]}), 404),
            (json!({"trustee_user_id": "none"}), 404),
            (json!({"project_id": "none"}), 404),
            (json!({"project_id": b.project}), 403),
            (json!({"trustor_user_id": b.user}), 403),
            (json!({"expires_at": "2001-01-01T00:00:00Z"}), 400),
            (json!({"expires_at": 7}), 400),
            (json!({"remaining_uses": 0}), 400),
            (json!({"remaining_uses": -1}), 400),
            (json!({"redelegation_count": 4, "allow_redelegation": true}), 403),
            (json!({"impersonation": "perhaps"}), 400),
            (json!({"deleted_at": null}), 400),
        ] {
            let answer = a.client.post(TRUSTS, &trust(&a, &b, fields.clone())).await;
            assert_eq!(answer.status, status, "{fields} {answer:?}");
        }
    }
}
