//! Groups, inherited roles, implied roles, and the list of what comes out of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_tests::{Answer, Client, Cloud, engines, login_body};
use serde_json::{Value, json};

const GROUPS: &str = "/identity/v3/groups";

pub async fn id_of(admin: &Client, kind: &str, name: &str) -> String {
    let found = admin.get(&format!("/identity/v3/{kind}?name={name}")).await;
    assert_eq!(found.status, 200, "{found:?}");
    found.text_at(&format!("/{kind}/0/id")).to_owned()
}

async fn group(admin: &Client, name: &str) -> String {
    let made = admin.post(GROUPS, &json!({"group": {"name": name, "description": "d"}})).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text_at("/group/id").to_owned()
}

/// The names of the roles that logging in to a project brings.
async fn roles_at(cloud: &Cloud, user: &str, project: &str) -> Vec<String> {
    let answer =
        cloud.anonymous().post("/identity/v3/auth/tokens", &login_body(user, "correct horse", project)).await;
    names(&answer.json["token"]["roles"])
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["role_assignments"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gives_its_members_its_roles_until_they_leave() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let tenant = cloud.tenant("t").await;
        let (user, project) = (id_of(&admin, "users", "t").await, id_of(&admin, "projects", "t").await);
        let manager = id_of(&admin, "roles", "manager").await;
        let id = group(&admin, "ops").await;
        let one = format!("{GROUPS}/{id}");
        assert_eq!(
            admin.get(&one).await.json["group"],
            json!({
                "id": id, "name": "ops", "domain_id": "default", "description": "d",
                "links": {"self": format!("{}{one}", cloud.url)},
            })
        );
        assert_eq!(admin.post(GROUPS, &json!({"group": {"name": "ops"}})).await.status, 409);
        assert_eq!(admin.patch(&one, &json!({"group": {"domain_id": "elsewhere"}})).await.status, 400);
        let changed = admin.patch(&one, &json!({"group": {"name": "night", "description": null}})).await;
        assert_eq!((changed.status, &changed.json["group"]["name"]), (200, &json!("night")));
        assert_eq!(names(&admin.get(&format!("{GROUPS}?name=night")).await.json["groups"]), ["night"]);
        assert_eq!(names(&admin.get(&format!("{GROUPS}?domain_id=none")).await.json["groups"]), [""; 0]);

        let grants = format!("/identity/v3/projects/{project}/groups/{id}/roles");
        assert_eq!(admin.put(&format!("{grants}/{manager}"), &Value::Null).await.status, 204);
        assert_eq!(names(&admin.get(&grants).await.json["roles"]), ["manager"]);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader"]);
        let member = format!("{one}/users/{user}");
        assert_eq!(admin.get(&member).await.status, 404);
        for _ in 0..2 {
            assert_eq!(admin.put(&member, &Value::Null).await.status, 204);
        }
        let head = admin.send(admin.request("HEAD", &member)).await;
        assert_eq!((head.status, head.body.len()), (204, 0));
        assert_eq!(names(&admin.get(&format!("{one}/users")).await.json["users"]), ["t"]);
        let own = tenant.get(&format!("/identity/v3/users/{user}/groups")).await;
        assert_eq!(names(&own.json["groups"]), ["night"], "{own:?}");
        assert_eq!(roles_at(&cloud, "t", "t").await, ["manager", "member", "reader"]);

        for forbidden in [
            tenant.get(GROUPS).await,
            tenant.get(&one).await,
            tenant.post(GROUPS, &json!({"group": {"name": "mine"}})).await,
            tenant.put(&member, &Value::Null).await,
            tenant.delete(&one).await,
        ] {
            assert_eq!(forbidden.status, 403, "{forbidden:?}");
        }
        let older = cloud.login("t", "correct horse", "t").await;
        assert_eq!(older.get("/compute/v2.1/servers").await.status, 200);
        assert_eq!(admin.delete(&member).await.status, 204);
        assert_eq!(admin.delete(&member).await.status, 404);
        assert_eq!(
            older.get("/compute/v2.1/servers").await.status,
            401,
            "as in keystone, who leaves logs in anew"
        );
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader"]);
        assert_eq!(admin.put(&member, &Value::Null).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader"]);
        let held = admin.get(&format!("/identity/v3/role_assignments?group.id={id}")).await;
        assert!(lines(&held).is_empty());
        for gone in [admin.get(&one).await, admin.delete(&one).await, admin.put(&member, &Value::Null).await]
        {
            assert_eq!(gone.status, 404, "{gone:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inherited_roles_count_in_the_projects_below_only() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        cloud.tenant("t").await;
        let (user, top) = (id_of(&admin, "users", "t").await, id_of(&admin, "projects", "t").await);
        let below = json!({"project": {"name": "below", "parent_id": top}});
        let below = admin.post("/identity/v3/projects", &below).await.text_at("/project/id").to_owned();
        let manager = id_of(&admin, "roles", "manager").await;
        assert!(roles_at(&cloud, "t", "below").await.is_empty());

        let of_project = format!(
            "/identity/v3/OS-INHERIT/projects/{top}/users/{user}/roles/{manager}/inherited_to_projects"
        );
        assert_eq!(admin.get(&of_project).await.status, 404);
        assert_eq!(admin.put(&of_project, &Value::Null).await.status, 204);
        assert_eq!(admin.get(&of_project).await.status, 204);
        assert_eq!(roles_at(&cloud, "t", "below").await, ["manager", "member", "reader"]);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader"], "not at the top");

        let given = lines(&admin.get(&format!("/identity/v3/role_assignments?user.id={user}")).await);
        let inherited: Vec<&Value> =
            given.iter().filter(|line| line["scope"]["OS-INHERIT:inherited_to"] == "projects").collect();
        assert_eq!((given.len(), inherited.len()), (2, 1), "{given:?}");
        assert_eq!(inherited[0]["links"]["assignment"], format!("{}{of_project}", cloud.url));
        let query = format!("effective&include_names&user.id={user}&scope.project.id={below}");
        let effective = lines(&admin.get(&format!("/identity/v3/role_assignments?{query}")).await);
        assert_eq!(effective.len(), 3, "{effective:?}");
        assert!(effective.iter().all(|line| line["scope"]["project"]["name"] == "below"));
        let subtree = format!("include_subtree=true&scope.project.id={top}");
        assert_eq!(lines(&admin.get(&format!("/identity/v3/role_assignments?{subtree}")).await).len(), 2);

        let of_domain = format!("/identity/v3/OS-INHERIT/domains/default/users/{user}/roles");
        let one = format!("{of_domain}/{manager}/inherited_to_projects");
        assert_eq!(admin.delete(&of_project).await.status, 204);
        assert!(roles_at(&cloud, "t", "below").await.is_empty());
        assert_eq!(admin.put(&one, &Value::Null).await.status, 204);
        let listed = admin.get(&format!("{of_domain}/inherited_to_projects")).await;
        assert_eq!(names(&listed.json["roles"]), ["manager"]);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["manager", "member", "reader"]);
        let projects = admin.get(&format!("/identity/v3/users/{user}/projects")).await;
        assert_eq!(names(&projects.json["projects"]), ["admin", "below", "t"]);
        let only = admin.get("/identity/v3/role_assignments?scope.OS-INHERIT:inherited_to=projects").await;
        assert_eq!(lines(&only).len(), 1);
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.delete(&one).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn implied_roles_come_with_tokens_and_loops_are_refused() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await;
        let tenant = cloud.tenant("t").await;
        let role = async |name: &str| {
            let made = admin.post("/identity/v3/roles", &json!({"role": {"name": name}})).await;
            made.text_at("/role/id").to_owned()
        };
        let (a, b) = (role("a").await, role("b").await);
        let reader = id_of(&admin, "roles", "reader").await;
        let admin_role = id_of(&admin, "roles", "admin").await;
        let manager = id_of(&admin, "roles", "manager").await;
        let rule = |prior: &str, implied: &str| format!("/identity/v3/roles/{prior}/implies/{implied}");
        assert_eq!(admin.get(&rule(&reader, &a)).await.status, 404);
        let made = admin.put(&rule(&reader, &a), &Value::Null).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json["role_inference"]["prior_role"]["name"], "reader");
        assert_eq!(made.json["role_inference"]["implies"]["name"], "a");
        assert_eq!(admin.put(&rule(&a, &b), &Value::Null).await.status, 201);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader", "a", "b"]);

        for (prior, implied, status) in [
            (&b, &a, 409),
            (&a, &a, 409),
            (&b, &reader, 409),
            (&b, &admin_role, 403),
            (&reader, &manager, 409),
        ] {
            let answer = admin.put(&rule(prior, implied), &Value::Null).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        assert_eq!(admin.delete(&rule(&admin_role, &manager)).await.status, 403, "built in");
        for absent in ["none", "%00"] {
            assert_eq!(admin.put(&rule(&a, absent), &Value::Null).await.status, 404);
            assert_eq!(admin.put(&rule(absent, &a), &Value::Null).await.status, 404);
            assert_eq!(admin.delete(&rule(absent, &a)).await.status, 404);
        }
        assert_eq!(tenant.put(&rule(&reader, &b), &Value::Null).await.status, 403);
        let all = admin.get("/identity/v3/role_inferences").await;
        assert_eq!(all.json["role_inferences"].as_array().unwrap().len(), 5, "{all:?}");
        let of_one = admin.get(&format!("/identity/v3/roles/{reader}/implies")).await;
        assert_eq!(names(&of_one.json["role_inference"]["implies"]), ["a"]);
        assert_eq!(admin.delete(&rule(&reader, &a)).await.status, 204);
        assert_eq!(admin.delete(&rule(&reader, &a)).await.status, 404);
        assert_eq!(roles_at(&cloud, "t", "t").await, ["member", "reader"]);
        assert_eq!(admin.delete(&format!("/identity/v3/roles/{b}")).await.status, 204);
        assert_eq!(admin.get(&rule(&a, &b)).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_without_an_answer_and_hostile_bodies_are_refused() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    for query in [
        "include_subtree",
        "user.id=x&group.id=y",
        "effective&group.id=x",
        "effective&scope.domain.id=default&scope.OS-INHERIT:inherited_to=projects",
        "scope.OS-INHERIT:inherited_to=moon",
        "scope.domain.id=default&scope.system=all",
    ] {
        let answer = admin.get(&format!("/identity/v3/role_assignments?{query}")).await;
        assert_eq!(answer.status, 400, "{query} {answer:?}");
    }
    for body in [
        json!({}),
        json!({"group": null}),
        json!({"group": {}}),
        json!({"group": {"name": " "}}),
        json!({"group": {"name": "x".repeat(65)}}),
        json!({"group": {"name": "a", "description": 7}}),
    ] {
        assert_eq!(admin.post(GROUPS, &body).await.status, 400, "{body}");
    }
    let elsewhere = json!({"group": {"name": "a", "domain_id": "none"}});
    assert_eq!(admin.post(GROUPS, &elsewhere).await.status, 404);
}

/// A token for a domain shows what is in it, and nothing of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_reader_sees_its_domain_only() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    cloud.tenant("t").await;
    group(&admin, "ops").await;
    let made = admin.post("/identity/v3/domains", &json!({"domain": {"name": "acme"}})).await;
    let acme = made.text_at("/domain/id").to_owned();
    let user = json!({"user": {"name": "boss", "domain_id": acme, "password": "correct horse"}});
    let user = admin.post("/identity/v3/users", &user).await.text_at("/user/id").to_owned();
    let staff = json!({"group": {"name": "staff", "domain_id": acme}});
    assert_eq!(admin.post(GROUPS, &staff).await.status, 201);
    let reader = id_of(&admin, "roles", "reader").await;
    let grant = format!("/identity/v3/domains/{acme}/users/{user}/roles/{reader}");
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let login = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"id": user, "password": "correct horse"}}},
        "scope": {"domain": {"id": acme}},
    }});
    let login = cloud.anonymous().post("/identity/v3/auth/tokens", &login).await;
    assert_eq!(login.status, 201, "{login:?}");
    let mut boss = cloud.anonymous();
    boss.token = login.header("x-subject-token").unwrap().to_owned();
    assert_eq!(names(&boss.get(GROUPS).await.json["groups"]), ["staff"]);
    assert_eq!(names(&boss.get("/identity/v3/users").await.json["users"]), ["boss"]);
    assert_eq!(names(&boss.get("/identity/v3/projects").await.json["projects"]), [""; 0]);
    assert_eq!(names(&boss.get("/identity/v3/users?domain_id=default").await.json["users"]), [""; 0]);
    let other = id_of(&admin, "users", "t").await;
    assert_eq!(boss.get(&format!("/identity/v3/users/{other}")).await.status, 403);
    let absent = boss.get("/identity/v3/users/5f0c8a5752a54b1f8e66bd6c1f5a1c11").await;
    assert_eq!(absent.status, 403, "an absent id gets the answer of another domain's");
}
