//! The demo's cloud through its API, by the stock `openstack` client: creates what is missing.

use crate::guest_image::{COMMAND_LINE, GuestImage};
use crate::layout::Demo;
use crate::processes::until;
use crate::run::{Res, as_root, failed, program, quiet, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const CLOUD: &str = "canopy";
pub const SERVER: &str = "demo-1";
pub const FLAVOR: &str = "demo.small";
pub const KEY: &str = "demo";
pub const NETWORK: &str = "demo";
const SUBNET: &str = "demo-subnet";
const RANGE: &str = "10.20.0.0/24";
pub const IMAGE: &str = "canopy-guest";
const KERNEL: &str = "canopy-guest-kernel";
const INITRD: &str = "canopy-guest-initrd";
const BUILD_PATIENCE: Duration = Duration::from_secs(180);

/// The client, logged in by the demo's `clouds.yaml`.
pub struct Cloud {
    program: PathBuf,
    clouds: PathBuf,
}

/// What the demo shows.
pub struct Guest {
    pub address: String,
    pub network: String,
}

impl Cloud {
    pub fn new(programs: &Path, demo: &Demo) -> Self {
        Self { program: programs.join("openstack"), clouds: demo.clouds() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("timeout");
        command.arg("300").arg(&self.program).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("OS_")) {
                command.env_remove(name);
            }
        }
        command.env("OS_CLIENT_CONFIG_FILE", &self.clouds).env("OS_CLOUD", CLOUD);
        command
    }

    pub fn text(&self, arguments: &[&str]) -> Res<String> {
        text(&mut self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Res<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-f", "json"]);
        let text = self.text(&all)?;
        serde_json::from_str(&text).map_err(|e| format!("openstack {}: no JSON: {e}", arguments.join(" ")))
    }

    /// The rows of a list whose name is this.
    fn named(&self, list: &[&str], name: &str) -> Res<Vec<Value>> {
        let Value::Array(rows) = self.json(list)? else {
            return Err(format!("openstack {}: no list", list.join(" ")));
        };
        Ok(rows.into_iter().filter(|row| row["Name"] == name).collect())
    }

    /// Deletes every server of the project and waits until they are gone. Used on the way down.
    pub fn delete_servers(&self) -> Res<()> {
        let listed = self.text(&["server", "list", "--no-name-lookup", "-f", "value", "-c", "ID"])?;
        let ids: Vec<&str> = listed.lines().collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.text(&[&["server", "delete", "--wait"], &ids[..]].concat()).map(drop)
    }
}

/// Writes `clouds.yaml` and returns its text. The password is the one the server made at its first start.
pub fn write_clouds(demo: &Demo, port: u16) -> Res<String> {
    let secret = demo.data.join("admin-password");
    let password = text(as_root("cat").arg(&secret))?;
    let yaml = format!(
        "clouds:\n  {CLOUD}:\n    auth:\n      auth_url: http://127.0.0.1:{port}/identity/v3\n      \
         username: admin\n      password: \"{}\"\n      project_name: admin\n      \
         user_domain_id: default\n      project_domain_id: default\n    \
         region_name: RegionOne\n    identity_api_version: 3\n",
        password.trim().replace('\\', "\\\\").replace('"', "\\\"")
    );
    let path = demo.clouds();
    let temporary = path.with_extension("tmp");
    crate::run::remove(&temporary)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| file.write_all(yaml.as_bytes())).map_err(|e| failed("write", &temporary, &e))?;
    fs::rename(&temporary, &path).map_err(|e| failed("write", &path, &e))?;
    Ok(yaml)
}

/// Makes the demo's resources complete, whatever an earlier run left. Returns the guest.
pub fn complete(cloud: &Cloud, demo: &Demo, image: &GuestImage) -> Res<Guest> {
    if cloud.named(&["flavor", "list"], FLAVOR)?.is_empty() {
        cloud.text(&["flavor", "create", "--vcpus", "1", "--ram", "192", "--disk", "1", FLAVOR])?;
    }
    keypair(cloud, demo)?;
    images(cloud, image)?;
    if cloud.named(&["network", "list"], NETWORK)?.is_empty() {
        cloud.text(&["network", "create", NETWORK])?;
    }
    if cloud.named(&["subnet", "list"], SUBNET)?.is_empty() {
        cloud.text(&["subnet", "create", "--network", NETWORK, "--subnet-range", RANGE, SUBNET])?;
    }
    let network = cloud.text(&["network", "show", NETWORK, "-f", "value", "-c", "id"])?.trim().to_owned();
    let address = server(cloud)?;
    Ok(Guest { address, network })
}

