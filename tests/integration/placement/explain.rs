//! Why a server is where it is: the decision, and what each host had to say.

use super::{controller, host_of, ready, register};
use canopy_tests::engines;
use canopy_tests::fixtures::{boot, flavor, server, show};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_tells_each_hosts_verdict_as_it_was_then() {
    for engine in engines() {
        let cloud = controller(engine).await;
        let ids = register(&cloud, &[("h1", 2), ("h2", 5), ("h3", 9)]).await;
        let (admin, tenant, _, image) = ready(&cloud).await;
        let four = flavor(&admin, "four", 1, 64, 4).await;
        let first = boot(&tenant, &server("s", &four, &image)).await;
        let chosen = host_of(&admin, &first).await;
        // What happens later does not show in what was decided before.
        boot(&tenant, &server("s", &four, &image)).await;
        boot(&tenant, &server("s", &four, &image)).await;
        let refused = boot(&tenant, &server("s", &four, &image)).await;

        let shown = admin.get(&format!("/canopy/v1/servers/{first}/decision")).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_eq!(shown.text_at("/decision/document/winner_name"), chosen);
        let path = format!("/canopy/v1/decisions/{}/hosts", shown.text_at("/decision/id"));
        let table = admin.get(&path).await;
        assert_eq!(table.status, 200, "{table:?}");
        let rows = table.json["hosts"].as_array().unwrap();
        assert_eq!(rows.iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["h1", "h2", "h3"]);
        assert_eq!((&rows[0]["verdict"], &rows[0]["rule"]), (&json!("refused"), &json!("capacity:DISK_GB")));
        assert_eq!(rows[0]["short"], json!({"DISK_GB": 2}), "{table:?}");
        let best = rows.iter().find(|row| row["verdict"] == "chosen").unwrap();
        assert_eq!(best["name"], chosen.as_str());
        assert!(best["score"].is_number() && !best["reasons"].as_array().unwrap().is_empty(), "{best}");
        assert!(rows.iter().filter(|row| row["verdict"] == "fits").count() == 1, "{table:?}");
        // A page at a time.
        let page = admin.get(&format!("{path}?limit=2")).await;
        assert_eq!(page.text_at("/next_marker"), ids[1].to_string());
        let rest = admin.get(&format!("{path}?limit=2&marker={}", ids[1])).await;
        assert_eq!((rest.text_at("/hosts/0/name"), rest.json["next_marker"].is_null()), ("h3", true));
        assert_eq!(admin.get(&format!("{path}?marker=x")).await.status, 400);

        let failed = show(&tenant, &refused).await;
        let message = failed["fault"]["message"].as_str().unwrap();
        let decision = message.rsplit("Decision ").next().unwrap().trim_end_matches('.');
        let path = format!("/canopy/v1/decisions/{decision}");
        let table = admin.get(&format!("{path}/hosts")).await;
        let short: Vec<_> = table.json["hosts"].as_array().unwrap().iter().map(|row| &row["short"]).collect();
        assert_eq!(
            short,
            [&json!({"DISK_GB": 2}), &json!({"DISK_GB": 3}), &json!({"DISK_GB": 3})],
            "{table:?}"
        );
        // A tenant learns how many hosts said what, not which.
        let own = tenant.get(&path).await;
        assert_eq!(
            (own.status, &own.json["decision"]["document"]["placed"]),
            (200, &json!(false)),
            "{own:?}"
        );
        assert!(!own.text().contains("h2"), "{own:?}");
        assert_eq!(tenant.get(&format!("{path}/hosts")).await.status, 403);
        let other = cloud.tenant("other").await;
        assert_eq!(other.get(&format!("{path}/hosts")).await.status, 404);
        assert_eq!(other.get(&format!("/canopy/v1/servers/{refused}/decision")).await.status, 404);

        // Another controller shows the decision, and names the one that can tell more.
        let journal = cloud.config.data_dir.join("journal/id");
        let own = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, "another").unwrap();
        let elsewhere = admin.get(&format!("{path}/hosts")).await;
        assert_eq!((elsewhere.status, admin.get(&path).await.status), (410, 200), "{elsewhere:?}");
        let named = format!("at http://{}, which made it", cloud.config.listen);
        assert!(elsewhere.text().contains(&named), "{elsewhere:?}");
        std::fs::write(&journal, own).unwrap();

        // Beyond what the journal keeps: the decision stays, the table is gone.
        for entry in std::fs::read_dir(cloud.config.data_dir.join("journal")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "journal") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let gone = admin.get(&format!("{path}/hosts")).await;
        assert_eq!((gone.status, admin.get(&path).await.status), (410, 200), "{gone:?}");
    }
}
