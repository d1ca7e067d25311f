//! One dnsmasq per network, in the network's namespace.
//!
//! It is a daemon of its own, so leases go on while the agent is down. The running process tells what it
//! runs: its configuration's file name holds the hash of the content, and the name is on its command
//! line. So nothing is remembered, and what a crash left behind is recognised.
//!
//! Every change is a restart (some 30 ms, which clients retry over) instead of a reload: a reload is not
//! acknowledged, needs the files to be readable by an unprivileged user, and keeps in memory the lease
//! of a removed port, so that a new port with that address would be refused for a day.

use crate::files;
use crate::network::netns::{self, Identity};
use crate::network::run;
use canopy_types::effect::effect;
use canopy_types::{Error, Kind, NetworkId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// A server that does not end by itself within this time is killed.
const STOP: Duration = Duration::from_secs(2);
const ARGUMENT: &str = "--conf-file=";
/// Longest command line that is looked at, bytes.
const MAX_CMDLINE: u64 = 8192;

/// A dnsmasq of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub pid: i32,
    pub network: NetworkId,
    pub conf: PathBuf,
    /// The network namespace it runs in.
    pub netns: Option<Identity>,
}

/// Where everything of one agent's DHCP is kept.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("dhcp")
}

/// Every dnsmasq whose configuration is in `folder`.
pub async fn running(folder: &Path) -> Result<Vec<Server>, Error> {
    let folder = folder.to_owned();
    files::blocking(move || {
        let entries = fs::read_dir("/proc").map_err(|e| files::error("list", "/proc".as_ref(), e))?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        Ok(pids.filter_map(|pid| server(pid, &folder)).collect())
    })
    .await
}

fn server(pid: i32, folder: &Path) -> Option<Server> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut bytes = Vec::new();
    // A process may end between the two looks; one that is dead but not reaped has no command line.
    fs::File::open(process.join("cmdline")).ok()?.take(MAX_CMDLINE).read_to_end(&mut bytes).ok()?;
    let (network, conf) = configuration(&String::from_utf8(bytes).ok()?, folder)?;
    Some(Server { pid, network, conf, netns: netns::identity(&process.join("ns/net")).ok() })
}

/// What a command line (arguments ended by NUL) serves, if it is a dnsmasq on a file in `folder`.
fn configuration(cmdline: &str, folder: &Path) -> Option<(NetworkId, PathBuf)> {
    let mut arguments = cmdline.split_terminator('\0');
    let program = Path::new(arguments.next()?);
    if program.file_name()? != "dnsmasq" {
        return None;
    }
    let conf = PathBuf::from(arguments.find_map(|a| a.strip_prefix(ARGUMENT))?);
    let below = conf.strip_prefix(folder).ok()?;
    let network = below.parent()?.to_str()?.parse().ok()?;
    Some((network, conf))
}

/// Makes exactly one server run this configuration in this namespace; `present` are the network's.
pub async fn converge(
    folder: &Path,
    network: NetworkId,
    namespace: &str,
    text: &str,
    present: &[Server],
) -> Result<(), Error> {
    let own = folder.join(network.to_string());
    let conf = conf_path(folder, network, text);
    let place = netns::path(namespace);
    let identity = netns::identity(&place).map_err(|e| files::error("look at", &place, e))?;
    let right = |server: &&Server| server.conf == conf && server.netns == Some(identity);
    let keep = present.iter().find(right).map(|s| s.pid);
    if keep.is_none() {
        // Before the old one is stopped: where the disk is full, that one goes on.
        effect("network.dhcp.write", write(folder.to_owned(), own.clone(), conf.clone(), text.to_owned()))
            .await?;
    }
    for server in present.iter().filter(|s| Some(s.pid) != keep) {
        stop(folder, server).await?;
    }
    if keep.is_some() {
        return Ok(());
    }
    effect("network.dhcp.start", start(own, conf, place)).await
}

