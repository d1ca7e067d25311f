//! A private PostgreSQL for one test run: own files, own port, gone afterwards.

use crate::janitor::Janitor;
use crate::processes::until;
use crate::run::{Res, failed, is_root, program, quiet, text};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The account that Debian's package creates; the database refuses to run as root.
const USER: &str = "postgres";

/// Starts a server and returns its URL, with a database of the user's own name. `folder` must not exist and
/// lie where the user may go.
pub fn start(folder: &Path, janitor: &mut Janitor) -> Res<String> {
    let programs = programs()?;
    let shown = folder.to_string_lossy();
    let tool = |name: &str| programs.join(name).to_string_lossy().into_owned();
    let mut undo: Vec<&str> = Vec::new();
    if is_root() {
        undo.extend(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    let (pg_ctl, data) = (tool("pg_ctl"), format!("{shown}/data"));
    undo.extend([pg_ctl.as_str(), "-D", &data, "-m", "immediate", "stop"]);
    janitor.later(&["rm", "-rf", "--one-file-system", "--", &shown])?;
    janitor.later(&undo)?;

    fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
    let password = random()?;
    let secret = folder.join("password");
    fs::write(&secret, &password).map_err(|e| failed("write", &secret, &e))?;
    if is_root() {
        quiet(program("chown").args(["-R", USER]).arg(folder))?;
    }
    let mut init = user(&tool("initdb"), folder);
    init.args(["-U", USER, "-A", "scram-sha-256", "--locale=C", "-E", "UTF8", "--no-sync", "-D", &data]);
    quiet(init.arg("--pwfile").arg(&secret))?;

    // What it holds is worthless after the run, so nothing has to reach the disk.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    let port = port.map_err(|e| format!("no free port: {e}"))?.port();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{shown}'\nfsync = off\n\
         synchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\nshared_buffers = 64MB\njit = off\n"
    );
    let append = "printf %s \"$1\" >> \"$2\"";
    quiet(user("sh", folder).args(["-c", append, "sh", &settings]).arg(folder.join("data/postgresql.conf")))?;
    let log = format!("{shown}/log");
    quiet(user(&pg_ctl, folder).args(["-D", &data, "-l", &log, "-w", "-t", "60", "start"]))
        .map_err(|e| format!("{e}\n{}", fs::read_to_string(&log).unwrap_or_default()))?;
    let listening = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    if !until(Duration::from_secs(10), listening) {
        return Err(format!("PostgreSQL does not listen on port {port}"));
    }
    Ok(format!("postgres://{USER}:{password}@127.0.0.1:{port}/{USER}"))
}

/// A program as the database's user, in a folder that it may read.
fn user(name: &str, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = program("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", name]);
        command
    } else {
        program(name)
    };
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env_remove("PGDATA")
        .env_remove("PGHOST")
        .env_remove("PGPORT");
    command
}

/// The newest version's folder of programs; Debian leaves them out of the PATH.
fn programs() -> Res<PathBuf> {
    let parent = Path::new("/usr/lib/postgresql");
    let versions = fs::read_dir(parent).map_err(|e| failed("read", parent, &e))?.flatten();
    let newest = versions.filter_map(|v| v.file_name().to_str()?.parse::<u32>().ok()).max();
    newest
        .map(|v| parent.join(v.to_string()).join("bin"))
        .ok_or_else(|| "PostgreSQL has no programs".to_owned())
}

fn random() -> Res<String> {
    let hex = text(program("od").args(["-An", "-tx1", "-N16", "/dev/urandom"]))?;
    Ok(hex.split_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ_and_need_no_quoting() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    #[test]
    #[ignore = "installs packages and starts a database"]
    fn a_private_server_answers_and_leaves_nothing() {
        crate::packages::ensure(crate::packages::DATABASE).unwrap();
        let folder = PathBuf::from(format!("/var/tmp/canopy-xtask-{}", std::process::id()));
        let mut janitor = Janitor::start().unwrap();
        let url = start(&folder, &mut janitor).unwrap();
        let answer = text(program("psql").args([&url, "-Atc", "SHOW lc_collate"])).unwrap();
        assert_eq!(answer.trim(), "C");
        let (_, address) = url.split_once('@').unwrap();
        let stranger = format!("postgres://{USER}:wrong@{address}");
        assert!(text(program("psql").args([&stranger, "-Atc", "SELECT 1"])).is_err());
        janitor.finish();
        assert!(!folder.exists());
        assert!(text(program("psql").args([&url, "-Atc", "SELECT 1"])).is_err());
    }
}
