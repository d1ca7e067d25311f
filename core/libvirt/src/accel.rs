//! KVM or TCG: found out by really starting a guest.
//!
//! `/dev/kvm` may exist, open, and start a guest that then hangs (nested or emulated virtualization
//! does that), so a device node proves nothing. The probe guest is one sector of code that does what
//! every kernel does first (see `probe.s`) and says so on its serial port; if the line does not come in
//! time, guests run under TCG and the operator is told why.

use crate::probe_code::{MESSAGE, boot_sector};
use crate::xml::Xml;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

/// Between two looks at the probe's console.
const POLL: Duration = Duration::from_millis(20);

/// SeaBIOS boots from no virtio disk that is smaller than one of its cylinders; the rest is a hole.
const DISK_BYTES: u64 = 1024 * 1024;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// KVM when a probe guest runs on it, else TCG.
    #[default]
    Auto,
    Kvm,
    Tcg,
}

impl std::str::FromStr for Accel {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err("the acceleration must be auto, kvm or tcg".into()),
        }
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceleration {
    pub kvm: bool,
    pub reason: String,
}

impl Acceleration {
    pub fn tcg(reason: impl Into<String>) -> Self {
        Self { kvm: false, reason: reason.into() }
    }

    pub fn name(&self) -> &'static str {
        if self.kvm { "kvm" } else { "tcg" }
    }
}

/// What is clear without a probe.
pub fn without_probe(accel: Accel, device: &Path) -> Option<Acceleration> {
    match accel {
        Accel::Kvm => Some(Acceleration { kvm: true, reason: "KVM is set in the configuration".into() }),
        Accel::Tcg => Some(Acceleration::tcg("TCG is set in the configuration")),
        Accel::Auto => match OpenOptions::new().read(true).write(true).open(device) {
            Ok(opened) => {
                warn_of_private_device(&opened, device);
                None
            }
            Err(error) => Some(Acceleration::tcg(format!("{} cannot be opened: {error}", device.display()))),
        },
    }
}

/// libvirt looks at the device with the eyes of QEMU's user; when that user may not open it but a probing
/// QEMU could, libvirt never trusts its cache and probes QEMU again in every call, for seconds each.
fn warn_of_private_device(device: &File, path: &Path) {
    let private = device.metadata().is_ok_and(|about| about.mode() & 0o066 == 0);
    if private {
        tracing::warn!(
            device = %path.display(),
            "only its owner may open this device, which makes every libvirt call slow; give it back to \
             QEMU's group: `chgrp kvm` and `chmod 660`"
        );
    }
}

/// Starts the probe guest under KVM and waits for its line. Blocks for up to `limit` and libvirt's own
/// time for a start and an end.
pub fn probe(conn: &Connect, dir: &Path, limit: Duration) -> Acceleration {
    match run_probe(conn, dir, true, limit) {
        Ok(took) => Acceleration {
            kvm: true,
            reason: format!("a probe guest ran under KVM, in {:.1} s", took.as_secs_f32()),
        },
        Err(why) => Acceleration::tcg(format!("/dev/kvm exists, but {why}")),
    }
}

/// Runs the probe guest under KVM or TCG: how long it took to say that it lives, or why it did not.
pub fn run_probe(conn: &Connect, dir: &Path, kvm: bool, limit: Duration) -> Result<Duration, String> {
    let id = Uuid::new_v4();
    let name = format!("canopy-probe-{}", &id.as_simple().to_string()[..8]);
    let room =
        Room::new(dir, &name).map_err(|e| format!("the probe guest has no place for its files: {e}"))?;
    let xml = probe_xml(kvm, &name, id, &room)?;
    let begin = Instant::now();
    // Destroyed by libvirtd should we die before we do it.
    let domain = Domain::create_xml(conn, &xml, sys::VIR_DOMAIN_START_AUTODESTROY)
        .map_err(|e| format!("the probe guest did not start: {}", one_line(e.message())))?;
    let guest = Guest(domain);
    loop {
        // A console that is not there yet has said nothing yet.
        let said = std::fs::read(room.log()).unwrap_or_default();
        if said.windows(MESSAGE.len()).any(|bytes| bytes == MESSAGE.as_bytes()) {
            return Ok(begin.elapsed());
        }
        match guest.0.get_state() {
            Ok((sys::VIR_DOMAIN_RUNNING, _)) => {}
            Ok((state, _)) => return Err(format!("the processor stopped the probe guest (state {state})")),
            Err(error) => return Err(format!("the probe guest vanished: {}", error.message())),
        }
        if begin.elapsed() >= limit {
            return Err(format!("the probe guest hung for {:.1} s", limit.as_secs_f32()));
        }
        std::thread::sleep(POLL);
    }
}