/// The key is made here, and only its public half leaves.
fn keypair(cloud: &Cloud, demo: &Demo) -> Res<()> {
    let key = demo.key();
    let public = key.with_extension("pub");
    if !key.exists() || !public.exists() {
        for half in [&key, &public] {
            crate::run::remove(half)?;
        }
        quiet(
            program("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "canopy-demo", "-f"])
                .arg(&key),
        )?;
    }
    let line = text(program("ssh-keygen").args(["-l", "-E", "md5", "-f"]).arg(&public))?;
    let print = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("MD5:").to_owned();
    for row in cloud.named(&["keypair", "list"], KEY)? {
        if row["Fingerprint"] == print.as_str() {
            return Ok(());
        }
        // Of a key that is gone; so is the way into the guest that has it.
        cloud.text(&["keypair", "delete", KEY])?;
        for server in cloud.named(&["server", "list", "--no-name-lookup"], SERVER)? {
            delete_server(cloud, &server)?;
        }
    }
    cloud.text(&["keypair", "create", "--public-key", &public.to_string_lossy(), KEY]).map(drop)
}

/// Kernel, initrd, and the disk that names both: direct boot is faster than the disk's own boot loader.
fn images(cloud: &Cloud, image: &GuestImage) -> Res<()> {
    let list = cloud.json(&["image", "list"])?;
    let rows = list.as_array().cloned().unwrap_or_default();
    let found = |name: &str| -> (Option<String>, Vec<String>) {
        let mut whole = None;
        let mut rest = Vec::new();
        for row in rows.iter().filter(|row| row["Name"] == name) {
            let id = row["ID"].as_str().unwrap_or_default().to_owned();
            if row["Status"] == "active" && whole.is_none() { whole = Some(id) } else { rest.push(id) }
        }
        (whole, rest)
    };
    let upload = |name: &str, format: &str, file: &Path, more: &[&str]| -> Res<String> {
        let container = if matches!(format, "aki" | "ari") { format } else { "bare" };
        let file = file.to_string_lossy();
        let fixed =
            ["image", "create", "--disk-format", format, "--container-format", container, "--file", &file];
        let id = cloud.text(&[&fixed[..], more, &["-f", "value", "-c", "id", name]].concat())?;
        Ok(id.trim().to_owned())
    };
    let mut made = Vec::new();
    let mut parts = Vec::new();
    for (name, format, file) in [(KERNEL, "aki", &image.kernel), (INITRD, "ari", &image.initrd)] {
        let (whole, broken) = found(name);
        delete_images(cloud, &broken)?;
        let id = match whole {
            Some(id) => id,
            None => {
                made.push(name);
                upload(name, format, file, &[])?
            }
        };
        parts.push(id);
    }
    let (whole, mut broken) = found(IMAGE);
    if let Some(whole) = whole {
        if made.is_empty() {
            return delete_images(cloud, &broken);
        }
        // It names a kernel that is not there any more.
        broken.push(whole);
    }
    delete_images(cloud, &broken)?;
    let [kernel, initrd, line] = [
        format!("kernel_id={}", parts[0]),
        format!("ramdisk_id={}", parts[1]),
        format!("os_command_line={COMMAND_LINE}"),
    ];
    let properties = ["--property", &kernel, "--property", &initrd, "--property", &line];
    upload(IMAGE, "qcow2", &image.disk, &properties).map(drop)
}

/// What an interrupted upload left.
fn delete_images(cloud: &Cloud, ids: &[String]) -> Res<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    cloud.text(&[&["image", "delete"], &ids[..]].concat()).map(drop)
}

/// Makes the server run; returns its address.
fn server(cloud: &Cloud) -> Res<String> {
    let mut rows = cloud.named(&["server", "list", "--no-name-lookup"], SERVER)?;
    // An earlier run was interrupted while the server was made.
    let state = |row: &Value| row["Status"].as_str().unwrap_or_default().to_owned();
    if rows.iter().any(|row| state(row) == "BUILD") {
        until(BUILD_PATIENCE, || {
            let now = cloud.named(&["server", "list", "--no-name-lookup"], SERVER);
            rows = now.unwrap_or_default();
            rows.iter().all(|row| state(row) != "BUILD")
        });
    }
    let mut kept = false;
    for row in &rows {
        match state(row).as_str() {
            "ACTIVE" if !kept => kept = true,
            "SHUTOFF" if !kept => {
                cloud.text(&["server", "start", SERVER])?;
                kept = true;
            }
            _ => delete_server(cloud, row)?,
        }
    }
    if !kept {
        cloud.text(&[
            "server",
            "create",
            "--flavor",
            FLAVOR,
            "--image",
            IMAGE,
            "--network",
            NETWORK,
            "--key-name",
            KEY,
            "--wait",
            SERVER,
        ])?;
    }
    let mut status = String::new();
    let mut address = None;
    let active = until(BUILD_PATIENCE, || {
        let Ok(shown) = cloud.json(&["server", "show", SERVER]) else { return false };
        status = shown["status"].as_str().unwrap_or_default().to_owned();
        address = shown["addresses"][NETWORK][0].as_str().map(str::to_owned);
        status != "BUILD" && status != "SHUTOFF"
    });
    match address {
        Some(address) if active && status == "ACTIVE" => Ok(address),
        _ => {
            let fault =
                cloud.text(&["server", "show", SERVER, "-f", "value", "-c", "fault"]).unwrap_or_default();
            Err(format!("server {SERVER} is {status}, not ACTIVE: {}", fault.trim()))
        }
    }
}

fn delete_server(cloud: &Cloud, row: &Value) -> Res<()> {
    let id = row["ID"].as_str().unwrap_or_default();
    cloud.text(&["server", "delete", "--wait", id]).map(drop)
}
