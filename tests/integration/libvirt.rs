//! The libvirt driver against a real libvirtd and real QEMU processes.
//!
//! A guest here is one boot sector that writes a line to its serial port and then halts or powers
//! itself off: enough to prove everything but an operating system. Needs root, and libvirtd and
//! virtlogd at `qemu:///system` (`cargo xtask test` starts them). One test restarts libvirtd.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use canopy_hypervisor::{Boot, Console, Disk, DomainSpec, DomainState, Event, Hypervisor, Nic};
use canopy_libvirt::{Accel, Libvirt, Options};
use canopy_types::{ConsoleKind, ServerId};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const URI: &str = "qemu:///system";
const PID_FILE: &str = "/run/libvirtd.pid";
const UP: &str = "canopy-guest: up";

/// Writes [`UP`] and a line end to COM1, then halts with interrupts off: deaf to the power button.
const HALTS: &str = "fa31c08ed8be237cfcac84c0741288c3bafd03eca82074f888d8baf803eeebe9f4ebfd\
    63616e6f70792d67756573743a2075700d0a";
/// The same, then switches itself off through the ACPI power management port of the `pc` machine.
const POWERS_OFF: &str = "fa31c08ed8be2a7cfcac84c0741288c3bafd03eca82074f888d8baf803eeebe9\
    ba0406b80020eff4ebfd63616e6f70792d67756573743a2075700d0a";

/// The same, then lets go of every PCI device that it is asked to, as an operating system does.
const LETS_GO: &str = "fa31c08ed8be317cfcac84c0741288c3bafd03eca82074f888d8baf803eeebe9\
    ba04ae66ed6685c074f6ba08ae66efebef63616e6f70792d67756573743a2075700d0a";

/// Tests that use libvirtd hold it for reading, tests that stop it for writing.
static DAEMON: RwLock<()> = RwLock::const_new(());

/// For every test, here and elsewhere, that needs libvirtd to stay up.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    DAEMON.read().await
}

/// For a test that restarts or stops libvirtd.
pub async fn exclusive() -> RwLockWriteGuard<'static, ()> {
    DAEMON.write().await
}

fn options() -> Options {
    Options { accel: Accel::Tcg, ..Options::default() }
}

async fn connect() -> Libvirt {
    Libvirt::connect(URI, options()).await.expect("start libvirtd and virtlogd first")
}

fn virsh(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("virsh").args(["-c", URI, "-q"]).args(arguments).output().expect("virsh");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Polls until it holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, wait).await.is_ok(), "not within {limit:?}: {what}");
}

/// Waits for this event, passing over those of other tests.
async fn expect(events: &mut Receiver<Event>, wanted: Event) {
    let wait =
        async { while events.recv().await.expect("the driver lives and few events come") != wanted {} };
    let came = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(came.is_ok(), "no {wanted:?}");
}

fn drain(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// One guest with its files; all of it is gone when dropped.
struct Guest {
    spec: DomainSpec,
    dir: tempfile::TempDir,
}

impl Guest {
    fn new(code: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("canopy-test-").tempdir_in("/var/tmp").unwrap();
        // QEMU runs as another user.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let id = ServerId::random();
        let disk = dir.path().join("root.raw");
        boot_disk(&disk, code);
        let spec = DomainSpec {
            id,
            name: format!("instance-{}", &id.0.as_simple().to_string()[..8]),
            title: "a test".into(),
            project_id: "p".into(),
            vcpus: 1,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: vec![Disk { path: disk, format: "raw".into() }],
            config_drive: None,
            nics: vec![],
            console_log: dir.path().join("console.log"),
            console_socket: Some(dir.path().join("console.sock")),
        };
        Self { spec, dir }
    }

    fn id(&self) -> ServerId {
        self.spec.id
    }

    fn dir(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.spec.console_log).unwrap_or_default()).into_owned()
    }

    async fn said(&self, times: usize) {
        until("the guest's line on its console", || async { self.console().matches(UP).count() >= times })
            .await;
    }

    async fn is(&self, hypervisor: &Libvirt, state: Option<DomainState>) {
        until(&format!("the guest is {state:?}"), || async { self.state(hypervisor).await == state }).await;
    }

    async fn state(&self, hypervisor: &Libvirt) -> Option<DomainState> {
        let list = hypervisor.list().await.expect("libvirt lists");
        list.iter().find(|domain| domain.id == self.id()).map(|domain| domain.state)
    }

    /// The pid of its QEMU.
    fn pid(&self) -> String {
        qemu_pid(&self.spec.name)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let id = self.id().to_string();
        let _ = virsh(&["destroy", &id]);
        let _ = virsh(&["undefine", &id, "--managed-save", "--snapshots-metadata"]);
    }
}

