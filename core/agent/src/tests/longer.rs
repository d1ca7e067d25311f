//! Operations of more than one step, with real disks.

use super::*;
use canopy_agent_api::PortSpec;
use canopy_types::ImageId;

/// Asks for one, and waits until it is satisfied.
async fn asked(host: &Host, id: ServerId, n: i64, change: impl FnOnce(&mut ServerSpec)) {
    host.controller.change(change);
    until("satisfied", || host.controller.observed(id).is_some_and(|o| o.power_n == n)).await;
}

fn size(path: PathBuf) -> u64 {
    qcow2::size_of_own(&path).unwrap().unwrap()
}

#[tokio::test]
async fn a_resize_grows_a_copy_and_keeps_the_disk_until_it_is_confirmed_or_reverted() {
    let mut host = Host::new();
    let spec = host.running().await;
    let (disk, kept) = (host.dir(spec.id).join("root.qcow2"), host.dir(spec.id).join("root.kept-2.qcow2"));
    let before = size(disk.clone());
    let resize = |n| {
        move |s: &mut ServerSpec| {
            s.flavor.root_gib = 1;
            s.flavor.vcpus = 2;
            s.kept_n = Some(n);
            s.power = PowerIntent { on: true, how: How::Resize, n };
        }
    };
    asked(&host, spec.id, 2, resize(2)).await;
    assert_eq!((size(disk.clone()), size(kept.clone())), (1 << 30, before));
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().vcpus, 2);
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Running));

    asked(&host, spec.id, 3, |s| {
        s.flavor = testing::spec().flavor;
        s.power = PowerIntent { on: true, how: How::RevertResize, n: 3 };
    })
    .await;
    assert_eq!(size(disk.clone()), before);
    assert!(!kept.exists());
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().vcpus, 1);

    asked(&host, spec.id, 4, resize(4)).await;
    let kept = host.dir(spec.id).join("root.kept-4.qcow2");
    assert!(kept.exists());
    asked(&host, spec.id, 5, |s| s.power = PowerIntent { on: true, how: How::ConfirmResize, n: 5 }).await;
    assert!(!kept.exists());
    assert_eq!(size(disk), 1 << 30);
    host.stop().await;
}

#[tokio::test]
async fn a_rescued_guest_has_its_disk_second_and_loses_the_other_afterwards() {
    let mut host = Host::new();
    let spec = host.running().await;
    let image = testing::image(host.controller.image(&qcow2::header(2 << 20)));
    asked(&host, spec.id, 2, |s| {
        s.rescue = Some(image);
        s.power = PowerIntent { on: true, how: How::Rescue, n: 2 };
    })
    .await;
    let disks = host.hypervisor.spec(spec.id).unwrap().disks;
    let rescue = host.dir(spec.id).join("rescue.qcow2");
    assert_eq!(
        disks.iter().map(|d| &d.path).collect::<Vec<_>>(),
        [&rescue, &host.dir(spec.id).join("root.qcow2")]
    );
    assert!(rescue.exists());
    asked(&host, spec.id, 3, |s| {
        s.rescue = None;
        s.power = PowerIntent { on: true, how: How::Unrescue, n: 3 };
    })
    .await;
    assert!(!rescue.exists());
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().disks.len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_sent_whether_the_guest_runs_or_not_and_leaves_its_power_alone() {
    let mut host = Host::new();
    let mut spec = host.spec();
    spec.image = None;
    spec.flavor.root_gib = 1;
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    until("satisfied", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 1)).await;
    let snapshot = |image, n| {
        move |s: &mut ServerSpec| {
            s.snapshot = Some(image);
            s.power = PowerIntent { on: true, how: How::Snapshot, n };
        }
    };
    let (live, resting) = (ImageId::random(), ImageId::random());
    asked(&host, spec.id, 2, snapshot(live, 2)).await;
    assert!(host.controller.stored(live).unwrap().starts_with(b"QFI\xfb"));
    host.hypervisor.power_off(spec.id);
    host.reaches(spec.id, Phase::Stopped).await;
    asked(&host, spec.id, 3, snapshot(resting, 3)).await;
    let bytes = host.controller.stored(resting).unwrap();
    assert_eq!(u64::from_be_bytes(bytes[24..32].try_into().unwrap()), 1 << 30);
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Stopped), "it was off, and stays so");
    assert!(!host.dir(spec.id).join("snapshot.qcow2").exists());
    host.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_made_is_given_up_and_the_guest_runs_on() {
    let mut host = Host::new();
    let spec = host.running().await;
    for _ in 0..3 {
        host.hypervisor.fail_next(Op::CopyDisk, Error::unavailable("libvirt.copy_broken", "No copy."));
    }
    let image = ImageId::random();
    asked(&host, spec.id, 2, |s| {
        s.snapshot = Some(image);
        s.power = PowerIntent { on: true, how: How::Snapshot, n: 2 };
    })
    .await;
    let observed = host.controller.observed(spec.id).unwrap();
    assert_eq!((observed.phase, observed.error.as_deref()), (Phase::Running, Some("No copy.")));
    assert_eq!(host.controller.stored(image), None);
    host.stop().await;
}

#[tokio::test]
async fn network_devices_come_and_go_and_what_the_guest_keeps_is_said() {
    let mut host = Host::new();
    let spec = host.running().await;
    let (wired, networks) = testing::spec_with_network();
    let port = PortSpec { server_id: Some(spec.id), ..wired.ports[0].clone() };
    let networks = networks.into_iter().map(|mut network| {
        network.ports = vec![port.clone()];
        network
    });
    let mut with = spec.clone();
    with.ports = vec![port.clone()];
    with.power = PowerIntent { on: true, how: How::Rewire, n: 2 };
    host.controller.want(vec![with.clone()], networks.collect());
    until("plugged", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    assert_eq!(host.hypervisor.plugged(spec.id), std::slice::from_ref(&port.mac));
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().nics.len(), 1, "the next start has it too");
    // The guest keeps it: the intent is given up, and it runs on.
    for _ in 0..3 {
        host.hypervisor.fail_next(Op::Unplug, Error::unavailable("libvirt.unplug_ignored", "It keeps it."));
    }
    asked(&host, spec.id, 3, |s| {
        s.leaving = std::mem::take(&mut s.ports);
        s.power = PowerIntent { on: true, how: How::Rewire, n: 3 };
    })
    .await;
    let observed = host.controller.observed(spec.id).unwrap();
    assert_eq!((observed.phase, observed.error.as_deref()), (Phase::Running, Some("It keeps it.")));
    asked(&host, spec.id, 4, |s| s.power = PowerIntent { on: true, how: How::Rewire, n: 4 }).await;
    assert_eq!(host.hypervisor.plugged(spec.id), [] as [String; 0]);
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().nics.len(), 0);
    host.stop().await;
}
