//! Two controllers on one database: what is taken away at one is gone at the other when the answer comes.

use canopy_app::identity::Identity;
use canopy_store::identity::replicas;
use canopy_store::{Options, Store};
use canopy_tests::{Cloud, Engine, engines};
use serde_json::json;

const PASSWORD: &str = "correct horse";

/// What another controller has: connections of its own, and the same token keys.
async fn another(cloud: &Cloud, dir: &std::path::Path) -> (Identity, Store) {
    let app = cloud.app();
    let mut settings = app.settings.clone();
    settings.data_dir = dir.to_owned();
    std::fs::create_dir(dir.join("keys")).unwrap();
    for key in std::fs::read_dir(app.settings.data_dir.join("keys")).unwrap().map(Result::unwrap) {
        if key.file_type().unwrap().is_file() {
            std::fs::copy(key.path(), dir.join("keys").join(key.file_name())).unwrap();
        } else {
            let to = dir.join("keys").join(key.file_name());
            std::fs::create_dir(&to).unwrap();
            for key in std::fs::read_dir(key.path()).unwrap().map(Result::unwrap) {
                std::fs::copy(key.path(), to.join(key.file_name())).unwrap();
            }
        }
    }
    let store = Store::open(&Options::url(cloud.config.database.url.clone().unwrap())).await.unwrap();
    (Identity::open(&store, app.clock.clone(), &settings).await.unwrap(), store)
}

async fn members(cloud: &Cloud) -> usize {
    cloud.app().store.read(|c| Box::pin(replicas::all(c))).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_gone_everywhere_when_the_answer_comes() {
    if !engines().contains(&Engine::Postgres) {
        return;
    }
    let cloud = Cloud::start_on(Engine::Postgres).await;
    let (admin, _) = (cloud.admin().await, cloud.tenant("t").await);
    let dir = tempfile::tempdir().unwrap();
    let (other, its_store) = another(&cloud, dir.path()).await;
    let user = crate::identity_groups_api::id_of(&admin, "users", "t").await;
    for _ in 0..5 {
        let token = cloud.login("t", PASSWORD, "t").await;
        assert!(other.check(&token.token).is_ok());
        let logout =
            token.request("DELETE", "/identity/v3/auth/tokens").header("x-subject-token", &token.token);
        assert_eq!(token.send(logout).await.status, 204);
        assert_eq!(other.check(&token.token).unwrap_err().code, "auth.required");
    }
    let token = cloud.login("t", PASSWORD, "t").await;
    assert!(other.check(&token.token).is_ok());
    let off = admin.patch(&format!("/identity/v3/users/{user}"), &json!({"user": {"enabled": false}})).await;
    assert_eq!(off.status, 200, "{off:?}");
    assert!(other.check(&token.token).is_err());

    // It loses the database, and still runs: nobody waits for it for ever, and it answers no token.
    assert!(other.check(&admin.token).is_ok());
    its_store.close().await;
    let on = admin.patch(&format!("/identity/v3/users/{user}"), &json!({"user": {"enabled": true}})).await;
    assert_eq!(on.status, 200, "{on:?}");
    assert_eq!(other.check(&admin.token).unwrap_err().code, "identity.lease");
    assert_eq!(members(&cloud).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_or_begins_anew_is_waited_for_by_nobody() {
    if !engines().contains(&Engine::Postgres) {
        return;
    }
    let mut cloud = Cloud::start_on(Engine::Postgres).await;
    assert_eq!(members(&cloud).await, 1);
    cloud.restart().await;
    assert_eq!(members(&cloud).await, 1, "the one before has left");
    // One that was killed is taken out by the next on the same data.
    let dead = "dead".to_owned();
    let mut settings = cloud.app().settings.clone();
    let dir = tempfile::tempdir().unwrap();
    settings.data_dir = dir.path().to_owned();
    std::fs::write(dir.path().join("replica"), &dead).unwrap();
    let store = Store::open(&Options::url(cloud.config.database.url.clone().unwrap())).await.unwrap();
    let beat = |id: String| {
        store.read(move |c| Box::pin(async move { replicas::beat(c, &id, Default::default()).await }))
    };
    beat(dead).await.unwrap();
    assert_eq!(members(&cloud).await, 2);
    let next = Identity::open(&store, cloud.app().clock.clone(), &settings).await.unwrap();
    assert_eq!(members(&cloud).await, 2, "it stands for the dead one");
    next.leave(&store).await;
    assert_eq!(members(&cloud).await, 1);
}
