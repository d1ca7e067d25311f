//! Keys of tokens exchanged on a running server.

use crate::identity_api::Moved;
use canopy_app::identity::{Keyring, rotate_key};
use canopy_tests::{Client, Cloud, Engine, until};
use canopy_types::{Clock, SystemClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn keys(cloud: &Cloud) -> PathBuf {
    cloud.config.data_dir.join("keys")
}

/// The tag of the key that a token says it was sealed with.
fn signed_by(client: &Client) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&client.token).unwrap();
    bytes[1..5].iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn works(client: &Client) -> bool {
    client.get("/compute/v2.1/servers").await.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_while_tokens_of_the_old_one_count_until_they_expire() {
    let clock = Arc::new(Moved::default());
    let mut cloud = Cloud::start_with(
        Engine::Sqlite,
        |config| config.token_seconds = 600,
        Some(clock.clone() as Arc<dyn Clock>),
    )
    .await;
    let old = cloud.tenant("t").await;
    let first = Keyring::read(&keys(&cloud)).unwrap().show(clock.now());
    assert_eq!((first.len(), first[0].state, &first[0].tag), (1, "signs", &signed_by(&old)));

    let made = rotate_key(&keys(&cloud), clock.now(), false).unwrap();
    until("the server signs with the new key", async || {
        signed_by(&cloud.login("t", "correct horse", "t").await) == made.tag
    })
    .await;
    let new = cloud.login("t", "correct horse", "t").await;
    assert!(works(&old).await && works(&new).await);
    assert_ne!(signed_by(&old), signed_by(&new));

    // The last token that the old key can have signed has expired: its file goes, and the new one's stay.
    clock.0.store(599, Ordering::SeqCst);
    let newer = cloud.login("t", "correct horse", "t").await;
    clock.0.store(700, Ordering::SeqCst);
    until("the old key's file is gone", async || {
        Keyring::read(&keys(&cloud)).unwrap().show(clock.now()).len() == 1
    })
    .await;
    assert!(!works(&old).await && works(&newer).await);

    // Also after a restart, on the wall clock.
    cloud.restart().await;
    let again = Client::new(&cloud.url, &newer.token);
    assert!(works(&again).await);
    assert!(!works(&Client::new(&cloud.url, &old.token)).await, "sealed with a key that is no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_seen_ends_every_token_at_once_and_an_unreadable_one_changes_nothing() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let broken = keys(&cloud).join("token-0000000000000009.key");
    std::fs::write(&broken, "short").unwrap();
    let refused = rotate_key(&keys(&cloud), SystemClock.now(), false).unwrap_err();
    assert!(refused.message.contains("token-0000000000000009.key"), "{}", refused.message);
    assert!(works(&tenant).await, "the last good keys stay");
    std::fs::remove_file(&broken).unwrap();

    rotate_key(&keys(&cloud), SystemClock.now(), true).unwrap();
    until("no token of before counts", async || !works(&tenant).await).await;
    assert!(works(&cloud.login("t", "correct horse", "t").await).await);
}
