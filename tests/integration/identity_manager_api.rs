//! The manager of a domain: runs its projects, users and groups, and gets no further than that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::identity_groups_api::id_of;
use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};

const V3: &str = "/identity/v3";
const PASSWORD: &str = "correct horse";

async fn made(by: &Client, kind: &str, mut body: Value, domain: &str) -> String {
    body["domain_id"] = json!(domain);
    let answer = by.post(&format!("{V3}/{kind}s"), &json!({ kind: body })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text_at(&format!("/{kind}/id")).to_owned()
}

async fn user(by: &Client, name: &str, domain: &str) -> String {
    made(by, "user", json!({"name": name, "password": PASSWORD}), domain).await
}

async fn given(by: &Client, place: &str, whom: &str, role: &str) -> u16 {
    by.put(&format!("{V3}/{place}/{whom}/roles/{role}"), &Value::Null).await.status
}

async fn login(cloud: &Cloud, user: &str, scope: Value) -> Client {
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"id": user, "password": PASSWORD}}},
        "scope": scope,
    }});
    let answer = cloud.anonymous().post(&format!("{V3}/auth/tokens"), &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut client = cloud.anonymous();
    client.token = answer.header("x-subject-token").unwrap().to_owned();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_of_a_domain_runs_what_is_in_it() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let domain = made_domain(&admin, "acme").await;
        let boss = user(&admin, "boss", &domain).await;
        let role = async |name: &str| id_of(&admin, "roles", name).await;
        let (manager, member) = (role("manager").await, role("member").await);
        let within = format!("domains/{domain}");
        assert_eq!(given(&admin, &within, &format!("users/{boss}"), &manager).await, 204);
        let boss = login(&cloud, &boss, json!({"domain": {"id": domain}})).await;
        // What the operator lets all members have changes nothing.
        let more = admin.post(&format!("{V3}/roles"), &json!({"role": {"name": "balancer"}})).await;
        let implies = format!("{V3}/roles/{member}/implies/{}", more.text_at("/role/id"));
        assert_eq!(admin.put(&implies, &Value::Null).await.status, 201);

        // As `openstack role add` does: roles are found by name first.
        assert_eq!(id_of(&boss, "roles", "member").await, member);
        let project = made(&boss, "project", json!({"name": "shop"}), &domain).await;
        let ann = user(&boss, "ann", &domain).await;
        let crew = made(&boss, "group", json!({"name": "crew"}), &domain).await;
        let place = format!("projects/{project}");
        for (place, whom) in [
            (&place, format!("users/{ann}")),
            (&place, format!("groups/{crew}")),
            (&within, format!("users/{ann}")),
        ] {
            assert_eq!(given(&boss, place, &whom, &member).await, 204, "{place} {whom}");
        }
        assert_eq!(boss.put(&format!("{V3}/groups/{crew}/users/{ann}"), &Value::Null).await.status, 204);
        let worker = login(&cloud, &ann, json!({"project": {"id": project}})).await;
        assert_eq!(worker.get("/compute/v2.1/servers").await.status, 200);
        for (path, body) in [
            (format!("{V3}/users/{ann}"), json!({"user": {"email": "ann@example.org"}})),
            (format!("{V3}/groups/{crew}"), json!({"group": {"description": "who sell"}})),
            (format!("{V3}/{place}"), json!({"project": {"description": "sells"}})),
        ] {
            assert_eq!(boss.patch(&path, &body).await.status, 200, "{path}");
        }
        for path in [
            format!("{V3}/{place}/users/{ann}/roles/{member}"),
            format!("{V3}/groups/{crew}/users/{ann}"),
            format!("{V3}/users/{ann}"),
            format!("{V3}/groups/{crew}"),
            format!("{V3}/{place}"),
        ] {
            assert_eq!(boss.delete(&path).await.status, 204, "{path}");
        }
    }
}

async fn made_domain(admin: &Client, name: &str) -> String {
    let answer = admin.post(&format!("{V3}/domains"), &json!({"domain": {"name": name}})).await;
    answer.text_at("/domain/id").to_owned()
}

