//! What keystone's clients also use: properties of their own, projects that act as domains, roles of domains, EC2
//! keys, endpoint groups, a password that has expired.

use crate::identity_api::Moved;
use crate::identity_groups_api::id_of;
use canopy_tests::{Client, Cloud, Engine, engines, login_body};
use canopy_types::Clock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const V3: &str = "/identity/v3";

async fn created(client: &Client, kind: &str, body: Value) -> Value {
    let answer = client.post(&format!("{V3}/{kind}s"), &json!({ kind: body })).await;
    assert_eq!(answer.status, 201, "{kind} {answer:?}");
    answer.json[kind].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_ones_own_are_kept_and_never_stand_for_a_field() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let more = json!({"color": "red", "project_id": "x", "nested": {"a": [1, null]}});
        for kind in ["user", "group", "project", "domain", "role"] {
            let mut body = more.clone();
            body["name"] = json!(format!("{kind}-1"));
            // What nobody sets: the answer shows the real thing.
            for (field, value) in
                [("id", json!("chosen")), ("links", json!({})), ("password_expires_at", json!("x"))]
            {
                body[field] = value;
            }
            let made = created(&admin, kind, body).await;
            assert_eq!((&made["color"], &made["nested"]), (&json!("red"), &more["nested"]), "{made}");
            let id = made["id"].as_str().unwrap();
            assert!(id != "chosen" && made["links"]["self"].as_str().unwrap().ends_with(id), "{made}");
            let one = format!("{V3}/{kind}s/{id}");
            assert_eq!(admin.get(&one).await.json[kind], made);
            let changed =
                admin.patch(&one, &json!({ kind: {"color": null, "size": 3, "enabled": true} })).await;
            let changed = &changed.json[kind];
            assert_eq!(
                (&changed["color"], &changed["size"], &changed["project_id"]),
                (&Value::Null, &json!(3), &json!("x")),
                "{changed}"
            );
            let listed = admin.get(&format!("{V3}/{kind}s?name={kind}-1")).await;
            assert_eq!(listed.json[format!("{kind}s")][0], *changed);
            let long = json!({ kind: {"text": "x".repeat(20_000)} });
            assert_eq!(admin.patch(&one, &long).await.status, 400);
            let many: serde_json::Map<String, Value> = (0..70).map(|n| (format!("k{n}"), json!(n))).collect();
            assert_eq!(admin.patch(&one, &json!({ kind: many })).await.status, 400);
        }
    }
}

