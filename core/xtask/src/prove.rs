//! Shows that the guest is a real one: it has its address, it lets the key in, it writes to its console.

use crate::cloud::{Cloud, Guest, SERVER};
use crate::layout::Demo;
use crate::processes::until;
use crate::run::{Res, as_root, text};
use std::path::Path;
use std::time::Duration;

/// A guest without KVM needs some 10 s to boot, on a busy machine several times that.
const BOOT_PATIENCE: Duration = Duration::from_secs(240);
const CONSOLE_PATIENCE: Duration = Duration::from_secs(60);

pub struct Proof {
    /// What `hostname` says in the guest.
    pub hostname: String,
    /// The guest's own words on its serial console.
    pub console: Vec<String>,
}

pub fn prove(cloud: &Cloud, demo: &Demo, guest: &Guest, binary: &Path) -> Res<Proof> {
    let mut last = Err("not tried".to_owned());
    // SSH first: asking is cheap, and what the console must show has happened before.
    until(BOOT_PATIENCE, || {
        last = ssh(demo, guest, "hostname");
        last.is_ok()
    });
    let hostname = last.map_err(|e| format!("no login by SSH at {}: {e}", guest.address))?.trim().to_owned();
    if hostname != SERVER {
        return Err(format!("the guest calls itself {hostname:?}, not {SERVER}"));
    }

    let dhcp = format!("CANOPY-GUEST: dhcp eth0 {}/", guest.address);
    let mut console = Vec::new();
    let complete = until(CONSOLE_PATIENCE, || {
        let log = cloud.text(&["console", "log", "show", SERVER]).unwrap_or_default();
        console = log
            .lines()
            .filter_map(|line| line.find("CANOPY-GUEST:").map(|at| line[at..].trim_end().to_owned()))
            .collect();
        let has = |start: &str| console.iter().any(|line| line.starts_with(start));
        has(&dhcp) && has("CANOPY-GUEST: READY")
    });
    if !complete {
        return Err(format!("the console does not show {dhcp:?} and READY; it shows {console:?}"));
    }
    // What is printed for copying has to work too.
    let mut login = as_root("timeout");
    login.arg("60").arg(binary).args(["ssh", "--config"]).arg(demo.config());
    text(login.arg("-i").arg(demo.key()).args([SERVER, "--", "true"]))?;
    Ok(Proof { hostname, console })
}

/// Runs a command in the guest, from the network's own namespace on this host.
fn ssh(demo: &Demo, guest: &Guest, command: &str) -> Res<String> {
    let mut line = as_root("ip");
    line.args(["netns", "exec", &format!("canopy-{}", guest.network), "timeout", "10", "ssh", "-i"])
        .arg(demo.key());
    // The guest is new each time; nothing about it is worth remembering.
    for option in [
        "BatchMode=yes",
        "ConnectTimeout=3",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ] {
        line.args(["-o", option]);
    }
    text(line.arg(format!("root@{}", guest.address)).arg(command))
}
