use super::*;
use canopy_hypervisor::{Disk, Nic};
use canopy_types::ServerId;

fn full() -> DomainSpec {
    DomainSpec {
        id: "7f1d4a3e-0c52-4f0e-9a57-0d8f7c1b2a33".parse().unwrap(),
        name: "instance-0000002a".into(),
        title: "web <1> & \"co\"\nsecond 'line'".into(),
        project_id: "3f2a".into(),
        vcpus: 2,
        memory_mib: 512,
        boot: Boot::Disk,
        disks: vec![
            Disk { path: "/var/lib/canopy/i/root.qcow2".into(), format: "qcow2".into() },
            Disk { path: "/var/lib/canopy/i/a&b'.raw".into(), format: "raw".into() },
        ],
        config_drive: Some("/var/lib/canopy/i/config.iso".into()),
        nics: vec![Nic {
            mac: "fa:16:3e:00:00:01".into(),
            bridge: "cnb0123456789".into(),
            tap: "cnt0123456789".into(),
            mtu: 1450,
        }],
        console_log: "/var/lib/canopy/i/console.log".into(),
        console_socket: Some("/var/lib/canopy/i/console.sock".into()),
    }
}

fn small() -> DomainSpec {
    DomainSpec {
        boot: Boot::Kernel {
            kernel: "/k/vmlinuz".into(),
            initrd: Some("/k/initrd".into()),
            cmdline: "root=canopy console=ttyS0 a=<b>".into(),
        },
        title: String::new(),
        console_socket: None,
        disks: vec![],
        config_drive: None,
        nics: vec![],
        ..full()
    }
}

/// Compares with the file, or writes it when `CANOPY_SNAPSHOTS=write`.
fn snapshot(name: &str, got: &str) {
    let path = format!("{}/src/snapshots/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("CANOPY_SNAPSHOTS").is_ok_and(|v| v == "write") {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert_eq!(got, want, "{path} differs; CANOPY_SNAPSHOTS=write accepts the change");
}

#[test]
fn the_xml_is_what_it_was() {
    let tcg = Facts { kvm: false, direct_io: vec![true, false] };
    let kvm = Facts { kvm: true, direct_io: vec![] };
    snapshot("full-tcg", &domain_xml(&full(), &tcg).unwrap());
    snapshot("full-kvm", &domain_xml(&full(), &kvm).unwrap());
    snapshot("kernel-tcg", &domain_xml(&small(), &tcg).unwrap());
}

#[test]
fn what_libvirt_would_misread_is_refused() {
    let facts = Facts { kvm: false, direct_io: vec![] };
    let refused = |change: &dyn Fn(&mut DomainSpec)| {
        let mut spec = full();
        change(&mut spec);
        domain_xml(&spec, &facts).expect_err("it must be refused").code
    };
    let changes: &[&dyn Fn(&mut DomainSpec)] = &[
        &|s| s.name = String::new(),
        &|s| s.name = " ".into(),
        &|s| s.name = "a/b".into(),
        &|s| s.name = "a\nb".into(),
        &|s| s.name = "a\0b".into(),
        &|s| s.name = "x".repeat(251),
        &|s| s.vcpus = 0,
        &|s| s.vcpus = 256,
        &|s| s.memory_mib = 0,
        &|s| s.memory_mib = i64::MAX,
        &|s| s.disks = vec![s.disks[0].clone(); 27],
        &|s| s.disks[0].format = "vmdk".into(),
        &|s| s.disks[0].path = "relative".into(),
        &|s| s.disks[0].path = "/a\0b".into(),
        &|s| s.disks[0].path = "/a\nb".into(),
        &|s| s.config_drive = Some("x".into()),
        &|s| s.console_log = "x".into(),
        &|s| s.console_socket = Some("x".into()),
        &|s| s.console_socket = Some(format!("/{}", "x".repeat(107)).into()),
        &|s| s.boot = Boot::Kernel { kernel: "k".into(), initrd: None, cmdline: String::new() },
        &|s| s.boot = Boot::Kernel { kernel: "/k".into(), initrd: Some("i".into()), cmdline: String::new() },
        &|s| s.boot = Boot::Kernel { kernel: "/k".into(), initrd: None, cmdline: "a\nb".into() },
        &|s| s.nics = vec![s.nics[0].clone(); 17],
        &|s| s.nics[0].mac = "fa:16:3e:00:00".into(),
        &|s| s.nics[0].mac = "fa:16:3e:00:00:0g".into(),
        &|s| s.nics[0].mac = "fa:16:3e:00:00:+1".into(),
        &|s| s.nics[0].mac = "fb:16:3e:00:00:01".into(),
        &|s| s.nics[0].tap = "vnet7".into(),
        &|s| s.nics[0].tap = "x".repeat(16),
        &|s| s.nics[0].tap = "a b".into(),
        &|s| s.nics[0].bridge = String::new(),
        &|s| s.nics[0].mtu = 67,
        &|s| s.nics[0].mtu = 65536,
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(refused(*change), "libvirt.bad_spec", "change {index}");
    }
}

#[test]
fn every_disk_gets_its_own_letter() {
    let mut spec = full();
    spec.id = ServerId::random();
    spec.disks = vec![spec.disks[0].clone(); 26];
    let xml = domain_xml(&spec, &Facts { kvm: false, direct_io: vec![] }).unwrap();
    assert!(xml.contains("<target dev='vda'") && xml.contains("<target dev='vdz'"));
    assert_eq!(xml.matches("cache='none'").count(), 26);
}