/// A disk whose first sector is the code. BIOS boots from no virtio disk below 1 MiB.
fn boot_disk(path: &Path, code: &str) {
    let mut disk: Vec<u8> = (0..code.len() / 2)
        .map(|at| u8::from_str_radix(&code[2 * at..2 * at + 2], 16).expect("the code is in hex"))
        .collect();
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1024 * 1024, 0);
    std::fs::write(path, disk).unwrap();
}

/// A bridge, removed when dropped.
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        let name = format!("cnb{}", &ServerId::random().0.as_simple().to_string()[..10]);
        assert!(ip(&["link", "add", &name, "type", "bridge"]), "no bridge (are you root?)");
        assert!(ip(&["link", "set", &name, "up"]));
        Self(name)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).status().expect("ip").success()
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid.trim()]).status().expect("kill").success());
}

#[tokio::test]
async fn a_guest_from_definition_to_oblivion() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let host = hypervisor.host().await.unwrap();
    assert!(host.vcpus >= 1 && host.memory_mib > 256, "{host:?}");
    assert_eq!((host.hypervisor_type.as_str(), host.acceleration.as_str()), ("QEMU", "tcg"));
    assert!(host.hypervisor_version >= 5_000_000, "{host:?}");

    let bridge = Bridge::new();
    let mut guest = Guest::new(HALTS);
    let dir = PathBuf::from(guest.dir());
    let (data, drive): (PathBuf, PathBuf) = (dir.join("data & more.raw"), dir.join("config.iso"));
    std::fs::write(&data, [0; 4096]).unwrap();
    std::fs::write(&drive, [0; 65536]).unwrap();
    guest.spec.disks.push(Disk { path: data, format: "raw".into() });
    guest.spec.config_drive = Some(drive);
    let tap = format!("cnt{}", &bridge.0[3..]);
    let mac = "fa:16:3e:01:02:03".to_owned();
    guest.spec.nics.push(Nic { mac, bridge: bridge.0.clone(), tap: tap.clone(), mtu: 1450 });

    let mut events = hypervisor.events();
    let code = |result: Result<(), canopy_types::Error>| result.map_err(|error| error.code);
    assert_eq!(code(hypervisor.start(guest.id()).await), Err("libvirt.domain_not_found"));
    assert_eq!(code(hypervisor.shutdown(guest.id()).await), Err("libvirt.domain_not_found"));
    assert_eq!(code(hypervisor.destroy(guest.id()).await), Ok(()));
    assert_eq!(code(hypervisor.undefine(guest.id()).await), Ok(()));

    hypervisor.define(&guest.spec).await.unwrap();
    assert_eq!(hypervisor.diagnostics(guest.id()).await.unwrap_err().code, "libvirt.not_running");
    expect(&mut events, Event::Changed(guest.id())).await;
    guest.spec.memory_mib = 80;
    hypervisor.define(&guest.spec).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Stopped));
    assert!(virsh(&["dominfo", &guest.spec.name]).unwrap().contains("81920 KiB"), "the newer one counts");
    guest.spec.name.push('x');
    hypervisor.define(&guest.spec).await.unwrap();
    assert_eq!(code(hypervisor.shutdown(guest.id()).await), Ok(()), "it is off already");

    drain(&mut events);
    hypervisor.start(guest.id()).await.unwrap();
    expect(&mut events, Event::Changed(guest.id())).await;
    guest.said(1).await;
    hypervisor.start(guest.id()).await.unwrap();
    hypervisor.define(&guest.spec).await.unwrap();
    let told = hypervisor.diagnostics(guest.id()).await.unwrap();
    assert!(!told.paused && told.cpus.len() == 1 && told.cpus[0].time > 0, "{told:?}");
    assert_eq!((told.hypervisor.as_str(), told.memory.maximum), ("qemu", 80 << 10), "{told:?}");
    let devices: Vec<&str> = told.disks.iter().map(|disk| disk.device.as_str()).collect();
    assert_eq!(devices, ["vda", "vdb", "hda"]);
    assert!(told.disks[0].read_bytes >= 512, "its boot sector: {told:?}");
    assert_eq!(
        (told.nics[0].device.as_str(), told.nics[0].mac.as_str()),
        (tap.as_str(), "fa:16:3e:01:02:03")
    );
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
    let link = std::fs::read_link(format!("/sys/class/net/{tap}/master")).expect("the tap is on the bridge");
    assert!(link.ends_with(&bridge.0));
    assert_eq!(std::fs::read_to_string(format!("/sys/class/net/{tap}/mtu")).unwrap().trim(), "1450");

    // This guest does not listen to the power button.
    hypervisor.shutdown(guest.id()).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
    drain(&mut events);
    for _ in 0..2 {
        hypervisor.destroy(guest.id()).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Stopped));
    }
    expect(&mut events, Event::Changed(guest.id())).await;

    hypervisor.start(guest.id()).await.unwrap();
    guest.said(2).await;
    for _ in 0..2 {
        hypervisor.undefine(guest.id()).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, None);
    }
    assert!(virsh(&["domuuid", &guest.spec.name]).is_err());
}

