//! `canopy ssh SERVER`: from this host into a guest, through the namespace of its network.
//!
//! Tenant networks have no way in from outside yet; the host that runs DHCP and metadata for a network
//! has an address in it. Asks the API on this machine as the admin of `--config`.

use super::client::Client;
use canopy_types::{Error, Result};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

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
    let client = Client::admin(args.config.as_deref(), &args.project).await?;
    let (network, ip) = find(&client, args).await?;
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

/// The network and address of the server's first port.
async fn find(client: &Client, args: &Ssh) -> Result<(String, String)> {
    let servers = client.get("/compute/v2.1/servers?all_tenants=1").await?;
    let wanted =
        |server: &&Value| server["id"] == args.server.as_str() || server["name"] == args.server.as_str();
    let matches: Vec<&Value> = servers["servers"].as_array().into_iter().flatten().filter(wanted).collect();
    let [server] = matches.as_slice() else {
        let what = if matches.is_empty() { "No server" } else { "More than one server" };
        return Err(Error::not_found("ssh.server", format!("{what} is called {}.", args.server)));
    };
    let id = server["id"].as_str().unwrap_or_default();
    let ports = client.get(&format!("/network/v2.0/ports?device_id={id}")).await?;
    let port = &ports["ports"][0];
    match (port["network_id"].as_str(), port["fixed_ips"][0]["ip_address"].as_str()) {
        (Some(network), Some(ip)) => Ok((network.to_owned(), ip.to_owned())),
        _ => Err(Error::not_found("ssh.address", format!("Server {} has no address.", args.server))),
    }
}
