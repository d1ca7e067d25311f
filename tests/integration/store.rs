//! The store on both engines: shared commits, all or nothing, claims, gap-free events.

use canopy_store::events::{self, NewEvent};
use canopy_store::hosts::{self, Registration};
use canopy_store::{Options, Store, sequences};
use canopy_tests::{Engine, engines, until};
use canopy_types::resources::Amounts;
use canopy_types::{Error, Kind, ProjectId, ServerId, Timestamp, UserId};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

async fn open(engine: Engine) -> (Store, Option<TempDir>) {
    match engine {
        Engine::Sqlite => {
            let dir = tempfile::tempdir().unwrap();
            (Store::open(&Options::sqlite(&dir.path().join("db"))).await.unwrap(), Some(dir))
        }
        Engine::Postgres => {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("store_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let server = std::env::var("CANOPY_TEST_POSTGRES").unwrap();
            let url = canopy_store::testing::create_database(&server, &name).await.unwrap();
            (Store::open(&Options::url(url)).await.unwrap(), None)
        }
    }
}

async fn count(store: &Store) -> i64 {
    store
        .read(|c| Box::pin(async move { Ok(events::after(c, 0, 10_000).await?.len() as i64) }))
        .await
        .unwrap()
}

async fn append(store: &Store, fail: bool) -> Result<i64, Error> {
    store
        .write("test.append", move |c| {
            Box::pin(async move {
                let project = ProjectId::from("p");
                let event = NewEvent {
                    at: Timestamp(1),
                    kind: "test",
                    project_id: &project,
                    subject: "s".into(),
                    host_id: None,
                };
                let revision = events::append(c, &event).await?;
                if fail { Err(Error::conflict("test.no", "no")) } else { Ok(revision) }
            })
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_leaves_nothing_and_its_neighbours_stand() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        // Alone, in a transaction that is rolled back; then among others that share one.
        assert_eq!(append(&store, true).await.unwrap_err().code, "test.no");
        let writes = (0..100).map(|n| append_owned(store.clone(), n % 3 == 0));
        let outcomes = futures::future::join_all(writes).await;
        let strange = outcomes.iter().filter_map(|o| o.as_ref().err()).find(|e| e.code != "test.no");
        assert!(strange.is_none(), "{engine:?}: {}", strange.unwrap().chain());
        let good = outcomes.iter().filter(|o| o.is_ok()).count() as i64;
        assert_eq!(good, 66, "{engine:?}");
        // On PostgreSQL others' open transactions, of any database of the server, hold events back for a while.
        until("all events are seen", async || count(&store).await >= good).await;
        assert_eq!(count(&store).await, good, "{engine:?}");
        let revisions: BTreeSet<i64> = outcomes.iter().filter_map(|o| o.as_ref().ok().copied()).collect();
        assert_eq!(revisions.len() as i64, good, "every event has a revision of its own");
    }
}

/// SQLite gives a transaction up by itself when the disk is full; the writer must not believe it still open.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_its_write_and_none_after_it() {
    let (store, dir) = open(Engine::Sqlite).await;
    let error = canopy_store::testing::fill(&store).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::StorageFull, "store.full"));
    for _ in 0..3 {
        append(&store, false).await.unwrap();
    }
    assert_eq!(count(&store).await, 3);
    let mode = |end: &str| {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.as_ref().unwrap().path().join(format!("db{end}"));
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777
    };
    assert_eq!([mode(""), mode("-wal"), mode("-shm")], [0o600; 3], "only its owner reads the database");
}