#[tokio::test]
async fn a_running_guest_says_where_its_consoles_are() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let mut guest = Guest::new(HALTS);
    let consoles = async |guest: &Guest| {
        let (id, mut found) = (guest.id(), Vec::new());
        for kind in [ConsoleKind::Serial, ConsoleKind::Novnc] {
            found.push(hypervisor.console(id, kind).await.unwrap());
        }
        found
    };
    assert_eq!(consoles(&guest).await, [Console::Off, Console::Off], "no such guest");
    hypervisor.define(&guest.spec).await.unwrap();
    assert!(hypervisor.differences(&guest.spec).await.unwrap().is_empty());
    assert_eq!(consoles(&guest).await, [Console::Off, Console::Off]);
    hypervisor.start(guest.id()).await.unwrap();
    let found = consoles(&guest).await;
    let [Console::At(serial), Console::At(screen)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(Some(serial), guest.spec.console_socket.as_ref());
    for socket in [serial, screen] {
        let about = std::fs::metadata(socket).unwrap();
        assert_eq!(about.permissions().mode() & 0o002, 0, "{} is open to everybody", socket.display());
    }
    guest.said(1).await;
    hypervisor.destroy(guest.id()).await.unwrap();

    // As it was defined before an upgrade.
    guest.spec.console_socket = None;
    hypervisor.define(&guest.spec).await.unwrap();
    hypervisor.start(guest.id()).await.unwrap();
    assert_eq!(hypervisor.console(guest.id(), ConsoleKind::Serial).await.unwrap(), Console::Outdated);
    guest.spec.console_socket = Some(guest.dir.path().join("serial"));
    assert!(hypervisor.differences(&guest.spec).await.unwrap().is_empty(), "no finding of fsck's");
    hypervisor.define(&guest.spec).await.unwrap();
    assert_eq!(hypervisor.console(guest.id(), ConsoleKind::Serial).await.unwrap(), Console::Outdated);
    hypervisor.destroy(guest.id()).await.unwrap();
    hypervisor.start(guest.id()).await.unwrap();
    assert_ne!(hypervisor.console(guest.id(), ConsoleKind::Serial).await.unwrap(), Console::Outdated);
}

