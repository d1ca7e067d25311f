//! A database that an earlier version filled, opened by this one: what hosts had and what servers held is there, and
//! can be given back and given out again.

use canopy_store::{Options, Store, consumers, fleet, hosts, inventories, providers, traits};
use canopy_tests::{Engine, engines};
use canopy_types::{ConsumerId, HostId, ProviderId, ServerId, Timestamp};

/// A database without a schema.
struct Empty {
    url: String,
    options: Options,
    /// The file's folder.
    _dir: tempfile::TempDir,
    /// Server and name, where it has to be removed by name.
    on_server: Option<(String, String)>,
}

impl Empty {
    async fn on(engine: Engine, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (url, options, on_server) = match engine {
            Engine::Sqlite => {
                let path = dir.path().join("db");
                (format!("sqlite:{}?mode=rwc", path.display()), Options::sqlite(&path), None)
            }
            Engine::Postgres => {
                let server = std::env::var("CANOPY_TEST_POSTGRES").unwrap();
                let name = format!("{name}_{}", std::process::id());
                let url = canopy_store::testing::create_database(&server, &name).await.unwrap();
                (url.clone(), Options::url(url), Some((server, name)))
            }
        };
        Self { url, options, _dir: dir, on_server }
    }

    async fn remove(self) {
        if let Some((server, name)) = self.on_server {
            canopy_store::testing::drop_database(&server, &name).await.unwrap();
        }
    }
}

