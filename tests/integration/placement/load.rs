//! Hosts that tell how busy they are.

use super::{controller_with, host_of, ready, register};
use canopy_agent_api::{Controller, Load, Observed};
use canopy_app::compute::controller::LocalController;
use canopy_tests::fixtures::{boot, server, show};
use canopy_tests::{Cloud, engines};
use canopy_types::HostId;
use serde_json::json;

async fn tell(cloud: &Cloud, host: HostId, generation: i64, cpu_percent: u8) {
    let load = Some(Load { cpu_percent, memory_percent: 50 });
    let observed = Observed { revision: 0, generation, servers: Vec::new(), load };
    LocalController(cloud.app().clone()).report(host, observed).await.unwrap();
}

/// As nova's metrics weigher with a weight for `cpu.percent`.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_weighs_it_passes_busy_hosts_over() {
    for engine in engines() {
        let weighted = canopy_tests::process::plugins().join("scheduler-weighted");
        let cloud = controller_with(engine, |config| {
            config.plugins.scheduler = Some(weighted);
            let free = json!({"VCPU": 0.0, "MEMORY_MB": 0.0, "DISK_GB": 0.0});
            let weights = json!({"free": free, "signals": {"cpu.percent": -0.01}, "required_signals": ["memory.percent"]});
            config.plugins.config.insert("scheduler".into(), serde_json::from_value(weights).unwrap());
        })
        .await;
        // The last one tells nothing, which the configuration does not accept.
        let hosts = register(&cloud, &[("one", 100), ("two", 100), ("mute", 100)]).await;
        let (admin, tenant, flavor, image) = ready(&cloud).await;
        for (generation, (one, two, expected)) in
            (1..).zip([(90, 10, "two"), (10, 20, "one"), (80, 70, "two")])
        {
            tell(&cloud, hosts[0], generation, one).await;
            tell(&cloud, hosts[1], generation, two).await;
            let id = boot(&tenant, &server("s", &flavor, &image)).await;
            assert_eq!(host_of(&admin, &id).await, expected, "{engine:?}");
            let why = admin.get(&format!("/canopy/v1/servers/{id}/decision")).await;
            let document = &why.json["decision"]["document"];
            let scores = [0, 1].map(|n| document["top"][n]["score"].as_f64().unwrap() * -100.0);
            let percent = [one.min(two), one.max(two)].map(f64::from);
            assert!(scores.iter().zip(percent).all(|(score, told)| (score - told).abs() < 0.01), "{why:?}");
            assert_eq!(document["refused"][0]["example"], "mute was vetoed by scheduler-weighted");
        }
        // An agent that starts again without looking tells nothing: what it told before does not stay.
        register(&cloud, &[("one", 100), ("two", 100)]).await;
        let id = boot(&tenant, &server("s", &flavor, &image)).await;
        assert_eq!(show(&tenant, &id).await["status"], "ERROR", "{engine:?}");
    }
}