#[tokio::test]
async fn guests_that_end_by_themselves_are_noticed() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let mut events = hypervisor.events();

    let off = Guest::new(POWERS_OFF);
    hypervisor.define(&off.spec).await.unwrap();
    hypervisor.start(off.id()).await.unwrap();
    off.is(&hypervisor, Some(DomainState::Stopped)).await;
    off.said(1).await;
    expect(&mut events, Event::Changed(off.id())).await;

    let guest = Guest::new(HALTS);
    hypervisor.define(&guest.spec).await.unwrap();
    hypervisor.start(guest.id()).await.unwrap();
    guest.said(1).await;
    drain(&mut events);
    kill("-9", &guest.pid());
    expect(&mut events, Event::Changed(guest.id())).await;
    guest.is(&hypervisor, Some(DomainState::Crashed)).await;
    hypervisor.start(guest.id()).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));

    virsh(&["suspend", &guest.spec.name]).unwrap();
    guest.is(&hypervisor, Some(DomainState::Paused)).await;
    hypervisor.start(guest.id()).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
}

#[tokio::test]
async fn a_guest_is_paused_and_suspended_and_goes_on_where_it_was() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let guest = Guest::new(HALTS);
    let id = guest.id();
    let code = |result: Result<(), canopy_types::Error>| result.map_err(|error| error.code);
    assert_eq!(code(hypervisor.pause(id).await), Err("libvirt.domain_not_found"));
    assert_eq!(code(hypervisor.discard_memory(id).await), Ok(()));
    hypervisor.define(&guest.spec).await.unwrap();
    for refused in [hypervisor.pause(id).await, hypervisor.suspend(id).await] {
        assert_eq!(code(refused), Err("libvirt.not_running"));
    }
    hypervisor.start(id).await.unwrap();
    guest.said(1).await;
    for _ in 0..2 {
        hypervisor.pause(id).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Paused));
    }
    hypervisor.start(id).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
    // Also from paused, and then it runs again and is not paused.
    hypervisor.pause(id).await.unwrap();
    for _ in 0..2 {
        hypervisor.suspend(id).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Suspended));
    }
    hypervisor.start(id).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
    hypervisor.suspend(id).await.unwrap();
    for _ in 0..2 {
        hypervisor.discard_memory(id).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Stopped));
    }
    // Its word at each boot: going on twice was no boot, this is one.
    hypervisor.start(id).await.unwrap();
    guest.said(2).await;
    hypervisor.suspend(id).await.unwrap();
    hypervisor.undefine(id).await.unwrap();
    assert_eq!(guest.state(&hypervisor).await, None, "its memory goes with it");
}

#[tokio::test]
async fn a_running_guests_disk_is_copied_and_the_guest_goes_on() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let guest = Guest::new(HALTS);
    let id = guest.id();
    let (copy, flat) = (guest.dir.path().join("copy.qcow2"), guest.dir.path().join("flat.raw"));
    hypervisor.define(&guest.spec).await.unwrap();
    assert_eq!(hypervisor.copy_disk(id, &copy).await.unwrap_err().code, "libvirt.not_running");
    hypervisor.start(id).await.unwrap();
    guest.said(1).await;
    // One that was cut off leaves a job behind, which the next ends.
    let begun = hypervisor.copy_disk(id, &copy);
    let _ = tokio::time::timeout(Duration::from_millis(100), begun).await;
    for state in [DomainState::Running, DomainState::Paused] {
        let _ = std::fs::remove_file(&copy);
        if state == DomainState::Paused {
            hypervisor.pause(id).await.unwrap();
        }
        hypervisor.copy_disk(id, &copy).await.unwrap();
        assert_eq!(guest.state(&hypervisor).await, Some(state));
        assert!(virsh(&["blockjob", &id.to_string(), "vda"]).unwrap_or_default().trim().is_empty());
        let converted = Command::new("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .arg(&copy)
            .arg(&flat)
            .status();
        assert!(converted.expect("qemu-img").success());
        assert_eq!(std::fs::read(&flat).unwrap(), std::fs::read(&guest.spec.disks[0].path).unwrap());
    }
}