/// QEMU's last words can be many.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// The probe guest, destroyed when dropped.
struct Guest(Domain);

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.0.destroy() {
            tracing::warn!(%error, "the probe guest is left to libvirtd to destroy");
        }
    }
}

/// A directory that QEMU's user can enter, removed when dropped.
struct Room(PathBuf);

impl Room {
    fn new(parent: &Path, name: &str) -> std::io::Result<Self> {
        // Through a link, libvirt's security driver would see a path other than the one it is told.
        let path = parent.canonicalize()?.join(name);
        DirBuilder::new().mode(0o711).create(&path)?;
        let room = Self(path);
        let mut disk = OpenOptions::new().write(true).create_new(true).mode(0o644).open(room.disk())?;
        std::io::Write::write_all(&mut disk, &boot_sector())?;
        disk.set_len(DISK_BYTES)?;
        Ok(room)
    }

    fn disk(&self) -> PathBuf {
        self.0.join("boot.img")
    }

    fn log(&self) -> PathBuf {
        self.0.join("console.log")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a probe's files are left behind");
        }
    }
}

fn probe_xml(kvm: bool, name: &str, id: Uuid, room: &Room) -> Result<String, String> {
    let (disk, log) = (room.disk(), room.log());
    let (Some(disk), Some(log)) = (disk.to_str(), log.to_str()) else {
        return Err("the directory for the probe guest is not named in UTF-8".into());
    };
    let mut xml = Xml::default();
    xml.nest("domain", &[("type", if kvm { "kvm" } else { "qemu" })], |xml| {
        xml.text("name", &[], name);
        xml.text("uuid", &[], &id.to_string());
        xml.text("memory", &[("unit", "MiB")], "64");
        xml.text("vcpu", &[], "1");
        xml.nest("os", &[], |xml| {
            xml.text("type", &[("arch", "x86_64"), ("machine", "pc")], "hvm");
            xml.empty("boot", &[("dev", "hd")]);
        });
        xml.nest("features", &[], |xml| {
            xml.empty("acpi", &[]);
            xml.empty("apic", &[]);
        });
        if kvm {
            xml.empty("cpu", &[("mode", "host-passthrough"), ("check", "none")]);
        }
        xml.nest("devices", &[], |xml| {
            xml.nest("disk", &[("type", "file"), ("device", "disk")], |xml| {
                xml.empty("driver", &[("name", "qemu"), ("type", "raw")]);
                xml.empty("source", &[("file", disk)]);
                xml.empty("target", &[("dev", "vda"), ("bus", "virtio")]);
                xml.empty("readonly", &[]);
            });
            xml.empty("controller", &[("type", "usb"), ("model", "none")]);
            xml.nest("serial", &[("type", "pty")], |xml| {
                xml.empty("log", &[("file", log), ("append", "off")]);
                xml.empty("target", &[("port", "0")]);
            });
            xml.empty("memballoon", &[("model", "none")]);
        });
    });
    Ok(xml.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_and_the_operator_decide_without_a_probe() {
        let missing = Path::new("/nonexistent/kvm");
        assert!(without_probe(Accel::Kvm, missing).unwrap().kvm);
        assert!(!without_probe(Accel::Tcg, Path::new("/dev/null")).unwrap().kvm);
        let auto = without_probe(Accel::Auto, missing).unwrap();
        assert!(!auto.kvm && auto.reason.contains("/nonexistent/kvm"));
        assert_eq!(without_probe(Accel::Auto, Path::new("/dev/null")), None, "a probe must tell");
        assert_eq!("kvm".parse(), Ok(Accel::Kvm));
        assert!("KVM2".parse::<Accel>().is_err());
    }

    #[test]
    fn a_probes_files_go_with_it() {
        let room = Room::new(&std::env::temp_dir(), &format!("canopy-room-{}", Uuid::new_v4())).unwrap();
        let path = room.0.clone();
        assert_eq!(std::fs::metadata(room.disk()).unwrap().len(), DISK_BYTES);
        drop(room);
        assert!(!path.exists());
    }
}
