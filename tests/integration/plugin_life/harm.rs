//! The hostile corpus as an operator and a tenant meet it: put in force, asked by real requests; and the slips that
//! operators make.

use super::guests::{built, hostile, wire};
use super::{activate, install, send, slot};
use canopy_tests::{Cloud, fixtures};
use serde_json::{Value, json};

/// What a scorer does, and how the decision names it.
const MISCHIEF: [(&str, &str); 9] = [
    ("deadline", "(loop $ever (br $ever))"),
    ("deadline", "(call $spin)"),
    ("trap", "(drop (call $deep (i32.const 0)))"),
    ("memory", "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))) unreachable)"),
    (
        "memory",
        "(loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 100000)))) unreachable)",
    ),
    ("answer", "(f32.store (local.get $list) (f32.const nan))"),
    ("answer", "(i32.store (i32.const 20) (i32.const 0))"),
    ("answer", "(i32.store (i32.const 20) (i32.const -1))"),
    ("answer", "(i32.store (i32.const 16) (i32.const -16))"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_mischief_is_one_explained_fallback_and_no_request_fails_for_it() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
    let image = fixtures::image(&tenant, "i").await;
    for (n, (label, code)) in MISCHIEF.iter().enumerate() {
        let name = format!("harm-{n}");
        let id = install(&admin, hostile::wire("scheduler", &name, &hostile::scorer_always(code))).await;
        activate(&admin, "scheduler", &id).await;
        let server = fixtures::boot(&tenant, &fixtures::server("s", &flavor, &image)).await;
        let decision = admin.get(&format!("/canopy/v1/servers/{server}/decision")).await;
        let plugin = decision.json["decision"]["document"]["plugin"].clone();
        assert_eq!((&plugin["digest"], &plugin["name"]), (&json!(id), &json!(name)), "{code}");
        assert!(plugin["fault"].as_str().unwrap_or_default().starts_with(label), "{code}: {plugin}");
        tenant.delete(&format!("/compute/v2.1/servers/{server}")).await;
        let stats = admin.get("/canopy/v1/plugin-slots/scheduler/stats").await;
        assert!(stats.json["stats"]["active"]["faults"][label].as_u64() >= Some(1), "{stats:?}");
    }
    // A healthy one after all of them.
    let spread = install(&admin, wire(&built("scheduler-spread"))).await;
    activate(&admin, "scheduler", &spread).await;
    assert_eq!(super::decided_by(&admin, &tenant, &flavor, &image).await, spread);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_slips_are_refused_with_what_to_do_and_change_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let quota = install(&admin, wire(&built("quota-limits"))).await;
    let refused = |answer: canopy_tests::Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.text_at("/error/code")), (status, code), "{answer:?}");
        assert!(answer.text_at("/error/message").len() > 20, "{answer:?}");
    };
    let put = async |path: &str, body: Value| admin.put(&format!("/canopy/v1{path}"), &body).await;
    let of = |plugin: &str| json!({ "plugin": plugin });
    refused(put("/plugin-slots/scheduler/shadow", of(&quota)).await, 400, "plugin.kind");
    refused(put("/plugin-slots/scheduler/shadow", of("start")).await, 400, "plugin.shadow");
    refused(put("/plugin-slots/quota/shadow", of(&"0".repeat(64))).await, 404, "plugin.not_found");
    let settings = json!({"plugin": "built-in", "config": {"unlisted": "deny"}});
    refused(put("/plugin-slots/quota/active", settings).await, 400, "plugin.config");
    let wrong = json!({"plugin": quota, "config": {"unlisted": "maybe"}});
    refused(put("/plugin-slots/quota/active", wrong).await, 400, "plugin.config");
    refused(put("/plugin-slots/network/active", of("built-in")).await, 400, "plugin.built_in");
    let unknown = format!("/plugins/{}/config", "0".repeat(64));
    refused(put(&unknown, json!({"config": {}})).await, 404, "plugin.not_found");
    for kind in ["scheduler", "quota", "network"] {
        let path = format!("/canopy/v1/plugin-slots/{kind}/rollback");
        refused(admin.post(&path, &Value::Null).await, 409, "plugin.no_history");
        assert_eq!(slot(&admin, kind).await["revision"], 0, "{kind}");
    }
    refused(admin.delete("/canopy/v1/plugins/start").await, 404, "plugin.not_found");
    activate(&admin, "quota", &quota).await;
    refused(admin.delete(&format!("/canopy/v1/plugins/{quota}")).await, 409, "plugin.in_use");

    let good = String::from_utf8(hostile::wire("quota", "slip", b"")).unwrap();
    let component = hostile::trapping_rule();
    for (from, to, code) in [
        ("slip", "built-in", "plugin.manifest"),
        ("slip", "scheduler", "plugin.manifest"),
        ("[limits]", "[config.schema]\n\"$ref\" = \"#\"\n[limits]", "plugin.manifest"),
        ("[limits]", "[config.schema]\ntype = \"sideways\"\n[limits]", "plugin.manifest"),
        ("[limits]", "[limits]\nfuel = 7", "plugin.manifest"),
        ("g.wasm", "plugin.toml", "plugin.manifest"),
        ("[limits]", "sha256 = \"00\"\n[limits]", "plugin.digest"),
        ("memory_mib = 16", "memory_mib = 1024", "plugin.limits"),
        ("kind = \"quota\"", "kind = \"network\"", "plugin.kind"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        refused(send(&admin, [text.as_bytes(), &component].concat()).await, 400, code);
    }
    let listed = admin.get("/canopy/v1/plugins").await;
    assert_eq!(listed.json["plugins"].as_array().unwrap().len(), 1, "{listed:?}");
}