/// Where a network's configuration with this content is; its name tells the content.
pub fn conf_path(folder: &Path, network: NetworkId, text: &str) -> PathBuf {
    let digest = canopy_types::hex(&Sha256::digest(text)[..10]);
    folder.join(network.to_string()).join(format!("{digest}.conf"))
}

async fn write(folder: PathBuf, own: PathBuf, conf: PathBuf, text: String) -> Result<(), Error> {
    files::blocking(move || {
        files::make_dir(&folder)?;
        files::make_dir(&own)?;
        files::replace(&conf, text.as_bytes(), 0o600)
    })
    .await
}

async fn start(own: PathBuf, conf: PathBuf, place: PathBuf) -> Result<(), Error> {
    let argument = format!("{ARGUMENT}{}", conf.display());
    files::blocking(move || {
        let entries = fs::read_dir(&own).map_err(|e| files::error("list", &own, e))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path != conf {
                files::remove(&path)?;
            }
        }
        Ok(())
    })
    .await?;
    let place = format!("--net={}", place.display());
    // It answers by the time it has put itself into the background.
    run::run("nsenter", &[&place, "--", "dnsmasq", &argument], "").await.map(drop)
}

/// Ends a server and waits until it is gone.
pub async fn stop(folder: &Path, server: &Server) -> Result<(), Error> {
    effect("network.dhcp.stop", async {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if !is_alive(folder, server) {
                return Ok(());
            }
            // It may be gone by now, which is what is wanted.
            let _ = kill(Pid::from_raw(server.pid), signal);
            let deadline = Instant::now() + STOP;
            while Instant::now() < deadline && is_alive(folder, server) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if !is_alive(folder, server) {
            return Ok(());
        }
        let cause = io::Error::other(format!("dnsmasq {} does not end", server.pid));
        Err(Error::new(
            Kind::Internal,
            "network.dhcp_stuck",
            "A DHCP server on the host could not be stopped.",
        )
        .with_source(cause))
    })
    .await
}

/// Looks at the command line again: the number may belong to another process by now.
fn is_alive(folder: &Path, server: &Server) -> bool {
    self::server(server.pid, folder).is_some_and(|now| now.conf == server.conf)
}

/// Removes the files of networks that are not served any more.
pub async fn forget(folder: &Path, keep: impl Fn(NetworkId) -> bool + Send + 'static) -> Result<(), Error> {
    let folder = folder.to_owned();
    files::blocking(move || {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(files::error("list", &folder, e)),
        };
        for entry in entries.flatten() {
            let network = entry.file_name().to_str().and_then(|name| name.parse::<NetworkId>().ok());
            if network.is_some_and(|network| !keep(network)) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|e| files::error("remove", &path, e))?;
            }
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dnsmasq_on_our_file_is_ours() {
        let folder = Path::new("/var/lib/canopy/dhcp");
        let id = NetworkId::random();
        let conf = format!("/var/lib/canopy/dhcp/{id}/0123.conf");
        let ours = format!("dnsmasq\0--conf-file={conf}\0");
        assert_eq!(configuration(&ours, folder), Some((id, PathBuf::from(&conf))));
        assert!(configuration(&format!("/usr/sbin/dnsmasq\0-d\0--conf-file={conf}\0"), folder).is_some());
        for other in [
            String::new(),
            "dnsmasq\0".to_owned(),
            format!("less\0--conf-file={conf}\0"),
            format!("nsenter\0dnsmasq\0--conf-file={conf}\0"),
            format!("dnsmasq\0--conf-file=/var/lib/canopy2/dhcp/{id}/1.conf\0"),
            "dnsmasq\0--conf-file=/var/lib/canopy/dhcp/x/1.conf\0".to_owned(),
            format!("dnsmasq\0--conf-file=/var/lib/canopy/dhcp/{id}/deeper/1.conf\0"),
        ] {
            assert_eq!(configuration(&other, folder), None, "{other:?}");
        }
    }

    #[tokio::test]
    async fn this_process_is_no_server() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(running(&folder(dir.path())).await.unwrap(), []);
        forget(&folder(dir.path()), |_| false).await.unwrap();
    }
}
