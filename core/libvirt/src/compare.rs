//! Whether a definition that libvirt shows is the one that we gave it.
//!
//! libvirt writes what it was given in its own way and adds to it (addresses, models, defaults), so the two texts
//! are never equal. What decides what a guest may touch is looked for in libvirt's own spelling, which has not
//! changed in its lifetime; and such parts are counted, so that one more of them is seen too.

use canopy_hypervisor::{Boot, DomainSpec};
use std::fmt::Write;
use std::path::Path;

/// Parts that are not as `spec` says, in words.
pub fn differences(xml: &str, spec: &DomainSpec) -> Vec<String> {
    let has = |element: &str| xml.contains(element);
    let count = |start: &str| xml.matches(start).count();
    let memory = format!("<memory unit='KiB'>{}</memory>", spec.memory_mib.saturating_mul(1024));
    let vcpus = has(&format!("<vcpu placement='static'>{}</vcpu>", spec.vcpus))
        || has(&format!("<vcpu>{}</vcpu>", spec.vcpus));
    let files = spec.disks.iter().map(|disk| &disk.path).chain(&spec.config_drive);
    let disks = count("<disk ") == spec.disks.len() + usize::from(spec.config_drive.is_some())
        && files.into_iter().all(|path| has(&format!("<source file='{}'", quoted(path))));
    let nics = count("<interface ") == spec.nics.len()
        && spec.nics.iter().all(|nic| {
            xml.split("<interface ").skip(1).any(|rest| {
                let one = rest.split("</interface>").next().unwrap_or_default();
                one.contains(&format!("<mac address='{}'", nic.mac.to_lowercase()))
                    && one.contains(&format!("<source bridge='{}'", nic.bridge))
                    && one.contains(&format!("<target dev='{}'", nic.tap))
            })
        });
    let boot = match &spec.boot {
        Boot::Disk => !has("<kernel>"),
        Boot::Kernel { kernel, initrd, cmdline } => {
            has(&format!("<kernel>{}</kernel>", quoted(kernel)))
                && initrd.as_ref().is_none_or(|initrd| has(&format!("<initrd>{}</initrd>", quoted(initrd))))
                && has(&format!("<cmdline>{}</cmdline>", escaped(cmdline)))
        }
    };
    // What no guest of ours ever has: a way to the host's own devices and folders.
    let passed =
        ["<hostdev ", "<filesystem ", "<shmem ", "<redirdev "].into_iter().all(|start| count(start) == 0);
    let parts = [
        ("memory", has(&memory)),
        ("vCPUs", vcpus),
        ("disks", disks),
        ("network devices", nics),
        ("boot", boot),
        ("devices of the host", passed),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part.to_owned()).collect()
}

fn quoted(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// As libvirt escapes text and attributes, which it quotes with `'`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {
                let _ = write!(out, "&#x{:x};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_hypervisor::{Disk, Nic};
    use canopy_types::ServerId;

    fn spec() -> DomainSpec {
        DomainSpec {
            id: ServerId::random(),
            name: "instance-00000001".into(),
            title: "t".into(),
            project_id: "p".into(),
            vcpus: 2,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: vec![Disk { path: "/state/a&b/root.qcow2".into(), format: "qcow2".into() }],
            config_drive: Some("/state/config.iso".into()),
            nics: vec![Nic {
                mac: "FA:16:3e:00:00:01".into(),
                bridge: "cnb7".into(),
                tap: "cnt0123456789a".into(),
                mtu: 1450,
            }],
            console_log: "/state/console.log".into(),
            console_socket: None,
        }
    }

    /// As `virsh dumpxml --inactive` of libvirt 9 prints it, shortened.
    const SHOWN: &str = "<domain type='qemu'>
  <name>instance-00000001</name>
  <memory unit='KiB'>65536</memory>
  <currentMemory unit='KiB'>65536</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/state/a&amp;b/root.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='/state/config.iso'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <interface type='bridge'>
      <mac address='fa:16:3e:00:00:01'/>
      <source bridge='cnb7'/>
      <target dev='cnt0123456789a'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>";

    #[test]
    fn what_was_given_is_recognised() {
        assert!(differences(SHOWN, &spec()).is_empty());
    }

    #[test]
    fn every_change_is_seen_and_named() {
        let extra = "<disk type='block' device='disk'><source dev='/dev/sda'/></disk>";
        for (from, to, part) in [
            ("65536</memory>", "131072</memory>", "memory"),
            ("'static'>2<", "'static'>4<", "vCPUs"),
            ("a&amp;b/root", "other/root", "disks"),
            ("<interface type", &format!("{extra}<interface type"), "disks"),
            ("bridge='cnb7'", "bridge='cnb8'", "network devices"),
            ("fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "network devices"),
            ("<boot dev", "<kernel>/evil</kernel><boot dev", "boot"),
            ("<devices>", "<devices><filesystem type='mount'/>", "devices of the host"),
        ] {
            let edited = SHOWN.replacen(from, to, 1);
            assert_ne!(edited, SHOWN, "{from} does not occur");
            assert_eq!(differences(&edited, &spec()), [part], "{to}");
        }
    }
}
