//! Removes guests and networks of ours from this machine without the API's help: after a crash the API may
//! be gone. Ours is what carries our mark: a domain our metadata and a disk under our folder, an interface,
//! namespace or table the tag of our network scope. Nothing is taken for ours by its name alone.

use crate::libvirt::{self, virsh};
use crate::processes;
use crate::run::{Res, as_root, program, quiet, remove, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The XML namespace of the metadata on every domain of Canopy.
const METADATA: &str = "urn:canopy:instance:1";
const DHCP_PATIENCE: Duration = Duration::from_secs(5);

/// Ends and undefines the guests whose disks are under `data`. Returns how many there were.
pub fn domains(data: &Path) -> Res<usize> {
    let mut removed = 0;
    for id in
        text(&mut virsh(&["list", "--all", "--uuid"]))?.lines().map(str::trim).filter(|id| !id.is_empty())
    {
        // It may have gone since the list was made.
        let Ok(xml) = text(&mut virsh(&["dumpxml", id])) else { continue };
        if !is_ours(&xml, data) {
            continue;
        }
        // Fails when it does not run, which is fine; what matters is that it is undefined below.
        let _ = quiet(&mut virsh(&["destroy", id]));
        let undefined = quiet(&mut virsh(&["undefine", id, "--managed-save", "--snapshots-metadata"]));
        if undefined.is_err() && text(&mut virsh(&["list", "--all", "--uuid"]))?.contains(id) {
            undefined?;
        }
        removed += 1;
    }
    Ok(removed)
}

/// Removes libvirt's logs of guests that had a file under `data`, which it keeps when a guest is undefined;
/// and of the guests that Canopy starts for a moment to see what this machine can do.
pub fn logs(data: &Path) -> Res<()> {
    let (below, probe) = (format!("{}/", data.display()), "/canopy-probe-[0-9a-f]*/boot[.]img");
    for (kind, words) in [("-F", below.as_str()), ("-G", probe)] {
        let mut grep = as_root("grep");
        grep.args(["-rls", kind, "--include=*.log", "-e", words, "/var/log/libvirt/qemu"]);
        let found = grep.output().map_err(|e| format!("grep: {e}"))?;
        String::from_utf8_lossy(&found.stdout).lines().try_for_each(|log| remove(Path::new(log)))?;
    }
    Ok(())
}

/// Whether libvirt keeps, or an emulator runs, anything with a disk under `data`. Works without libvirtd.
pub fn has_domains(data: &Path) -> bool {
    let below = format!("{}/", data.display());
    if processes::all()
        .iter()
        .any(|p| p.program().starts_with("qemu-system-") && p.arguments.iter().any(|a| a.contains(&below)))
    {
        return true;
    }
    let mut grep = as_root("grep");
    grep.args(["-rlsF", "--include=*.xml", "-e", &below, "/etc/libvirt/qemu", "/run/libvirt/qemu"]);
    grep.output().is_ok_and(|found| !found.stdout.is_empty())
}

fn is_ours(xml: &str, data: &Path) -> bool {
    let below = format!("{}/", data.display());
    let disk = |quote: char| xml.contains(&format!(" file={quote}{below}"));
    xml.contains(METADATA) && (disk('\'') || disk('"'))
}

/// Removes the networks of one scope: DHCP servers, interfaces, namespaces, firewall table. `data` is the
/// data folder of the cloud, whose agent notes there the names of what it was about to create.
pub fn networks(scope: &str, data: &Path) -> Res<usize> {
    let tag = format!("canopy:{scope}");
    let unfinished = unfinished(data);
    let mut removed = 0;
    for process in processes::all() {
        let below = format!("--conf-file={}/", data.display());
        if process.program() == "dnsmasq" && process.arguments.iter().any(|a| a.starts_with(&below)) {
            process.end(DHCP_PATIENCE)?;
            removed += 1;
        }
    }
    for link in links(None)? {
        let Some(name) = link["ifname"].as_str() else { continue };
        if marked(&link, &tag) || (unmarked(&link) && unfinished.contains(name)) {
            // Of a pair, the second end goes with the first.
            let _ = quiet(as_root("ip").args(["link", "delete", "dev", name]));
            removed += 1;
        }
    }
    for name in namespaces() {
        let inside = links(Some(&name));
        let loopback = inside.as_ref().ok().and_then(|all| all.iter().find(|link| link["ifname"] == "lo"));
        let ours = match loopback {
            Some(lo) => marked(lo, &tag) || (unmarked(lo) && unfinished.contains(&name)),
            None => unfinished.contains(&name),
        };
        if ours {
            quiet(as_root("ip").args(["netns", "delete", &name]))?;
            removed += 1;
        }
    }
    Ok(removed + table(scope, &tag)?)
}

fn table(scope: &str, tag: &str) -> Res<usize> {
    let name = format!("canopy_{scope}");
    let Ok(listing) = text(as_root("nft").args(["-t", "list", "table", "bridge", &name])) else {
        return Ok(0);
    };
    if !listing.contains(&format!("comment \"{tag} ")) {
        return Ok(0);
    }
    quiet(as_root("nft").args(["delete", "table", "bridge", &name])).map(|()| 1)
}

fn links(namespace: Option<&str>) -> Res<Vec<Value>> {
    let mut command = match namespace {
        Some(name) => {
            let mut command = as_root("ip");
            command.args(["-n", name]);
            command
        }
        None => program("ip"),
    };
    let json = text(command.args(["-j", "link", "show"]))?;
    match serde_json::from_str(&json) {
        Ok(Value::Array(links)) => Ok(links),
        _ => Err("ip -j link show: no list".to_owned()),
    }
}

fn marked(link: &Value, tag: &str) -> bool {
    link["ifalias"] == tag
}

fn unmarked(link: &Value) -> bool {
    link["ifalias"].as_str().unwrap_or_default().is_empty()
}

fn namespaces() -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with("canopy-")).collect()
}