async fn append_owned(store: Store, fail: bool) -> Result<i64, Error> {
    append(&store, fail).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_panics_fails_alone_and_the_store_lives_on() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        let outcome = store
            .write::<(), _>("test.panic", |_| {
                Box::pin(async {
                    tokio::task::yield_now().await;
                    panic!("on purpose")
                })
            })
            .await;
        assert_eq!(outcome.unwrap_err().kind, Kind::Internal, "{engine:?}");
        assert!(append(&store, false).await.is_ok(), "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_carried_out_although_its_caller_went_away() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        let begun = tokio::time::timeout(Duration::ZERO, append(&store, false)).await;
        drop(begun);
        let later = append(&store, false).await.unwrap();
        assert!(later >= 1);
        canopy_tests::until("both are there", async || count(&store).await == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_without_a_gap_while_sixteen_write_and_one_stalls() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        let stall = tokio::sync::watch::channel(false);
        let (release, stalled) = (stall.0, stall.1);
        let slow = {
            let (store, begun) = (store.clone(), stalled.clone());
            tokio::spawn(async move {
                store
                    .write("test.slow", move |c| {
                        let mut begun = begun.clone();
                        Box::pin(async move {
                            let project = ProjectId::from("slow");
                            let event = NewEvent {
                                at: Timestamp(1),
                                kind: "slow",
                                project_id: &project,
                                subject: "s".into(),
                                host_id: None,
                            };
                            events::append(c, &event).await?;
                            let wait = begun.wait_for(|go| *go);
                            let _ = tokio::time::timeout(Duration::from_secs(10), wait).await;
                            Ok(())
                        })
                    })
                    .await
            })
        };
        let writers = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    append(&store, false).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        // A reader that goes on from the last revision it saw must end with everything, each once.
        let mut seen = BTreeSet::new();
        let mut last = 0;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let mut released = false;
        while seen.len() < 16 * 20 + 1 {
            assert!(tokio::time::Instant::now() < deadline, "{engine:?}: {} events", seen.len());
            let page =
                store.read(move |c| Box::pin(async move { events::after(c, last, 50).await })).await.unwrap();
            for event in page {
                assert!(event.revision > last, "{engine:?}: in order");
                last = event.revision;
                assert!(seen.insert(event.revision), "{engine:?}: once");
            }
            if !released
                && (engine == Engine::Sqlite || writers.iter().all(tokio::task::JoinHandle::is_finished))
            {
                released = true;
                release.send_replace(true);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slow.await.unwrap().unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_commit_by_capacity_and_give_back_exactly_what_they_took() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        let host = store
            .write("test.host", |c| {
                Box::pin(async move {
                    let registration = Registration {
                        name: "h",
                        zone: "nova",
                        hypervisor_type: "QEMU",
                        hypervisor_version: 1,
                        acceleration: "tcg",
                        inventory: &[("VCPU", 4, 1, 2_000), ("MEMORY_MB", 100, 0, 1_000)],
                        physical_networks: &[],
                    };
                    hosts::register(c, &registration, Timestamp(1)).await
                })
            })
            .await
            .unwrap();
        // (4 − 1) × 2 = 6 VCPU, 100 MiB: of claims of (1, 30), three fit.
        let claim = |id: ServerId| {
            let store = store.clone();
            async move {
                store
                    .write("test.claim", move |c| {
                        Box::pin(async move {
                            let amounts: Amounts =
                                [("VCPU".to_owned(), 1), ("MEMORY_MB".to_owned(), 30)].into();
                            let (project, user) = (ProjectId::from("p"), UserId::from("u"));
                            let who = hosts::Claimant { server: id, project: &project, user: &user };
                            if hosts::claim(c, host.id, &who, &amounts, Timestamp(2)).await? {
                                Ok(())
                            } else {
                                Err(Error::conflict("test.full", "full"))
                            }
                        })
                    })
                    .await
            }
        };
        let ids: Vec<ServerId> = (0..20).map(|_| ServerId::random()).collect();
        let outcomes = futures::future::join_all(ids.iter().map(|id| claim(*id))).await;
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 3, "{engine:?} {outcomes:?}");
        for id in ids {
            for _ in 0..2 {
                store
                    .write("test.release", move |c| {
                        Box::pin(async move { hosts::release(c, &[id], Timestamp(3)).await })
                    })
                    .await
                    .unwrap();
            }
        }
        let (_, inventories) = store.read(|c| Box::pin(hosts::all(c))).await.unwrap();
        assert!(inventories.iter().all(|row| row.used == 0), "{engine:?} {inventories:?}");
        // Registering again keeps the id and what is set by the operator.
        assert_eq!(
            inventories.iter().map(canopy_store::inventories::Inventory::capacity).collect::<Vec<_>>(),
            [100, 6]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_hand_out_each_number_once() {
    for engine in engines() {
        let (store, _dir) = open(engine).await;
        let next = |store: Store| async move {
            store.write("test.next", |c| Box::pin(sequences::next(c, "n"))).await.unwrap()
        };
        let mut got = futures::future::join_all((0..50).map(|_| next(store.clone()))).await;
        got.sort_unstable();
        assert_eq!(got, (1..=50).collect::<Vec<_>>(), "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_version_is_refused_and_a_second_start_changes_nothing() {
    for engine in engines() {
        let (store, dir) = open(engine).await;
        append(&store, false).await.unwrap();
        store.close().await;
        if let Some(dir) = &dir {
            let options = Options::sqlite(&dir.path().join("db"));
            let again = Store::open(&options).await.unwrap();
            assert_eq!(count(&again).await, 1);
            canopy_store::testing::pretend_newer(&again).await.unwrap();
            again.close().await;
            let error = Store::open(&options).await.err().expect("refused");
            assert_eq!(error.code, "store.schema");
        }
    }
}