/// Everything that would make more of a manager than it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_of_a_domain_gets_no_further() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (domain, other) = (made_domain(&admin, "acme").await, made_domain(&admin, "rival").await);
    let roles = ["manager", "member", "admin", "service"];
    let mut ids = Vec::new();
    for name in roles {
        ids.push(id_of(&admin, "roles", name).await);
    }
    let [manager, member, admin_role, service] = ids.try_into().unwrap();
    let within = format!("domains/{domain}");
    let boss_id = user(&admin, "boss", &domain).await;
    let me = format!("users/{boss_id}");
    assert_eq!(given(&admin, &within, &me, &manager).await, 204);
    let boss = login(&cloud, &boss_id, json!({"domain": {"id": domain}})).await;

    // Here: an admin, directly and by a group. There: a user, a project and a role that stands for admin.
    let root = user(&admin, "root", &domain).await;
    assert_eq!(given(&admin, &within, &format!("users/{root}"), &admin_role).await, 204);
    let admins = made(&admin, "group", json!({"name": "admins"}), &domain).await;
    assert_eq!(given(&admin, "system", &format!("groups/{admins}"), &admin_role).await, 204);
    let by_group = user(&admin, "by-group", &domain).await;
    let joins = |group: &str, user: &str| format!("{V3}/groups/{group}/users/{user}");
    assert_eq!(admin.put(&joins(&admins, &by_group), &Value::Null).await.status, 204);
    let project = made(&admin, "project", json!({"name": "p"}), &domain).await;
    let (place, theirs) =
        (format!("projects/{project}"), made(&admin, "project", json!({"name": "p"}), &other).await);
    let stranger = user(&admin, "stranger", &other).await;
    let crew = made(&boss, "group", json!({"name": "crew"}), &domain).await;
    let alias = json!({"role": {"name": "member", "domain_id": domain}});
    let alias = admin.post(&format!("{V3}/roles"), &alias).await.text_at("/role/id").to_owned();
    let implies = format!("{V3}/roles/{alias}/implies/{service}");
    assert_eq!(admin.put(&implies, &Value::Null).await.status, 201);
    let foreign = json!({"role": {"name": "own", "domain_id": other}});
    let foreign = admin.post(&format!("{V3}/roles"), &foreign).await.text_at("/role/id").to_owned();

    let grants: [(&str, &str, &str); 8] = [
        (&within, &me, &admin_role),
        (&place, &me, &admin_role),
        (&place, &me, &service),
        (&place, &me, &alias),
        ("system", &me, &member),
        (&format!("projects/{theirs}"), &me, &member),
        (&format!("domains/{other}"), &me, &manager),
        (&place, &format!("users/{stranger}"), &member),
    ];
    for (place, whom, role) in grants {
        assert_eq!(given(&boss, place, whom, role).await, 403, "{place} {whom} {role}");
        let taken = boss.delete(&format!("{V3}/{place}/{whom}/roles/{role}")).await;
        assert_eq!(taken.status, 403, "{place} {whom} {role}");
    }
    let below = format!("{V3}/OS-INHERIT/{within}/{me}/roles/{admin_role}/inherited_to_projects");
    assert_eq!(boss.put(&below, &Value::Null).await.status, 403);
    for (user, group) in [(&boss_id, &admins), (&by_group, &admins), (&stranger, &crew)] {
        assert_eq!(boss.put(&joins(group, user), &Value::Null).await.status, 403);
        assert_eq!(boss.delete(&joins(group, user)).await.status, 403);
    }
    for taken_over in [&root, &by_group, &stranger] {
        let path = format!("{V3}/users/{taken_over}");
        assert_eq!(boss.patch(&path, &json!({"user": {"password": "mine now"}})).await.status, 403);
        assert_eq!(boss.delete(&path).await.status, 403);
    }
    for (kind, body) in [
        ("user", json!({"name": "x", "domain_id": other})),
        ("group", json!({"name": "x", "domain_id": other})),
        ("project", json!({"name": "x", "domain_id": other})),
        ("project", json!({"name": "x", "is_domain": true})),
        ("domain", json!({"name": "x"})),
        ("role", json!({"name": "x"})),
    ] {
        let answer = boss.post(&format!("{V3}/{kind}s"), &json!({ kind: body })).await;
        assert!([400, 403].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(boss.patch(&format!("{V3}/{within}"), &json!({"domain": {"name": "x"}})).await.status, 403);
    assert_eq!(boss.delete(&format!("{V3}/{within}")).await.status, 403);
    assert_eq!(boss.get(&format!("{V3}/roles/{foreign}")).await.status, 403, "another domain's role");
    let listed = boss.get(&format!("{V3}/roles?domain_id={other}")).await;
    assert_eq!((listed.status, &listed.json["roles"]), (200, &json!([])));
    // In a project it manages nobody, whatever the domain.
    assert_eq!(given(&admin, &place, &me, &manager).await, 204);
    let in_project = login(&cloud, &boss_id, json!({"project": {"id": project}})).await;
    let wanted = json!({"user": {"name": "x", "domain_id": domain}});
    assert_eq!(in_project.post(&format!("{V3}/users"), &wanted).await.status, 403);
    assert_eq!(given(&in_project, &place, &me, &member).await, 403);
}