/// Names the agent was about to create when it last wrote its note.
fn unfinished(data: &Path) -> BTreeSet<String> {
    let note = text(as_root("cat").arg(data.join("agent/network.json"))).unwrap_or_default();
    let value: Value = serde_json::from_str(&note).unwrap_or_default();
    let names = value["creating"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The end of a test run: removes guests with disks under `under` and networks of scopes that begin with
/// `prefix`, which killed tests leave, and stops libvirt if the run started it.
pub fn tests(under: &Path, prefix: &str) -> Res<()> {
    if has_domains(under) {
        domains(under)?;
    }
    logs(under)?;
    let mut scopes = BTreeSet::new();
    let tag = format!("canopy:{prefix}");
    let inside = namespaces().into_iter().filter_map(|name| links(Some(&name)).ok()).flatten();
    for link in links(None)?.into_iter().chain(inside) {
        if let Some(alias) = link["ifalias"].as_str().filter(|alias| alias.starts_with(&tag)) {
            scopes.insert(alias.trim_start_matches("canopy:").to_owned());
        }
    }
    mounts(under);
    let swept = scopes.iter().try_for_each(|scope| networks(scope, under).map(drop));
    libvirt::stop(&under.join("started")).and(swept)
}

/// Takes off file systems that killed tests left mounted below.
fn mounts(under: &Path) {
    let mounted = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounted.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(place).starts_with(under) {
            let _ = quiet(as_root("umount").args(["-l", place]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_ours_by_mark_and_disk() {
        let data = Path::new("/src/state/demo/data");
        let domain = |mark: &str, disk: &str| {
            format!(
                "<domain><metadata><i xmlns='{mark}'/></metadata><devices><disk><source file='{disk}'/></disk></devices></domain>"
            )
        };
        assert!(is_ours(&domain(METADATA, "/src/state/demo/data/agent/x.qcow2"), data));
        assert!(!is_ours(&domain(METADATA, "/src/state/demo/database/x.qcow2"), data));
        assert!(!is_ours(&domain(METADATA, "/var/lib/canopy/x.qcow2"), data));
        assert!(!is_ours(&domain("urn:other", "/src/state/demo/data/agent/x.qcow2"), data));
    }
}