/// Fields that would give more than was asked for, in the bodies of those who may send one.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gains_by_fields_that_are_not_theirs_to_set() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let tenant = cloud.tenant("t").await;
    let (user, project) = (id_of(&admin, "users", "t").await, id_of(&admin, "projects", "t").await);
    let extra = json!({"is_admin": true, "roles": ["admin"], "domain_id": "default", "enabled": true});
    for (method, path, body) in [
        ("PATCH", format!("{V3}/users/{user}"), json!({"user": extra})),
        ("PATCH", format!("{V3}/projects/{project}"), json!({"project": extra})),
        ("POST", format!("{V3}/projects"), json!({"project": {"name": "d", "is_domain": true}})),
        ("POST", format!("{V3}/roles"), json!({"role": {"name": "admin", "domain_id": "default"}})),
    ] {
        let answer = tenant.send(tenant.request(method, &path).json(&body)).await;
        assert_eq!(answer.status, 403, "{method} {path} {answer:?}");
    }
    // Attached by an admin, such fields are decoration.
    let marked = admin.patch(&format!("{V3}/users/{user}"), &json!({"user": extra})).await;
    assert_eq!((marked.status, &marked.json["user"]["roles"]), (200, &json!(["admin"])));
    let again = cloud.login("t", "correct horse", "t").await;
    assert_eq!(again.get(&format!("{V3}/users")).await.status, 403);
    let moved =
        admin.patch(&format!("{V3}/users/{user}"), &json!({"user": {"domain_id": "elsewhere"}})).await;
    assert_eq!(moved.status, 400, "{moved:?}");
    let turned =
        admin.patch(&format!("{V3}/projects/{project}"), &json!({"project": {"is_domain": true}})).await;
    assert_eq!(turned.status, 400, "{turned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_acts_as_a_domain_is_the_domain() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let made = created(&admin, "project", json!({"name": "d", "is_domain": true, "domain_id": null})).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (&made["is_domain"], &made["domain_id"], &made["parent_id"]),
        (&json!(true), &json!(null), &json!(null))
    );
    assert_eq!(admin.get(&format!("{V3}/domains/{id}")).await.json["domain"]["name"], "d");
    let listed = admin.get(&format!("{V3}/projects?is_domain=true&name=d")).await;
    assert_eq!(listed.json["projects"], json!([made]));
    let plain = admin.get(&format!("{V3}/projects?name=d")).await;
    assert_eq!(plain.json["projects"], json!([]));
    let one = format!("{V3}/projects/{id}");
    let both = json!({"project": {"name": "x", "is_domain": true, "parent_id": "default"}});
    assert_eq!(admin.post(&format!("{V3}/projects"), &both).await.status, 400);
    assert_eq!(admin.patch(&one, &json!({"project": {"is_domain": false}})).await.status, 400);
    // Found by an attack: asked for as a project, a domain was told from no project, and one's own was shown.
    let tenant = cloud.tenant("t").await;
    let absent = tenant.get(&format!("{V3}/projects/{}", "0".repeat(32))).await;
    for project in [one.as_str(), "/identity/v3/projects/default"] {
        let answer = tenant.get(project).await;
        assert_eq!((answer.status, &answer.json), (403, &absent.json), "{project}");
        for (method, body) in [("PATCH", json!({"project": {"name": "y"}})), ("DELETE", Value::Null)] {
            let request = |path: &str| {
                let request = tenant.request(method, path);
                if body.is_null() { request } else { request.json(&body) }
            };
            let answer = tenant.send(request(project)).await;
            let other = tenant.send(request(&format!("{V3}/projects/{}", "0".repeat(32)))).await;
            assert_eq!((answer.status, &answer.json), (403, &other.json), "{method} {project}");
        }
    }
    assert_eq!(admin.delete(&one).await.status, 403, "a domain that is enabled");
    assert_eq!(
        admin.patch(&one, &json!({"project": {"enabled": false}})).await.json["project"]["enabled"],
        false
    );
    assert_eq!(admin.delete(&one).await.status, 204);
    assert_eq!(admin.get(&one).await.status, 404);
}

