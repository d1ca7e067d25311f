//! libvirt's daemons: started when none answers, and stopped only if we started them.

use crate::processes::{self, Process, boot_id, until, uptime};
use crate::run::{Res, as_root, failed, quiet, remove, succeeds, text};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

pub const URI: &str = "qemu:///system";
const KVM: &str = "/dev/kvm";
/// In the order of starting.
const DAEMONS: [&str; 2] = ["virtlogd", "libvirtd"];
/// A daemon that came up this long after our note, in the same boot, is the one we started.
const START_WINDOW: f64 = 60.0;
/// The first answer of a fresh libvirtd waits for a probe of every emulator.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// A virsh that gives up after a while.
pub fn virsh(arguments: &[&str]) -> std::process::Command {
    let mut command = as_root("env");
    command.args(["LC_ALL=C", "timeout", "20", "virsh", "-q", "-c", URI]).args(arguments);
    command
}

pub fn answers() -> bool {
    succeeds(&mut virsh(&["version", "--daemon"]))
}

/// Makes libvirt answer. `notes` is a folder that remembers what we started, written before we do.
pub fn start(notes: &Path) -> Res<()> {
    // Where nothing starts the others on demand, one that answers is not enough.
    if answers() && (with_systemd() || DAEMONS.iter().all(|daemon| running(daemon).is_some())) {
        return Ok(());
    }
    fs::create_dir_all(notes).map_err(|e| failed("create", notes, &e))?;
    give_kvm_its_usual_owner(notes)?;
    for daemon in DAEMONS {
        if running(daemon).is_some() {
            continue;
        }
        let note = notes.join(daemon);
        fs::write(&note, format!("{} {}", boot_id()?, uptime()?)).map_err(|e| failed("write", &note, &e))?;
        if with_systemd() {
            quiet(as_root("systemctl").arg("daemon-reload"))?;
            quiet(as_root("systemctl").args(["start", daemon]))?;
        } else {
            // Where nothing else does, its guests' processes must be reaped, or libvirt waits for a guest that
            // has ended long ago: a small init of their own, which ends with the daemon.
            let script = keeper_script(daemon);
            quiet(
                as_root("setsid")
                    .args(["--fork", "tini", "-s", "--", "sh", "-c", &script])
                    // It stays, and would keep our pipes open: we would wait for their end.
                    .stdout(Stdio::null())
                    .stderr(Stdio::null()),
            )?;
        }
    }
    if until(START_PATIENCE, answers) {
        return Ok(());
    }
    Err(match text(&mut virsh(&["version", "--daemon"])) {
        Ok(_) => "libvirt answered too late: try again".to_owned(),
        Err(said) => format!("libvirt does not answer at {URI}: {said}"),
    })
}

fn keeper_script(daemon: &str) -> String {
    format!("{daemon} --daemon; while pidof -q {daemon}; do sleep 1; done")
}

/// Whether the init that we gave this daemon still waits for it: then one that was restarted since, as tests do,
/// is ours too.
fn kept(note: &Path, daemon: &str) -> bool {
    let script = keeper_script(daemon);
    let keepers = processes::all().into_iter().filter(|process| process.arguments.last() == Some(&script));
    keepers.into_iter().any(|process| ours(note, &process))
}

/// Where udev runs, /dev/kvm belongs to group kvm. Where it does not, libvirt distrusts what it learnt of an
/// emulator at each call and asks it again, which costs some 20 s.
fn give_kvm_its_usual_owner(notes: &Path) -> Res<()> {
    let Ok(found) = fs::metadata(KVM) else { return Ok(()) };
    let group = kvm_group(&fs::read_to_string("/etc/group").unwrap_or_default());
    if with_systemd() || group.is_none() || (Some(found.gid()) == group && found.mode() & 0o060 == 0o060) {
        return Ok(());
    }
    let note = notes.join("kvm");
    fs::write(&note, format!("{}:{} {:o}", found.uid(), found.gid(), found.mode() & 0o7777))
        .map_err(|e| failed("write", &note, &e))?;
    quiet(as_root("chgrp").args(["kvm", KVM]))?;
    quiet(as_root("chmod").args(["660", KVM]))
}

/// The number of group `kvm`; the device may carry another system's.
fn kvm_group(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| line.strip_prefix("kvm:")?.split(':').nth(1)?.parse().ok())
}

fn give_kvm_back(notes: &Path) -> Res<()> {
    let note = notes.join("kvm");
    let Ok(text) = fs::read_to_string(&note) else { return Ok(()) };
    if let Some((owner, mode)) = text.trim().split_once(' ') {
        quiet(as_root("chown").args([owner, KVM]))?;
        quiet(as_root("chmod").args([mode, KVM]))?;
    }
    remove(&note)
}

/// Stops what we started. A daemon that still has guests of others is left alone, which is said.
pub fn stop(notes: &Path) -> Res<()> {
    for daemon in DAEMONS.iter().rev() {
        let note = notes.join(daemon);
        if !note.exists() {
            continue;
        }
        if let Some(process) = running(daemon).filter(|process| ours(&note, process) || kept(&note, daemon)) {
            if has_guests() {
                println!(
                    "{daemon} stays: it was started by the demo, but runs guests that are not the demo's"
                );
                continue;
            }
            if with_systemd() {
                let sockets = ["", "-ro", "-admin"].map(|kind| format!("{daemon}{kind}.socket"));
                // Not every daemon has all of them.
                let _ = quiet(as_root("systemctl").arg("stop").args(sockets));
                quiet(as_root("systemctl").args(["stop", daemon]))?;
            } else {
                process.end(STOP_PATIENCE)?;
            }
        }
        remove(&note)?;
    }
    give_kvm_back(notes)
}

/// Whether any emulator runs, also while libvirt does not answer.
fn has_guests() -> bool {
    processes::all()
        .iter()
        .any(|p| p.program().starts_with("qemu-system-") && p.arguments.contains(&"-name".into()))
}

fn running(daemon: &str) -> Option<Process> {
    processes::all().into_iter().find(|process| process.program() == daemon)
}

fn ours(note: &Path, process: &Process) -> bool {
    let Ok(text) = fs::read_to_string(note) else { return false };
    let Some((boot, since)) = text.split_once(' ') else { return false };
    let Ok(since) = since.trim().parse::<f64>() else { return false };
    let same_boot = boot_id().is_ok_and(|now| now == boot);
    same_boot && (since - 1.0..since + START_WINDOW).contains(&process.started)
}

fn with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kvm_group_is_found_by_its_name() {
        assert_eq!(kvm_group("root:x:0:\nkvm:x:104:libvirt-qemu\n"), Some(104));
        assert_eq!(kvm_group("xkvm:x:1:\nkvmx:x:2:\n"), None);
    }

    #[test]
    fn only_a_daemon_from_just_after_the_note_is_ours() {
        let note = std::env::temp_dir().join(format!("canopy-note-{}", std::process::id()));
        let daemon = |started| Process { pid: 1, arguments: vec!["libvirtd".to_owned()], started };
        fs::write(&note, format!("{} 100.5", boot_id().unwrap())).unwrap();
        assert!(ours(&note, &daemon(100.2)));
        assert!(ours(&note, &daemon(130.0)));
        assert!(!ours(&note, &daemon(90.0)), "it ran before");
        assert!(!ours(&note, &daemon(400.0)), "somebody started it later");
        fs::write(&note, "another-boot 100.5").unwrap();
        assert!(!ours(&note, &daemon(101.0)));
        fs::remove_file(&note).unwrap();
        assert!(!ours(&note, &daemon(101.0)));
    }
}