#[tokio::test]
async fn network_devices_come_to_a_running_guest_and_go_when_it_lets_them() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let bridge = Bridge::new();
    let (tap, mac) = (format!("cnt{}", &bridge.0[3..]), "fa:16:3e:01:02:04".to_owned());
    let nic = Nic { mac, bridge: bridge.0.clone(), tap: tap.clone(), mtu: 1450 };
    let there = || Path::new(&format!("/sys/class/net/{tap}")).exists();
    for (code, lets_go) in [(LETS_GO, true), (HALTS, false)] {
        let guest = Guest::new(code);
        let id = guest.id();
        hypervisor.define(&guest.spec).await.unwrap();
        assert_eq!(hypervisor.plug(id, &nic).await.unwrap_err().code, "libvirt.not_running");
        hypervisor.unplug(id, &nic).await.unwrap();
        hypervisor.start(id).await.unwrap();
        guest.said(1).await;
        hypervisor.unplug(id, &nic).await.unwrap();
        for _ in 0..2 {
            hypervisor.plug(id, &nic).await.unwrap();
            assert!(there(), "the tap is there");
        }
        let devices = virsh(&["domiflist", &id.to_string()]).unwrap();
        assert_eq!(devices.matches(&nic.mac).count(), 1, "once: {devices}");
        if lets_go {
            for _ in 0..2 {
                hypervisor.unplug(id, &nic).await.unwrap();
                assert!(!there(), "the tap is gone");
            }
            hypervisor.plug(id, &nic).await.unwrap();
        } else {
            for _ in 0..2 {
                assert_eq!(hypervisor.unplug(id, &nic).await.unwrap_err().code, "libvirt.unplug_ignored");
            }
            assert!(there());
        }
        // Without a definition of it, the next start has none.
        hypervisor.destroy(id).await.unwrap();
        hypervisor.unplug(id, &nic).await.unwrap();
        hypervisor.start(id).await.unwrap();
        assert!(!there());
    }
    let bad = Nic { tap: "vnet0".into(), ..nic };
    assert_eq!(hypervisor.plug(ServerId::random(), &bad).await.unwrap_err().code, "libvirt.bad_spec");
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let ours = Guest::new(HALTS);
    hypervisor.define(&ours.spec).await.unwrap();
    // Two guests of someone else: one of their own making, one a copy of ours, metadata included.
    let (theirs, copy) = (Guest::new(HALTS), Guest::new(HALTS));
    let xml = virsh(&["dumpxml", &ours.spec.name]).unwrap();
    let begin = xml.find("<metadata>").unwrap();
    let end = xml.find("</metadata>").unwrap() + "</metadata>".len();
    let bare = format!("{}{}", &xml[..begin], &xml[end..]);
    // Only its own id, in the tag, is changed in the copy.
    let id_tag = |guest: &Guest| format!("<uuid>{}</uuid>", guest.id());
    let entry = |guest: &Guest| format!(">{}</entry>", guest.id());
    let rename = |xml: &str, guest: &Guest| {
        let xml = xml.replace(&id_tag(&ours), &id_tag(guest)).replace(&entry(&ours), &entry(guest));
        let xml = xml.replace(&ours.dir(), &guest.dir());
        xml.replace(&format!("<name>{}</name>", ours.spec.name), &format!("<name>{}</name>", guest.spec.name))
    };
    let mut events = hypervisor.events();
    for (xml, guest) in [(bare, &theirs), (xml, &copy)] {
        let file = guest.spec.console_log.with_file_name("domain.xml");
        std::fs::write(&file, rename(&xml, guest)).unwrap();
        virsh(&["define", file.to_str().unwrap()]).unwrap();
        virsh(&["start", &guest.spec.name]).unwrap();
    }
    for guest in [&theirs, &copy] {
        let id = guest.id();
        assert_eq!(guest.state(&hypervisor).await, None, "not ours, not listed");
        let same_id = DomainSpec { name: format!("{}-new", guest.spec.name), ..guest.spec.clone() };
        let same_name = DomainSpec { id: ServerId::random(), ..guest.spec.clone() };
        let refused = [
            hypervisor.define(&same_id).await,
            hypervisor.define(&same_name).await,
            hypervisor.start(id).await,
            hypervisor.shutdown(id).await,
            hypervisor.destroy(id).await,
            hypervisor.undefine(id).await,
        ];
        for (index, result) in refused.into_iter().enumerate() {
            assert_eq!(
                result.expect_err("it must be refused").code,
                "libvirt.foreign_domain",
                "call {index}"
            );
        }
        assert_eq!(virsh(&["domstate", &id.to_string()]).unwrap().trim(), "running");
    }
    // An event of ours comes after all of theirs.
    hypervisor.start(ours.id()).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(30), async {
        let mut seen = vec![];
        loop {
            match events.recv().await.unwrap() {
                Event::Changed(id) if id == ours.id() => return seen,
                other => seen.push(other),
            }
        }
    });
    let seen = seen.await.expect("an event of ours");
    assert!(!seen.contains(&Event::Changed(theirs.id())) && !seen.contains(&Event::Changed(copy.id())));

    let mut rival = Guest::new(HALTS);
    rival.spec.name = ours.spec.name.clone();
    assert_eq!(hypervisor.define(&rival.spec).await.unwrap_err().code, "libvirt.name_taken");
}

