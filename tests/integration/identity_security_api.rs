//! Rules for passwords, lock-out, and the bound on failed logins of one source.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::identity_groups_api::id_of;
use canopy_tests::{Client, Cloud, engines, login_body};
use serde_json::{Value, json};

const TOKENS: &str = "/identity/v3/auth/tokens";

async fn login(cloud: &Cloud, user: &str, password: &str) -> u16 {
    cloud.anonymous().post(TOKENS, &login_body(user, password, "t")).await.status
}

async fn change(client: &Client, user: &str, from: &str, to: &str) -> canopy_tests::Answer {
    let body = json!({"user": {"original_password": from, "password": to}});
    client.post(&format!("/identity/v3/users/{user}/password"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_a_user_out_and_nobody_learns_of_it() {
    for engine in engines() {
        let rules =
            |config: &mut canopy::config::Config| config.security_compliance.lockout_failure_attempts = 3;
        let cloud = Cloud::start_with(engine, rules, None).await;
        let admin = cloud.admin().await;
        let tenant = cloud.tenant("t").await;
        let user = id_of(&admin, "users", "t").await;
        for _ in 0..2 {
            assert_eq!(login(&cloud, "t", "wrong").await, 401);
        }
        assert_eq!(login(&cloud, "t", "correct horse").await, 201, "and counting starts anew");
        for _ in 0..3 {
            assert_eq!(login(&cloud, "t", "wrong").await, 401);
        }
        let wrong = cloud.anonymous().post(TOKENS, &login_body("t", "correct horse", "t")).await;
        let absent = cloud.anonymous().post(TOKENS, &login_body("nobody", "correct horse", "t")).await;
        assert_eq!((wrong.status, &wrong.json), (401, &absent.json), "locked, wrong and unknown look alike");
        let by_id = json!({"auth": {"identity": {"methods": ["password"],
            "password": {"user": {"id": user, "password": "correct horse"}}}}});
        assert_eq!(cloud.anonymous().post(TOKENS, &by_id).await.status, 401, "however it is named");
        assert_eq!(tenant.get("/compute/v2.1/servers").await.status, 200, "its tokens live on");
        assert_eq!(change(&tenant, &user, "correct horse", "another horse").await.status, 401);

        let spare = json!({"user": {"options": {"ignore_lockout_failure_attempts": true}}});
        let spared = admin.patch(&format!("/identity/v3/users/{user}"), &spare).await;
        assert_eq!(
            spared.json["user"]["options"],
            json!({"ignore_lockout_failure_attempts": true}),
            "{spared:?}"
        );
        assert_eq!(login(&cloud, "t", "correct horse").await, 201);
        let none = json!({"user": {"options": {"ignore_lockout_failure_attempts": null}}});
        let none = admin.patch(&format!("/identity/v3/users/{user}"), &none).await;
        assert_eq!(none.json["user"]["options"], json!({}));

        for _ in 0..3 {
            assert_eq!(login(&cloud, "t", "wrong").await, 401);
        }
        assert_eq!(login(&cloud, "t", "correct horse").await, 401);
        let enabled = json!({"user": {"enabled": true}});
        assert_eq!(admin.patch(&format!("/identity/v3/users/{user}"), &enabled).await.status, 200);
        assert_eq!(login(&cloud, "t", "correct horse").await, 201, "an admin lets it in again");
    }
}

/// One that there is counts by its id, however it is named; one that there is not has to count like that, or the
/// time of an answer without a look at a password tells which there are.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_is_locked_out_too_however_its_domain_is_named() {
    let rules = |config: &mut canopy::config::Config| config.security_compliance.lockout_failure_attempts = 3;
    let cloud = Cloud::start_with(canopy_tests::Engine::Sqlite, rules, None).await;
    cloud.tenant("t").await;
    let checked = || cloud.app().identity.passwords_checked();
    for user in ["t", "nobody"] {
        let attempt = async |domain: Value| {
            let body = json!({"auth": {"identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": domain, "password": "wrong"}}}}});
            assert_eq!(cloud.anonymous().post(TOKENS, &body).await.status, 401);
        };
        for _ in 0..3 {
            attempt(json!({"id": "default"})).await;
        }
        let before = checked();
        attempt(json!({"name": "Default"})).await;
        attempt(json!({"id": "default"})).await;
        assert_eq!(checked(), before, "{user}: no password is looked at any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_too_often_waits_and_valid_tokens_do_not() {
    let rules = |config: &mut canopy::config::Config| config.security_compliance.failed_logins_per_source = 5;
    let cloud = Cloud::start_with(canopy_tests::Engine::Sqlite, rules, None).await;
    let tenant = cloud.tenant("t").await;
    for n in 0..5 {
        assert_eq!(login(&cloud, &format!("nobody-{n}"), "wrong").await, 401);
    }
    let refused = cloud.anonymous().post(TOKENS, &login_body("t", "correct horse", "t")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")), "{refused:?}");
    assert_eq!(tenant.get("/compute/v2.1/servers").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_passwords_keep_to_the_rules() {
    for engine in engines() {
        let rules = |config: &mut canopy::config::Config| {
            config.security_compliance.password_regex = "^.{8,}$".into();
            config.security_compliance.password_regex_description = "eight characters or more".into();
            config.security_compliance.unique_last_password_count = 2;
            config.security_compliance.password_expires_days = 30;
        };
        let cloud = Cloud::start_with(engine, rules, None).await;
        let admin = cloud.admin().await;
        let tenant = cloud.tenant("t").await;
        let user = id_of(&admin, "users", "t").await;
        let one = format!("/identity/v3/users/{user}");
        let shown = admin.get(&one).await.json["user"].clone();
        assert!(shown["password_expires_at"].as_str().unwrap().starts_with("20"), "{shown}");
        let short =
            admin.post("/identity/v3/users", &json!({"user": {"name": "s", "password": "s3cr3t"}})).await;
        assert_eq!(short.status, 400);
        assert!(short.text().contains("eight characters or more") && !short.text().contains("s3cr3t"));
        assert_eq!(admin.patch(&one, &json!({"user": {"password": "short"}})).await.status, 400);
        assert_eq!(change(&tenant, &user, "correct horse", "short").await.status, 400);
        let again = change(&tenant, &user, "correct horse", "correct horse").await;
        assert_eq!(again.status, 400, "{again:?}");
        assert_eq!(change(&tenant, &user, "correct horse", "second horse").await.status, 204);
        let tenant = cloud.login("t", "second horse", "t").await;
        assert_eq!(
            change(&tenant, &user, "second horse", "correct horse").await.status,
            400,
            "one of the last two"
        );
        assert_eq!(change(&tenant, &user, "second horse", "third horse").await.status, 204);
        let tenant = cloud.login("t", "third horse", "t").await;
        assert_eq!(
            change(&tenant, &user, "third horse", "correct horse").await.status,
            204,
            "long ago enough"
        );

        let lock = json!({"user": {"options": {"lock_password": true, "ignore_password_expiry": true}}});
        let locked = admin.patch(&one, &lock).await.json["user"].clone();
        assert_eq!(
            (&locked["password_expires_at"], &locked["options"]["lock_password"]),
            (&Value::Null, &json!(true))
        );
        let tenant = cloud.login("t", "correct horse", "t").await;
        assert_eq!(change(&tenant, &user, "correct horse", "fourth horse").await.status, 403);
        for options in [json!({"lock_password": 7}), json!({"multi_factor_auth_enabled": true}), json!([])] {
            let answer = admin.patch(&one, &json!({"user": { "options": options }})).await;
            assert_eq!(answer.status, 400, "{options} {answer:?}");
        }
    }
}
