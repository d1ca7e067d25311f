//! `changePassword`: what the guest's own agent says of it, and that the password is kept nowhere.

use canopy_hypervisor::PasswordOutcome;
use canopy_hypervisor::fake::Op;
use canopy_tests::fixtures::{boot, flavor, guest_agent, image, server, until_status};
use canopy_tests::{Answer, Client, Cloud};
use serde_json::{Value, json};

const PASSWORD: &str = "n0b0dy-re4ds-this";

async fn change(client: &Client, id: &str, password: &Value) -> Answer {
    let body = json!({"changePassword": {"adminPass": password}});
    client.post(&format!("/compute/v2.1/servers/{id}/action"), &body).await
}

fn told(answer: &Answer) -> (u16, String) {
    let fault =
        answer.json.as_object().and_then(|object| object.values().next()).cloned().unwrap_or_default();
    (answer.status, fault["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_agent_sets_the_password_or_says_why_not() {
    let cloud = Cloud::start().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let flavor = flavor(&admin, "f", 1, 64, 1).await;
    let (plain, able) = (image(&tenant, "plain").await, image(&tenant, "able").await);
    guest_agent(&tenant, &able, &[("os_admin_user", "cloud")]).await;
    let without = boot(&tenant, &server("without", &flavor, &plain)).await;
    let with = boot(&tenant, &server("with", &flavor, &able)).await;
    for id in [&without, &with] {
        until_status(&tenant, id, "ACTIVE").await;
    }
    let password = json!(PASSWORD);

    let (status, message) = told(&change(&tenant, &without, &password).await);
    assert!(status == 409 && message.starts_with("QEMU guest agent is not enabled"), "{status} {message}");
    let (status, message) = told(&change(&tenant, &with, &password).await);
    assert!(status == 501 && message.starts_with("Unable to set password on instance"), "{status} {message}");
    cloud.hypervisor.answer_passwords(PasswordOutcome::Refused);
    let failed = format!("Failed to set admin password on {with} because error setting admin password");
    assert_eq!(told(&change(&tenant, &with, &password).await), (409, failed.clone()));
    assert_eq!(cloud.hypervisor.password(), None);
    cloud.hypervisor.answer_passwords(PasswordOutcome::Set);
    let changed = change(&tenant, &with, &password).await;
    assert_eq!((changed.status, changed.text().as_str()), (202, ""));
    assert_eq!(cloud.hypervisor.password(), Some(("cloud".to_owned(), PASSWORD.to_owned())));

    // Its own guest goes off between the question and the answer.
    cloud.hypervisor.answer_passwords(PasswordOutcome::Off);
    let (status, message) = told(&change(&tenant, &with, &password).await);
    assert_eq!((status, message.ends_with(&format!("because instance {with} is not running"))), (409, true));

    // Refused before any guest hears of it.
    let asked = || cloud.hypervisor.calls().iter().filter(|(op, _)| *op == Op::SetPassword).count();
    let before = asked();
    for bad in [json!(null), json!(7), json!("nul\0"), json!("x".repeat(256))] {
        let answer = change(&tenant, &with, &bad).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let other = cloud.tenant("other").await;
    assert_eq!(change(&other, &with, &password).await.status, 404);
    let lock = json!({"lock": null});
    assert_eq!(admin.post(&format!("/compute/v2.1/servers/{with}/action"), &lock).await.status, 202);
    assert_eq!(told(&change(&tenant, &with, &password).await), (409, format!("Instance {with} is locked")));
    assert_eq!(asked(), before);

    // Each attempt stands in the history, with what came of it.
    let history = tenant.at("2.62").get(&format!("/compute/v2.1/servers/{with}/os-instance-actions")).await;
    let lines = history.json["instanceActions"].as_array().unwrap();
    let lines: Vec<_> = lines.iter().filter(|line| line["action"] == "changePassword").collect();
    assert_eq!(lines.len(), 4, "{history:?}");
    let failures = lines.iter().filter(|line| !line["message"].is_null()).count();
    assert_eq!(failures, 3, "{history:?}");

    // Neither database nor audit log has the password.
    let kept = cloud.config.data_dir.clone();
    let mut cloud = cloud;
    cloud.stop().await;
    let found = std::process::Command::new("grep").args(["-rla", PASSWORD]).arg(&kept).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let audited = std::process::Command::new("grep").args(["-rla", "change_password"]).arg(&kept).output();
    assert!(!audited.unwrap().stdout.is_empty(), "the audit log has the change");
}