#[tokio::test]
async fn hostile_texts_are_only_texts() {
    let _daemon = shared().await;
    let hypervisor = connect().await;
    let mut guest = Guest::new(HALTS);
    guest.spec.name = format!("<a b='\"'>&amp;]]>{}", guest.spec.name);
    guest.spec.title = "</title><name>x</name>\n\"'&lt;\u{7}\0 \u{1f332}".into();
    guest.spec.project_id = "'/><evil>\n&".into();
    hypervisor.define(&guest.spec).await.unwrap();
    let list = hypervisor.list().await.unwrap();
    let status = list.iter().find(|domain| domain.id == guest.id()).expect("it is ours");
    assert_eq!(status.name, guest.spec.name);
    hypervisor.start(guest.id()).await.unwrap();
    guest.said(1).await;
    guest.spec.name = "a\nb".into();
    assert_eq!(hypervisor.define(&guest.spec).await.unwrap_err().code, "libvirt.bad_spec");
}

#[tokio::test]
async fn the_probe_tells_a_guest_that_runs_from_one_that_does_not() {
    let _daemon = shared().await;
    let dir = tempfile::Builder::new().prefix("canopy-test-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let slow = Duration::from_secs(30);
    let options = Options { probe_dir: dir.path().to_owned(), probe_deadline: slow, ..Options::default() };
    let hypervisor = Libvirt::connect(URI, options).await.unwrap();
    hypervisor.probe(false).await.expect("the probe guest runs under TCG, which works everywhere");

    let host = hypervisor.host().await.unwrap();
    println!("acceleration: {} because {}", host.acceleration, host.acceleration_reason);
    let runs = hypervisor.probe(true).await.is_ok();
    assert_eq!(host.acceleration, if runs { "kvm" } else { "tcg" });
    assert!(host.acceleration_reason.len() > 20);

    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the probes' files are gone");
}

#[tokio::test]
async fn a_missing_daemon_is_said_with_what_to_do() {
    let result = Libvirt::connect("qemu+unix:///system?socket=/nonexistent/libvirt-sock", options()).await;
    let error = result.err().expect("nothing listens there");
    assert_eq!(error.code, "libvirt.unavailable");
    assert!(error.message.contains("systemctl") && error.message.contains("/nonexistent"), "{error}");
    let error = Libvirt::connect("qemu\0", options()).await.err().unwrap();
    assert_eq!(error.code, "libvirt.bad_options");
}

fn daemon_pid() -> String {
    std::fs::read_to_string(PID_FILE).expect("libvirtd was started with -d").trim().to_owned()
}

/// Starts libvirtd again when dropped, unless it runs.
pub struct Restart;

impl Restart {
    /// As a crash of the daemon would. The caller holds it [`exclusive`]ly.
    pub async fn kill(&self) {
        let pid = daemon_pid();
        kill("-9", &pid);
        until("libvirtd is gone", || async { !Path::new(&format!("/proc/{pid}")).exists() }).await;
    }

    pub fn start(&self) {
        assert!(Command::new("libvirtd").arg("-d").status().expect("libvirtd").success());
    }
}

/// The pid of this guest's QEMU.
pub fn qemu_pid(domain: &str) -> String {
    std::fs::read_to_string(format!("/run/libvirt/qemu/{domain}.pid")).unwrap()
}

impl Drop for Restart {
    fn drop(&mut self) {
        let alive = std::fs::read_to_string(PID_FILE)
            .is_ok_and(|pid| Path::new(&format!("/proc/{}", pid.trim())).exists());
        if !alive {
            self.start();
        }
    }
}

#[tokio::test]
async fn a_restart_of_libvirtd_costs_no_guest_and_no_event() {
    let _daemon = exclusive().await;
    let daemon = Restart;
    let hypervisor = connect().await;
    let guest = Guest::new(HALTS);
    hypervisor.define(&guest.spec).await.unwrap();
    hypervisor.start(guest.id()).await.unwrap();
    guest.said(1).await;
    let qemu = guest.pid();
    let mut events = hypervisor.events();

    daemon.kill().await;
    until("the driver has noticed", || async { !hypervisor.health().connected }).await;
    let error = hypervisor.list().await.expect_err("nobody is there");
    assert_eq!(error.code, "libvirt.unavailable");

    daemon.start();
    expect(&mut events, Event::Resync).await;
    assert!(hypervisor.health().connected);
    assert_eq!(guest.state(&hypervisor).await, Some(DomainState::Running));
    assert_eq!(guest.pid(), qemu, "the same process runs on");
    // A guest that ends while the new libvirtd takes it over gets no event of its own from libvirt.
    expect(&mut events, Event::Resync).await;
    until("libvirtd has taken the guest over", || async {
        virsh(&["qemu-monitor-command", "--hmp", &guest.spec.name, "info status"]).is_ok()
    })
    .await;
    drain(&mut events);
    kill("-9", &qemu);
    expect(&mut events, Event::Changed(guest.id())).await;
    guest.is(&hypervisor, Some(DomainState::Crashed)).await;
}

/// Lets a stopped process go on when dropped.
struct Frozen(String);

impl Frozen {
    fn new(pid: String) -> Self {
        kill("-STOP", &pid);
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        kill("-CONT", &self.0);
    }
}

#[tokio::test]
async fn a_hung_daemon_is_a_timeout_and_is_survived() {
    let _daemon = exclusive().await;
    let hasty = Options { threads: 1, deadline: Duration::from_secs(1), ..options() };
    let guest = Guest::new(HALTS);
    connect().await.define(&guest.spec).await.unwrap();
    let hypervisor = Libvirt::connect(URI, hasty).await.unwrap();
    let mut events = hypervisor.events();

    let frozen = Frozen::new(daemon_pid());
    let error = hypervisor.shutdown(guest.id()).await.expect_err("nobody answers");
    assert_eq!(error.code, "libvirt.timeout");
    assert!(hypervisor.health().stuck_calls >= 1);
    // Its one thread hangs, so the driver is making another connection.
    until("the connection is given up", || async { !hypervisor.health().connected }).await;
    assert_eq!(hypervisor.list().await.expect_err("not yet").code, "libvirt.unavailable");

    drop(frozen);
    expect(&mut events, Event::Resync).await;
    until("libvirt lists again", || async { hypervisor.list().await.is_ok() }).await;
    until("the hanging call has returned", || async { hypervisor.health().stuck_calls == 0 }).await;
    hypervisor.start(guest.id()).await.unwrap();
    guest.said(1).await;
}
