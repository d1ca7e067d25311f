//! System packages, through apt: only what is missing, and without starting any daemon.

use crate::run::{Res, as_root, program, quiet, text};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// To run guests: hypervisor, DHCP, firewall, login.
pub const HOST: &[&str] = &[
    "qemu-system-x86",
    "qemu-utils",
    "libvirt-daemon-system",
    "libvirt-clients",
    "dnsmasq-base",
    "nftables",
    "iproute2",
    "openssh-client",
    "tini",
];
/// To compile the server.
pub const BUILD: &[&str] = &["libvirt-dev", "pkg-config"];
/// To make the guest image.
pub const IMAGE: &[&str] = &["cpio", "e2fsprogs", "kmod", "lz4", "qemu-utils"];
/// To install tools that come from the Python package index.
pub const PYTHON: &[&str] = &["python3-venv"];
/// What only tests use: reads config drives, is a guest's DHCP client, proves things about policies.
pub const TESTS: &[&str] = &["busybox-static", "cvc5", "git", "libarchive-tools", "procps"];
/// A browser, and the page that it shows a guest's screen with.
pub const BROWSER: &[&str] = &["chromium", "novnc"];
/// To build guests in C.
pub const GUESTS: &[&str] = &["clang-19", "lld-19", "make"];
/// The database server that tests use beside SQLite.
pub const DATABASE: &[&str] = &["postgresql"];

/// These two talk to each other and must be of one version.
const EMULATOR: &str = "qemu-system-x86";
const TOOLS: &str = "qemu-utils";

/// Phases run beside each other, but only one may use apt at a time.
static TURN: Mutex<()> = Mutex::new(());
/// Another program, such as the machine's own upgrades, may hold apt for minutes.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// Installs what is missing of `names`. Nothing missing costs some milliseconds and needs no root.
pub(crate) fn ensure(names: &[&str]) -> Res<()> {
    let _turn = TURN.lock().map_err(|_| "installing packages panicked")?;
    let mut wanted = missing(names, &installed(names)?);
    if wanted.is_empty() {
        return Ok(());
    }
    crate::run::check_root()?;
    // A run that was killed may have left packages unpacked but not configured.
    patient(apt("dpkg").args(["--configure", "-a"]))?;
    wanted = missing(names, &installed(names)?);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut fresh = false;
    if wanted.iter().any(|name| candidate(name).is_none()) {
        fetch_lists()?;
        fresh = true;
    }
    match install(&wanted) {
        Err(_) if !fresh => {
            // Most likely the mirror no longer has what the lists say.
            fetch_lists()?;
            install(&wanted)
        }
        other => other,
    }
}

/// Brings apt's lists up to date.
pub fn update() -> Res<()> {
    let _turn = TURN.lock().map_err(|_| "installing packages panicked")?;
    fetch_lists()
}

fn fetch_lists() -> Res<()> {
    patient(apt("apt-get").args(["-q", "update"]))
}

/// Runs a package tool, waiting while another program uses one.
fn patient(command: &mut Command) -> Res<()> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match quiet(command) {
            Err(said) if is_locked(&said) && Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
}

fn is_locked(said: &str) -> bool {
    [
        "Could not get lock",
        "Unable to acquire the dpkg frontend lock",
        "frontend lock was locked by another process",
    ]
    .iter()
    .any(|words| said.contains(words))
}

fn install(wanted: &[String]) -> Res<()> {
    let mut names = wanted.to_vec();
    let mut downgrade = None;
    if let Some(tools) = names.iter_mut().find(|name| *name == TOOLS) {
        // Newer tools from another suite may be there already; the emulator's version decides.
        let version = installed(&[EMULATOR])?.remove(EMULATOR).or_else(|| candidate(EMULATOR));
        let version = version.ok_or(format!("apt offers no {EMULATOR}"))?;
        *tools = format!("{TOOLS}={version}");
        downgrade = Some("--allow-downgrades");
    }
    let mut command = apt("apt-get");
    command.args([
        "-q",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    patient(command.arg("install").args(downgrade).args(names))
}

/// A package tool that asks nothing and starts nothing: a runlevel of 1 says so to init scripts, being
/// offline to systemd.
fn apt(tool: &str) -> Command {
    let mut command = as_root("env");
    command.args(["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "SYSTEMD_OFFLINE=1", tool]);
    command
}

/// Installed versions of those that are.
fn installed(names: &[&str]) -> Res<BTreeMap<String, String>> {
    let mut query = program("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status} ${Version}\n"]).args(names).env("LC_ALL", "C");
    // It fails when one of them was never heard of, and still lists the others.
    let output = query.output().map_err(|e| format!("this is no Debian system (dpkg-query: {e})"))?;
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

fn listed(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, status, version) = (words.next()?, words.next()?, words.next()?);
        (status == "installed").then(|| (name.to_owned(), version.to_owned()))
    });
    rows.collect()
}

fn missing(names: &[&str], present: &BTreeMap<String, String>) -> Vec<String> {
    let differs = present.get(TOOLS).is_some_and(|tools| {
        // Only where the emulator is wanted too; the tools alone may be of any version.
        names.contains(&EMULATOR) && present.get(EMULATOR).is_some_and(|emulator| emulator != tools)
    });
    let fresh_emulator = names.contains(&EMULATOR) && !present.contains_key(EMULATOR);
    let mut absent: Vec<String> = Vec::new();
    for name in names {
        let again = *name == TOOLS && (differs || fresh_emulator);
        if (again || !present.contains_key(*name)) && !absent.iter().any(|seen| seen == name) {
            absent.push((*name).to_owned());
        }
    }
    absent
}

/// The version apt would install.
fn candidate(name: &str) -> Option<String> {
    let policy = text(program("apt-cache").args(["policy", name]).env("LC_ALL", "C")).ok()?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let have = listed("kmod installed 30\ncpio config-files 2.13\nlz4 half-configured 1\n");
        assert_eq!(have.keys().collect::<Vec<_>>(), ["kmod"]);
        assert_eq!(missing(&["kmod", "cpio", "lz4", "cpio"], &have), ["cpio", "lz4"]);
    }

    #[test]
    fn a_lock_held_by_another_is_told_from_a_failure() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 5 (apt-get)"
        ));
        assert!(is_locked("dpkg: error: dpkg frontend lock was locked by another process with pid 5"));
        assert!(!is_locked("E: Unable to locate package nonsense"));
    }

    #[test]
    fn emulator_and_tools_are_kept_at_one_version() {
        let both = |emulator: &str, tools: &str| listed(&format!("{EMULATOR} {emulator}\n{TOOLS} {tools}\n"));
        let names = [EMULATOR, TOOLS];
        assert!(missing(&names, &both("installed 7.2", "installed 7.2")).is_empty());
        assert_eq!(missing(&names, &both("installed 7.2", "installed 10.0")), [TOOLS]);
        assert_eq!(missing(&names, &both("not-installed", "installed 10.0")), [EMULATOR, TOOLS]);
        assert!(missing(&[TOOLS], &both("installed 7.2", "installed 10.0")).is_empty());
    }
}