/// A domain may call a role `admin`: that gives nothing but what it implies.
#[tokio::test(flavor = "multi_thread")]
async fn a_domains_role_counts_only_by_what_it_implies() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        cloud.tenant("t").await;
        let (user, project) = (id_of(&admin, "users", "t").await, id_of(&admin, "projects", "t").await);
        let role = created(&admin, "role", json!({"name": "admin", "domain_id": "default"})).await;
        let role = role["id"].as_str().unwrap();
        assert_eq!(
            admin.get(&format!("{V3}/roles?name=admin")).await.json["roles"].as_array().unwrap().len(),
            1
        );
        let own = admin.get(&format!("{V3}/roles?domain_id=default")).await;
        assert_eq!(own.json["roles"][0]["id"], role);
        let again = json!({"role": {"name": "admin", "domain_id": "default"}});
        assert_eq!(admin.post(&format!("{V3}/roles"), &again).await.status, 409);
        let nowhere = json!({"role": {"name": "x", "domain_id": "nowhere"}});
        assert_eq!(admin.post(&format!("{V3}/roles"), &nowhere).await.status, 404);

        // Only in its domain.
        let other =
            created(&admin, "domain", json!({"name": "other"})).await["id"].as_str().unwrap().to_owned();
        let at = |place: &str| format!("{V3}/{place}/users/{user}/roles/{role}");
        assert_eq!(admin.put(&at(&format!("domains/{other}")), &Value::Null).await.status, 403);
        assert_eq!(admin.put(&at("system"), &Value::Null).await.status, 403);
        let member = id_of(&admin, "roles", "member").await;
        let held = format!("{V3}/projects/{project}/users/{user}/roles/{member}");
        assert_eq!(admin.delete(&held).await.status, 204);
        assert_eq!(admin.put(&at(&format!("projects/{project}")), &Value::Null).await.status, 204);
        let login = cloud
            .anonymous()
            .post(&format!("{V3}/auth/tokens"), &login_body("t", "correct horse", "t"))
            .await;
        assert_eq!(login.status, 401, "it is no role anywhere: {login:?}");

        let implied = id_of(&admin, "roles", "reader").await;
        let rule = |prior: &str, implied: &str| format!("{V3}/roles/{prior}/implies/{implied}");
        assert_eq!(admin.put(&rule(role, &implied), &Value::Null).await.status, 201);
        assert_eq!(admin.put(&rule(&implied, role), &Value::Null).await.status, 403);
        let login = cloud
            .anonymous()
            .post(&format!("{V3}/auth/tokens"), &login_body("t", "correct horse", "t"))
            .await;
        let names: Vec<&str> = login.json["token"]["roles"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|role| role["name"].as_str())
            .collect();
        assert_eq!(names, ["reader"]);
        let lines = admin.get(&format!("{V3}/role_assignments?effective&include_names&user.id={user}")).await;
        let lines = lines.json["role_assignments"].as_array().unwrap().clone();
        assert_eq!((lines.len(), &lines[0]["role"]["name"]), (1, &json!("reader")), "{lines:?}");
        assert_eq!(admin.delete(&format!("{V3}/roles/{role}")).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ec2_keys_are_ones_own() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (tenant, other) = (cloud.tenant("t").await, cloud.tenant("u").await);
    let (user, project) = (id_of(&admin, "users", "t").await, id_of(&admin, "projects", "t").await);
    let all = format!("{V3}/users/{user}/credentials/OS-EC2");
    let made = tenant.post(&all, &json!({"tenant_id": project})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = made.json["credential"].clone();
    assert_eq!(
        (&key["user_id"], &key["tenant_id"], &key["trust_id"]),
        (&json!(user), &json!(project), &json!(null))
    );
    let one = format!("{all}/{}", key["access"].as_str().unwrap());
    assert_eq!(tenant.get(&one).await.json["credential"], key);
    assert_eq!(tenant.get(&all).await.json["credentials"], json!([key]));
    for (path, status) in [(&all, 403), (&one, 403)] {
        assert_eq!(other.get(path).await.status, status);
    }
    assert_eq!(other.post(&all, &json!({"tenant_id": project})).await.status, 403);
    assert_eq!(tenant.get(&format!("{all}/nobodys")).await.status, 404);
    assert_eq!(other.delete(&one).await.status, 403);
    assert_eq!(tenant.delete(&one).await.status, 204);
    assert_eq!(tenant.get(&one).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_shown_the_endpoints_of_its_groups() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let tenant = cloud.tenant("t").await;
        let project = id_of(&admin, "projects", "t").await;
        let compute = id_of(&admin, "services", "nova").await;
        let all = format!("{V3}/OS-EP-FILTER/endpoint_groups");
        let body = json!({"endpoint_group": {"name": "g", "filters": {"service_id": compute, "interface": "public"}}});
        let made = admin.post(&all, &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text_at("/endpoint_group/id").to_owned();
        let (one, pair) = (format!("{all}/{id}"), format!("{all}/{id}/projects/{project}"));
        assert_eq!(
            admin.get(&one).await.json["endpoint_group"]["filters"],
            body["endpoint_group"]["filters"]
        );
        assert_eq!(
            admin.get(&format!("{one}/endpoints")).await.json["endpoints"].as_array().unwrap().len(),
            1
        );
        assert_eq!((tenant.get(&all).await.status, tenant.put(&pair, &Value::Null).await.status), (403, 403));
        let types = async || -> Vec<String> {
            let shown = tenant.get(&format!("{V3}/auth/catalog")).await;
            let shown = shown.json["catalog"].as_array().unwrap().clone();
            shown.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
        };
        let before = types().await;
        assert!(before.len() > 3);
        assert_eq!(admin.get(&pair).await.status, 404);
        assert_eq!(admin.put(&pair, &Value::Null).await.status, 204);
        assert_eq!((types().await, admin.get(&pair).await.status), (vec!["compute".to_owned()], 200));
        let of = admin.get(&format!("{V3}/OS-EP-FILTER/projects/{project}/endpoint_groups")).await;
        assert_eq!(of.text_at("/endpoint_groups/0/id"), id);
        assert_eq!(admin.get(&format!("{one}/projects")).await.text_at("/projects/0/id"), project);
        let image =
            json!({"endpoint_group": {"filters": {"service_id": id_of(&admin, "services", "glance").await}}});
        assert_eq!(admin.patch(&one, &image).await.status, 200);
        assert_eq!(types().await, ["image"]);
        assert_eq!(admin.delete(&pair).await.status, 204);
        assert_eq!((types().await, admin.delete(&pair).await.status), (before, 404));
        assert_eq!(admin.delete(&one).await.status, 204);
        for filters in [json!({}), json!({"interface": "secret"}), json!({"url": "x"}), json!([])] {
            let bad = json!({"endpoint_group": {"name": "g", "filters": filters}});
            assert_eq!(admin.post(&all, &bad).await.status, 400);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_password_is_changed_without_a_token() {
    let clock = Arc::new(Moved::default());
    let cloud = Cloud::start_with(
        Engine::Sqlite,
        |config| {
            config.security_compliance.password_expires_days = 30;
            config.security_compliance.lockout_failure_attempts = 3;
        },
        Some(clock.clone() as Arc<dyn Clock>),
    )
    .await;
    cloud.tenant("t").await;
    let user = id_of(&cloud.admin().await, "users", "t").await;
    clock.0.store(31 * 86_400, Ordering::SeqCst);
    let tokens = format!("{V3}/auth/tokens");
    let nobody = cloud.anonymous();
    let refused = nobody.post(&tokens, &login_body("t", "correct horse", "t")).await;
    assert!(refused.status == 401 && refused.text().contains("expired"), "{refused:?}");
    let path = format!("{V3}/users/{user}/password");
    let body = |from: &str| json!({"user": {"original_password": from, "password": "another horse"}});
    let wrong = nobody.post(&path, &body("wrong")).await;
    let unknown = nobody.post(&format!("{V3}/users/nobody/password"), &body("correct horse")).await;
    assert_eq!((wrong.status, &wrong.json), (401, &unknown.json), "who exists is not told");
    assert_eq!(nobody.post(&path, &body("correct horse")).await.status, 204);
    assert_eq!(nobody.post(&tokens, &login_body("t", "another horse", "t")).await.status, 201);
    for _ in 0..3 {
        assert_eq!(nobody.post(&path, &body("wrong")).await.status, 401);
    }
    assert_eq!(nobody.post(&path, &body("another horse")).await.status, 401, "locked, as by failed logins");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_credential_with_an_empty_list_of_rules_has_none() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let user = id_of(&cloud.admin().await, "users", "t").await;
    let body = json!({"application_credential": {"name": "c", "secret": "s3cr3t", "access_rules": []}});
    let made = tenant.post(&format!("{V3}/users/{user}/application_credentials"), &body).await;
    let id = made.text_at("/application_credential/id").to_owned();
    let login = json!({"auth": {"identity": {"methods": ["application_credential"],
        "application_credential": {"id": id, "secret": "s3cr3t"}}}});
    let answer = cloud.anonymous().post(&format!("{V3}/auth/tokens"), &login).await;
    let client = Client::new(&cloud.url, answer.header("x-subject-token").unwrap());
    assert_eq!(client.get("/compute/v2.1/servers").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoints_region_is_made_under_its_older_name_only() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let service = created(&admin, "service", json!({"type": "x"})).await["id"].clone();
    let body = |name: &str| json!({"endpoint": {"service_id": service, "interface": "public", "url": "http://x.example", name: "far"}});
    let endpoints = format!("{V3}/endpoints");
    assert_eq!(admin.post(&endpoints, &body("region_id")).await.status, 400);
    assert_eq!(admin.get(&format!("{V3}/regions/far")).await.status, 404);
    let made = admin.post(&endpoints, &body("region")).await;
    assert_eq!((made.status, &made.json["endpoint"]["region_id"]), (201, &json!("far")));
    assert_eq!(admin.get(&format!("{V3}/regions/far")).await.status, 200);
}
