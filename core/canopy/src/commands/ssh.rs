//! `canopy ssh SERVER`: from this host into a guest, through the namespace of its network.
//!
//! Tenant networks have no way in from outside yet; the host that runs DHCP and metadata for a network
//! has an address in it. Asks the API on this machine as the admin of `--config`.

use super::load;
use canopy_types::{Error, Result};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Ssh {
    /// Name or id of the server
    server: String,
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
    #[arg(long, default_value = "root")]
    user: String,
    /// Private key
    #[arg(short = 'i', long)]
    identity: Option<PathBuf>,
    /// Project of the server
    #[arg(long, default_value = "admin")]
    project: String,
    /// What to run there; a shell otherwise
    #[arg(last = true)]
    command: Vec<String>,
}

pub async fn ssh(args: &Ssh) -> Result<()> {
    let config = load(args.config.as_deref())?;
    let base = format!("http://{}", config.listen);
    let password = read(&config.data_dir.join("admin-password"))?;
    let (network, ip) = find(&base, password.trim(), args).await?;
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", &format!("canopy-{network}"), "ssh"]);
    command.args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]);
    if let Some(key) = &args.identity {
        command.arg("-i").arg(key);
    }
    command.arg(format!("{}@{ip}", args.user)).args(&args.command);
    // Returns only when it could not be started.
    let error = command.exec();
    Err(Error::unavailable("ssh.exec", format!("Cannot run `ip netns exec … ssh` (are you root?): {error}")))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::bad_request("ssh.password", format!("{}: {e}", path.display())))
}

/// The network and address of the server's first port.
async fn find(base: &str, password: &str, args: &Ssh) -> Result<(String, String)> {
    let failed =
        |e: reqwest::Error| Error::unavailable("ssh.api", format!("The API at {base} does not answer: {e}"));
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(failed)?;
    let auth = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "domain": {"id": "default"}, "password": password}}},
        "scope": {"project": {"name": args.project, "domain": {"id": "default"}}},
    }});
    let reply =
        client.post(format!("{base}/identity/v3/auth/tokens")).json(&auth).send().await.map_err(failed)?;
    let token = reply
        .headers()
        .get("x-subject-token")
        .and_then(|token| token.to_str().ok())
        .ok_or_else(|| Error::unauthorized("The admin's password was not accepted: was it changed?"))?
        .to_owned();
    let get = async |path: String| -> Result<Value> {
        let request = client.get(format!("{base}{path}")).header("x-auth-token", &token);
        request.send().await.map_err(failed)?.json().await.map_err(failed)
    };
    let servers = get("/compute/v2.1/servers?all_tenants=1".into()).await?;
    let wanted =
        |server: &&Value| server["id"] == args.server.as_str() || server["name"] == args.server.as_str();
    let matches: Vec<&Value> = servers["servers"].as_array().into_iter().flatten().filter(wanted).collect();
    let [server] = matches.as_slice() else {
        let what = if matches.is_empty() { "No server" } else { "More than one server" };
        return Err(Error::not_found("ssh.server", format!("{what} is called {}.", args.server)));
    };
    let id = server["id"].as_str().unwrap_or_default();
    let ports = get(format!("/network/v2.0/ports?device_id={id}")).await?;
    let port = &ports["ports"][0];
    match (port["network_id"].as_str(), port["fixed_ips"][0]["ip_address"].as_str()) {
        (Some(network), Some(ip)) => Ok((network.to_owned(), ip.to_owned())),
        _ => Err(Error::not_found("ssh.address", format!("Server {} has no address.", args.server))),
    }
}
