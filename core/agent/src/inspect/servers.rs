//! Guests, their disks and config drives.

use super::{Domains, finding};
use crate::record::{self, Record, ServerDir};
use crate::scope::domain_name;
use crate::shared::Shared;
use crate::{config_drive, domain, files, qcow2};
use canopy_agent_api::{Desired, HostFinding, HostKind, HostProblem, ServerSpec};
use canopy_types::{Error, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// `domains`: `None` while they cannot be listed, and then nothing is said of them.
pub async fn look(
    shared: &Arc<Shared>,
    desired: &Desired,
    domains: Option<&Domains>,
    unseen: &mut Vec<String>,
) -> Result<Vec<HostFinding>, Error> {
    let state_dir = shared.config.state_dir.clone();
    let (records, strange) = files::blocking(move || {
        let records = record::scan(&state_dir)?;
        let strange = record::strange(&state_dir, &records)?;
        Ok((records, strange))
    })
    .await?;
    let records: BTreeMap<ServerId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
    let named: BTreeSet<ServerId> = desired.servers.iter().map(|spec| spec.id).collect();
    let settled: Vec<(&ServerSpec, &Record)> = desired
        .servers
        .iter()
        .filter_map(|spec| Some((&**spec, records.get(&spec.id)?)))
        .filter(|(spec, record)| settled(spec, record, &shared.boot_id))
        .collect();

    let mut found = Vec::new();
    for (spec, record) in &settled {
        found.extend(files_of(shared, spec).await?);
        let Some(domains) = domains else { continue };
        match guest(shared, desired, spec, record, domains).await {
            Ok(one) => found.extend(one),
            Err(error) => unseen.push(format!("guest of server {}: {}", spec.id, error.message)),
        }
    }
    let left = "its server is not wanted here any more";
    for id in records.keys().filter(|id| !named.contains(id)) {
        found.push(finding(HostKind::Disk, HostProblem::Extra, id, left, true));
    }
    for id in strange.iter().filter(|id| !named.contains(id)) {
        let detail = "a folder among the servers' holds no record of this agent: look at what it is";
        found.push(finding(HostKind::Disk, HostProblem::Extra, id, detail, false));
    }
    for (id, domain) in domains.into_iter().flatten().filter(|(id, _)| !named.contains(id)) {
        if records.contains_key(id) {
            found.push(finding(HostKind::Domain, HostProblem::Extra, id, left, true));
        } else if named_like_ours(&domain.name, &shared.config.network_scope) {
            let detail = format!(
                "guest {} carries Canopy's mark and this agent has no record of it: another cloud's, or one \
                 whose record was lost",
                domain.name
            );
            found.push(finding(HostKind::Domain, HostProblem::Extra, id, detail, false));
        }
    }
    Ok(found)
}

/// Nothing is being done to it, and nothing will be before somebody wants something else.
pub fn settled(spec: &ServerSpec, record: &Record, boot_id: &str) -> bool {
    let failed = record.failed.as_ref().is_some_and(|failure| failure.n >= spec.power.n);
    !spec.deleted && !failed && record.power_n >= spec.power.n && record.boot_id == boot_id
}

/// `instance-%08x`, with the scope of this agent behind it.
fn named_like_ours(name: &str, scope: &str) -> bool {
    let number = name.strip_prefix("instance-").and_then(|rest| match scope {
        "" => Some(rest),
        _ => rest.strip_suffix(scope)?.strip_suffix('-'),
    });
    number.is_some_and(|number| number.len() == 8 && number.bytes().all(|b| b.is_ascii_hexdigit()))
}

async fn guest(
    shared: &Shared,
    desired: &Desired,
    spec: &ServerSpec,
    record: &Record,
    domains: &Domains,
) -> Result<Option<HostFinding>, Error> {
    let changed = |detail: String| finding(HostKind::Domain, HostProblem::Changed, spec.id, detail, true);
    let Some(domain) = domains.get(&spec.id) else {
        let detail =
            "the hypervisor does not know the guest; a repair defines it again and does not start it";
        return Ok(Some(finding(HostKind::Domain, HostProblem::Missing, spec.id, detail, true)));
    };
    let wanted = domain_name(&shared.config.network_scope, &spec.domain_name);
    if domain.name != wanted {
        // A guest that runs keeps its name until it stops.
        let detail = format!("the guest is called {:?} and not {wanted:?}", domain.name);
        let repairable = !crate::decide::is_on(Some(domain.state));
        return Ok(Some(HostFinding { repairable, ..changed(detail) }));
    }
    let dir = ServerDir::new(&shared.config.state_dir, spec.id);
    let networks = &desired.networks;
    let built = domain::build(spec, networks, &dir, &shared.images, &shared.config.network_scope)?;
    // What is defined anew at the next start is no difference now.
    if record.definition.as_deref() != Some(domain::hash(&built)?.as_str()) {
        return Ok(None);
    }
    let parts = shared.hypervisor.differences(&built).await?;
    if parts.is_empty() {
        return Ok(None);
    }
    Ok(Some(changed(format!(
        "somebody has changed the guest's definition: {} (what runs stays as it is until it stops)",
        parts.join(", ")
    ))))
}

async fn files_of(shared: &Arc<Shared>, spec: &ServerSpec) -> Result<Vec<HostFinding>, Error> {
    let dir = ServerDir::new(&shared.config.state_dir, spec.id);
    let (id, drive) = (spec.id, spec.config_drive);
    let base = spec.image.as_ref().map(|image| shared.images.path(&image.blob)).transpose()?;
    files::blocking(move || {
        let disk = disk(id, &dir.disk(), base.as_deref())?;
        Ok(disk.into_iter().chain(config_drive(id, &dir.config_drive(), drive)?).collect())
    })
    .await
}

fn disk(id: ServerId, path: &Path, base: Option<&Path>) -> Result<Option<HostFinding>, Error> {
    let say = |problem, detail: String| Ok(Some(finding(HostKind::Disk, problem, id, detail, false)));
    if files::kind(path)?.is_none() {
        return say(HostProblem::Missing, "the server's disk is not there: rebuild the server".into());
    }
    match qcow2::backing(path) {
        Err(error) => {
            say(HostProblem::Changed, format!("the server's disk cannot be read: {}", error.message))
        }
        Ok(named) if named.as_deref() == base.and_then(Path::to_str) => Ok(None),
        Ok(named) => say(
            HostProblem::Changed,
            format!("the server's disk stands on {:?}", named.unwrap_or_else(|| "nothing".into())),
        ),
    }
}

fn config_drive(id: ServerId, path: &Path, wanted: bool) -> Result<Option<HostFinding>, Error> {
    let say = |problem, detail: &str| Ok(Some(finding(HostKind::ConfigDrive, problem, id, detail, true)));
    match (files::kind(path)?, wanted) {
        (None, false) => Ok(None),
        (None, true) => say(HostProblem::Missing, "the config drive is not there"),
        (Some(_), false) => say(HostProblem::Extra, "the server has a config drive that nobody asked for"),
        (Some(metadata), true) if !metadata.is_file() => {
            say(HostProblem::Changed, "the config drive is no file")
        }
        (Some(metadata), true) if metadata.permissions().mode() & 0o077 != 0 => {
            say(HostProblem::Changed, "others than its owner may read the config drive")
        }
        (Some(_), true) if !config_drive::is_one(path)? => {
            say(HostProblem::Changed, "the config drive is no ISO 9660 image of ours")
        }
        (Some(_), true) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_scope_are_like_ours() {
        assert!(named_like_ours("instance-0000000a", ""));
        assert!(named_like_ours("instance-0000000a-test", "test"));
        for (name, scope) in [
            ("instance-0000000a-test", ""),
            ("instance-0000000a", "test"),
            ("instance-0000000a-test2", "test"),
            ("instance-xyz", ""),
            ("web", ""),
        ] {
            assert!(!named_like_ours(name, scope), "{name} {scope}");
        }
    }
}
