//! What the host cannot do ends in a state that its owner is told of and can act on.

use super::{Host, until};
use canopy_hypervisor::DomainState;
use canopy_hypervisor::fake::Op;
use canopy_types::Error;
use canopy_types::server::{How, Phase, PowerIntent};

fn no() -> Error {
    Error::unavailable("test.no", "The guest cannot be taken down.")
}

/// As often as is tried.
fn cannot(host: &Host, op: Op) {
    for _ in 0..3 {
        host.hypervisor.fail_next(op, no());
    }
}

#[tokio::test]
async fn a_guest_that_cannot_be_taken_down_is_an_error_until_it_can() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.hypervisor.ignore_shutdown(spec.id, true);
    let wishes = [
        (true, How::HardReboot, Phase::Running),
        (true, How::SoftReboot, Phase::Running),
        (true, How::Rebuild, Phase::Running),
        (false, How::Plain, Phase::Stopped),
    ];
    for (n, (on, how, phase)) in (2..).step_by(2).zip(wishes) {
        cannot(&host, Op::Destroy);
        host.controller.change(|s| s.power = s.power.next(on, how));
        let observed = host.reaches(spec.id, Phase::Failed).await;
        assert_eq!((observed.failed_n, observed.power_n), (Some(n), n - 1), "{how:?}");
        assert_eq!(observed.error.as_deref(), Some("The guest cannot be taken down."), "{how:?}");
        host.several_rounds().await;
        assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Running), "{how:?}: left as it is");
        assert!(host.dir(spec.id).join("root.qcow2").exists(), "{how:?}");
        // After a restart of the agent, too.
        host.stop().await;
        host.start();
        host.several_rounds().await;
        assert_eq!(host.controller.observed(spec.id).unwrap().phase, Phase::Failed, "{how:?}");
        host.controller.change(|s| s.power = s.power.next(on, how));
        until(&format!("{how:?}"), || {
            host.controller.observed(spec.id).is_some_and(|o| o.phase == phase && o.power_n == n + 1)
        })
        .await;
    }
    // Once for the gentle wishes and their repetitions each: what was asked before does not count.
    assert_eq!(host.count(Op::Shutdown), 4);
    host.stop().await;
}

/// Its record is lost, and with it that it ran.
#[tokio::test]
async fn what_was_there_before_the_record_is_never_given_back() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.controller.change(|s| s.power = s.power.next(true, How::HardReboot));
    until("rebooted", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    host.stop().await;
    std::fs::remove_file(host.dir(spec.id).join("record.json")).unwrap();
    cannot(&host, Op::Destroy);
    host.start();
    host.reaches(spec.id, Phase::Failed).await;
    host.several_rounds().await;
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Running));
    host.hypervisor.power_off(spec.id);
    host.several_rounds().await;
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Stopped));
    assert!(host.dir(spec.id).join("root.qcow2").exists());
    host.stop().await;
}

/// A guest whose power cannot be cut often comes free with its host.
#[tokio::test]
async fn after_a_reboot_of_the_host_what_was_given_up_is_tried_once_more() {
    let mut host = Host::new();
    let spec = host.running().await;
    cannot(&host, Op::Destroy);
    host.controller.change(|s| s.power = s.power.next(true, How::HardReboot));
    host.reaches(spec.id, Phase::Failed).await;
    host.several_rounds().await;
    host.stop().await;
    host.hypervisor.power_off(spec.id);
    host.boot_id = "boot-2";
    host.start();
    let observed = host.reaches(spec.id, Phase::Running).await;
    until("satisfied", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    assert_eq!(observed.error, None);
    host.stop().await;
}

/// What is dropped is no power intent: a guest that is to run is brought up all the same.
#[tokio::test]
async fn an_image_that_cannot_be_made_does_not_keep_a_guest_off_after_a_reboot_of_the_host() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.stop().await;
    host.hypervisor.power_off(spec.id);
    host.boot_id = "boot-2";
    // A folder is in the way of the copy.
    std::fs::create_dir(host.dir(spec.id).join("snapshot.qcow2")).unwrap();
    host.controller.change(|s| {
        s.power = s.power.next(true, How::Snapshot);
        s.snapshot = Some(canopy_types::ImageId::random());
    });
    host.start();
    until("dropped", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    host.reaches(spec.id, Phase::Running).await;
    host.stop().await;
}

/// The memory of a suspended guest that cannot be discarded.
#[tokio::test]
async fn a_suspended_guest_that_cannot_start_anew_is_an_error_until_it_can() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.controller.change(|s| s.power = s.power.next(false, How::Suspend));
    host.reaches(spec.id, Phase::Suspended).await;
    cannot(&host, Op::DiscardMemory);
    host.controller.change(|s| s.power = s.power.next(true, How::HardReboot));
    host.reaches(spec.id, Phase::Failed).await;
    host.controller.change(|s| s.power = s.power.next(true, How::HardReboot));
    host.reaches(spec.id, Phase::Running).await;
    host.stop().await;
}

#[tokio::test]
async fn a_note_that_cannot_be_kept_holds_nothing_up() {
    let mut host = Host::new();
    let spec = host.running().await;
    // Nothing can be written where a folder is.
    let record = host.dir(spec.id).join("record.json");
    let kept = std::fs::read(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    let steps = [
        (false, How::Plain, Phase::Stopped),
        (true, How::Plain, Phase::Running),
        (true, How::HardReboot, Phase::Running),
        (true, How::Accept, Phase::Running),
    ];
    for (n, (on, how, phase)) in (2..).zip(steps) {
        host.controller.change(|s| s.power = s.power.next(on, how));
        until(&format!("{how:?}"), || {
            host.controller.observed(spec.id).is_some_and(|o| o.phase == phase && o.power_n == n)
        })
        .await;
    }
    std::fs::remove_dir(&record).unwrap();
    std::fs::write(&record, kept).unwrap();
    host.controller.change(|s| s.power = PowerIntent::plain(false, 6));
    until("stopped", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 6)).await;
    let starts = host.count(Op::Start);
    host.stop().await;
    host.start();
    host.several_rounds().await;
    assert_eq!(host.count(Op::Start), starts, "what was kept last is what is known");
    assert_eq!(host.controller.observed(spec.id).unwrap().phase, Phase::Stopped);
    host.stop().await;
}