/// Rows of version 2: two hosts, three servers, one of them gone whose allocation was left behind.
fn rows(hosts: &[HostId; 2], servers: &[ServerId; 3]) -> Vec<String> {
    let mut all = Vec::new();
    for (n, id) in hosts.iter().enumerate() {
        all.push(format!(
            "INSERT INTO hosts (id, number, name, zone, closed, hypervisor_type, hypervisor_version, acceleration, \
             revision, generation, seen_at, created_at) VALUES ('{id}', {}, 'h{n}', 'nova', NULL, 'QEMU', 7, 'kvm', \
             5, 3, 9, 4)",
            n + 1
        ));
        for (class, total, reserved, ratio, used) in
            [("VCPU", 8, 0, 16_000, 3), ("MEMORY_MB", 1_000, 100, 1_500, 64), ("DISK_GB", 10, 1, 1_000, 0)]
        {
            let used = if n == 0 { used } else { 0 };
            all.push(format!(
                "INSERT INTO inventories (host_id, class, total, reserved, allocation_ratio, used) \
                 VALUES ('{id}', '{class}', {total}, {reserved}, {ratio}, {used})"
            ));
        }
    }
    for (n, id) in servers.iter().enumerate().take(2) {
        all.push(format!(
            "INSERT INTO servers (id, number, project_id, user_id, name, hostname, flavor, keys, config_drive, metadata, \
             availability_zone, reservation_id, launch_index, request_id, decision_id, host_id, power_on, power_n, \
             deleting, refused, phase, observed_n, observed_generation, status, created_at, updated_at) \
             VALUES ('{id}', {n}, 'p{n}', 'u{n}', 's', 's', '{{}}', '[]', 0, '{{}}', 'nova', 'r-1', 0, 'req', 'd', \
             '{}', 1, 1, 0, 0, 'running', 1, 1, 'ACTIVE', {n}7, 8)",
            hosts[0]
        ));
    }
    for (server, class, used) in [(0, "VCPU", 1), (0, "MEMORY_MB", 64), (1, "VCPU", 1), (2, "VCPU", 1)] {
        all.push(format!(
            "INSERT INTO allocations (consumer_id, host_id, class, used) VALUES ('{}', '{}', '{class}', {used})",
            servers[server], hosts[0]
        ));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_wrote_of_hosts_and_servers_is_there_and_counts() {
    for engine in engines() {
        let database = Empty::on(engine, "migrated").await;
        let host_ids = [HostId::random(), HostId::random()];
        let server_ids = [ServerId::random(), ServerId::random(), ServerId::random()];
        canopy_store::testing::earlier(&database.url, 2, &rows(&host_ids, &server_ids)).await.unwrap();

        let store = Store::open(&database.options).await.unwrap();
        let first = ProviderId::from(host_ids[0]);
        let (known, stock, held, left, classes, standard) = store
            .read(move |c| {
                Box::pin(async move {
                    Ok((
                        providers::list(c, None).await?,
                        inventories::of(c, first).await?,
                        consumers::of_provider(c, first).await?,
                        consumers::get(c, ConsumerId::from(server_ids[2])).await?,
                        traits::classes(c).await?,
                        traits::list(c).await?,
                    ))
                })
            })
            .await
            .unwrap();
        assert_eq!(known.len(), 2, "{engine:?}");
        for (n, provider) in known.iter().enumerate() {
            assert_eq!((provider.id, provider.root_id), (host_ids[n].into(), host_ids[n].into()));
            assert_eq!(
                (provider.name.as_str(), provider.host, provider.parent_id),
                (format!("h{n}").as_str(), true, None)
            );
        }
        let stock: Vec<_> = stock
            .iter()
            .map(|row| (row.class.as_str(), row.total, row.capacity(), row.used, row.agent, row.max_unit))
            .collect();
        let most = i64::from(i32::MAX);
        let expected = [
            ("DISK_GB", 10, 9, 0, true, most),
            ("MEMORY_MB", 1_000, 1_350, 64, true, most),
            ("VCPU", 8, 128, 3, true, most),
        ];
        assert_eq!(stock, expected, "{engine:?}");
        assert_eq!(held.len(), 4, "{engine:?}: {held:?}");
        let left = left.unwrap();
        assert!(left.server && left.project_id.as_str().is_empty(), "nobody knows whose it was: {left:?}");
        assert_eq!(classes.iter().filter(|class| class.name == "VCPU").count(), 1);
        assert!(classes.len() > 10 && standard.len() > 300, "standard names are added");

        // What servers hold is given back, and what is free is given out, by the rows' own numbers.
        let amounts = [("VCPU".to_owned(), 126), ("DISK_GB".to_owned(), 9)].into();
        let claimed = store
            .write("test", move |c| {
                let amounts: canopy_types::resources::Amounts = std::clone::Clone::clone(&amounts);
                Box::pin(async move {
                    hosts::release(c, &[server_ids[0]], Timestamp(20)).await?;
                    let who = hosts::Claimant {
                        server: ServerId::random(),
                        project: &canopy_types::ProjectId::from("p"),
                        user: &canopy_types::UserId::from("u"),
                    };
                    let fits = hosts::claim(c, host_ids[0], &who, &amounts, Timestamp(21)).await?;
                    let one = [("VCPU".to_owned(), 1)].into();
                    let too_much = hosts::claim(c, host_ids[0], &who, &one, Timestamp(22)).await?;
                    Ok((fits, too_much))
                })
            })
            .await
            .unwrap();
        assert_eq!(claimed, (true, false), "{engine:?}");
        let rows = store.read(|c| Box::pin(async move { fleet::load(c, None).await })).await.unwrap();
        assert_eq!((rows.hosts.len(), rows.hosts[0].build_failures), (2, 0));
        // A second start finds nothing to do.
        store.close().await;
        Store::open(&database.options).await.unwrap().close().await;
        database.remove().await;
    }
}

/// Roles held before there were groups are held after, by each of the tables that hold them since.
#[tokio::test(flavor = "multi_thread")]
async fn who_held_a_role_before_there_were_groups_holds_it_after() {
    for engine in engines() {
        let database = Empty::on(engine, "migrated_roles").await;
        let mut rows: Vec<String> = vec![
            "INSERT INTO domains (id, name, description, enabled, created_at) VALUES ('default', 'Default', '', 1, 1)".into(),
            "INSERT INTO projects (id, domain_id, parent_id, name, description, enabled, created_at) \
             VALUES ('p', 'default', 'default', 'p', '', 1, 1)"
                .into(),
            "INSERT INTO users (id, domain_id, name, description, tokens_valid_after, enabled, created_at) \
             VALUES ('u', 'default', 'u', '', 0, 1, 1)"
                .into(),
        ];
        for role in ["admin", "member", "reader"] {
            rows.push(format!(
                "INSERT INTO roles (id, name, description) VALUES ('id-{role}', '{role}', 'd')"
            ));
        }
        for (target, id, role) in
            [("project", "p", "member"), ("domain", "default", "reader"), ("system", "all", "admin")]
        {
            rows.push(format!(
                "INSERT INTO role_assignments (user_id, target, target_id, role_id) VALUES ('u', '{target}', '{id}', 'id-{role}')"
            ));
        }
        canopy_store::testing::earlier(&database.url, 5, &rows).await.unwrap();
        let store = Store::open(&database.options).await.unwrap();
        let directory = store.read(|c| Box::pin(canopy_store::identity::directory::load(c))).await.unwrap();
        let mut held: Vec<String> = directory
            .assignments
            .iter()
            .map(|held| format!("{:?} {:?} {} {}", held.actor, held.reach, held.role_id, held.inherited))
            .collect();
        held.sort();
        assert_eq!(
            held,
            [
                "User(u) Domain(default) id-reader false",
                "User(u) Project(p) id-member false",
                "User(u) System id-admin false",
            ]
        );
        let roles: Vec<_> =
            directory.roles.iter().map(|role| (role.name.as_str(), role.domain_id.is_none())).collect();
        assert_eq!(roles, [("admin", true), ("member", true), ("reader", true)]);
        drop(store);
        database.remove().await;
    }
}
