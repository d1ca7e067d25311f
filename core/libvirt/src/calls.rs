//! The blocking libvirt calls behind each operation. Run on a [`crate::pool`] thread.
//!
//! A domain may change or vanish between any two calls, by the guest's or the operator's doing; every
//! "no such domain" is therefore an answer and not an accident.

use crate::compare;
use crate::copy::{self, Job};
use crate::domain::{Facts, METADATA_URI, check_nic, domain_xml};
use crate::errors::{CallError, domain_not_found, foreign, is_gone, name_taken, not_running};
use crate::{consoles, figures, password, wires};
use canopy_hypervisor::{Console, DomainSpec, DomainState, DomainStatus, Nic, PasswordOutcome};
use canopy_types::diagnostics::Diagnostics;
use canopy_types::{ConsoleKind, Error, ServerId};
use nix::fcntl::OFlag;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt_sys as sys;

pub type Result<T, E = CallError> = std::result::Result<T, E>;

/// All domains of ours.
pub fn list(conn: &Connect) -> Result<Vec<DomainStatus>> {
    let mut ours = vec![];
    for domain in conn.list_all_domains(0)? {
        match status(&domain) {
            Ok(Some(status)) => ours.push(status),
            Ok(None) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ours.sort_by_key(|status| status.id);
    Ok(ours)
}

/// Whether this domain exists and is ours.
pub fn owns(conn: &Connect, id: ServerId) -> Result<bool> {
    match find(conn, id) {
        Ok(domain) => Ok(domain.is_some()),
        Err(CallError::Canopy(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn define(conn: &Connect, spec: &DomainSpec, kvm: bool) -> Result<()> {
    let direct_io = spec.disks.iter().map(|disk| takes_direct_io(&disk.path)).collect();
    let xml = domain_xml(spec, &Facts { kvm, direct_io })?;
    let existing = find(conn, spec.id)?;
    match Domain::lookup_by_name(conn, &spec.name) {
        Ok(other) => {
            let id = ServerId(other.get_uuid()?);
            if id != spec.id {
                return Err(if is_ours(&other, id)? { name_taken() } else { foreign() }.into());
            }
        }
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(domain) = existing
        && domain.get_name()? != spec.name
    {
        if domain.is_active()? {
            return Err(Error::conflict(
                "libvirt.rename_running",
                "The guest runs under another name. Stop it before it is renamed.",
            )
            .into());
        }
        // libvirt takes a second name for the same id as a mistake.
        forget(&domain)?;
    }
    Domain::define_xml(conn, &xml)?;
    Ok(())
}

/// Of the definition that the guest will start with next.
pub fn differences(conn: &Connect, spec: &DomainSpec) -> Result<Vec<String>> {
    let Some(domain) = find(conn, spec.id)? else { return Ok(Vec::new()) };
    match domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE) {
        Ok(xml) => Ok(compare::differences(&xml, spec)),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

pub fn start(conn: &Connect, id: ServerId) -> Result<()> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    let begun = match domain.get_state()?.0 {
        sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED => domain.create(),
        sys::VIR_DOMAIN_PAUSED => domain.resume(),
        sys::VIR_DOMAIN_PMSUSPENDED => domain.pm_wakeup(0),
        _ => return Ok(()),
    };
    match begun {
        Ok(_) => Ok(()),
        // Someone else was faster.
        Err(error) if not_in_that_state(&error) && is_running(&domain) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub fn shutdown(conn: &Connect, id: ServerId) -> Result<()> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    if !domain.is_active()? {
        return Ok(());
    }
    match domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) if not_in_that_state(&error) && !domain.is_active().unwrap_or(true) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub fn pause(conn: &Connect, id: ServerId) -> Result<()> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    match domain.get_state()?.0 {
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => return Ok(()),
        sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED => return Err(not_running().into()),
        _ => {}
    }
    match domain.suspend() {
        Ok(_) => Ok(()),
        Err(error) if not_in_that_state(&error) && !domain.is_active().unwrap_or(true) => {
            Err(not_running().into())
        }
        Err(error) => Err(error.into()),
    }
}

pub fn suspend(conn: &Connect, id: ServerId) -> Result<()> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    if !domain.is_active()? {
        return if domain.has_managed_save(0)? { Ok(()) } else { Err(not_running().into()) };
    }
    // Running again whatever it was: a guest that was paused before is resumed, not left paused.
    match domain.managed_save(sys::VIR_DOMAIN_SAVE_RUNNING) {
        Ok(_) => Ok(()),
        Err(error) if not_in_that_state(&error) && domain.has_managed_save(0).unwrap_or(false) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub fn discard_memory(conn: &Connect, id: ServerId) -> Result<()> {
    let Some(domain) = find(conn, id)? else { return Ok(()) };
    if domain.has_managed_save(0)? {
        domain.managed_save_remove(0)?;
    }
    Ok(())
}

/// Begins to copy the first disk into a new file.
pub fn copy_begin(conn: &Connect, id: ServerId, to: &Path) -> Result<()> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    if !domain.is_active()? {
        return Err(not_running().into());
    }
    // What an agent that was cut off has left: nobody waits for it.
    copy::end(&domain)?;
    copy::begin(&domain, to)
}

pub fn copy_job(conn: &Connect, id: ServerId) -> Result<Job> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    match copy::job(&domain) {
        Err(CallError::Libvirt(error)) if not_in_that_state(&error) => Ok(Job::Absent),
        outcome => outcome,
    }
}

pub fn copy_end(conn: &Connect, id: ServerId) -> Result<()> {
    let Some(domain) = find(conn, id)? else { return Ok(()) };
    match copy::end(&domain) {
        Err(CallError::Libvirt(error)) if not_in_that_state(&error) => Ok(()),
        outcome => outcome,
    }
}

pub fn diagnostics(conn: &Connect, id: ServerId) -> Result<Diagnostics> {
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    if !domain.is_active()? {
        return Err(not_running().into());
    }
    figures::figures(&domain)
}

pub fn set_password(conn: &Connect, id: ServerId, user: &str, password: &str) -> Result<PasswordOutcome> {
    find(conn, id)?.map_or(Ok(PasswordOutcome::Off), |domain| password::set(&domain, user, password))
}

pub fn console(conn: &Connect, id: ServerId, kind: ConsoleKind) -> Result<Console> {
    find(conn, id)?.map_or(Ok(Console::Off), |domain| consoles::console(&domain, kind))
}

pub fn plug(conn: &Connect, id: ServerId, nic: &Nic) -> Result<()> {
    check_nic(nic)?;
    let domain = find(conn, id)?.ok_or_else(|| domain_not_found(id))?;
    if !domain.is_active()? {
        return Err(not_running().into());
    }
    wires::plug(&domain, nic)
}

/// Whether the guest has let go of it.
pub fn unplug(conn: &Connect, id: ServerId, nic: &Nic) -> Result<bool> {
    check_nic(nic)?;
    let Some(domain) = find(conn, id)? else { return Ok(true) };
    if !domain.is_active()? {
        return Ok(true);
    }
    match wires::unplug(&domain, nic) {
        Err(CallError::Libvirt(error))
            if not_in_that_state(&error) && !domain.is_active().unwrap_or(true) =>
        {
            Ok(true)
        }
        outcome => outcome,
    }
}

/// The same, without asking the guest again.
pub fn unplugged(conn: &Connect, id: ServerId, nic: &Nic) -> Result<bool> {
    let Some(domain) = find(conn, id)? else { return Ok(true) };
    Ok(!domain.is_active()? || !wires::has(&domain, nic)?)
}

pub fn destroy(conn: &Connect, id: ServerId) -> Result<()> {
    match find(conn, id)? {
        Some(domain) => cut_power(&domain),
        None => Ok(()),
    }
}

pub fn undefine(conn: &Connect, id: ServerId) -> Result<()> {
    let Some(domain) = find(conn, id)? else { return Ok(()) };
    cut_power(&domain)?;
    forget(&domain)
}

/// vCPUs, memory in MiB, the hypervisor's type and its version (7.2.22 is 7002022).
pub fn host(conn: &Connect) -> Result<(i64, i64, String, i64)> {
    let node = conn.get_node_info()?;
    let memory_mib = i64::try_from(node.memory / 1024).unwrap_or(i64::MAX);
    Ok((i64::from(node.cpus), memory_mib, conn.get_type()?, i64::from(conn.get_hyp_version()?)))
}

/// The domain of this server; an error when a domain of this id is not ours.
fn find(conn: &Connect, id: ServerId) -> Result<Option<Domain>> {
    let domain = match Domain::lookup_by_uuid(conn, id.0) {
        Ok(domain) => domain,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match is_ours(&domain, id) {
        Ok(true) => Ok(Some(domain)),
        Ok(false) => Err(foreign().into()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ours is what carries our metadata with its own id: a copy made of one of our domains is not ours.
fn is_ours(domain: &Domain, id: ServerId) -> Result<bool, VirtError> {
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    match domain.get_metadata(kind, Some(METADATA_URI), 0) {
        Ok(metadata) => {
            Ok(metadata.contains(&format!("id=\"{id}\"")) || metadata.contains(&format!("id='{id}'")))
        }
        Err(error) if error.code() == ErrorNumber::NoDomainMetadata => Ok(false),
        Err(error) => Err(error),
    }
}

fn status(domain: &Domain) -> Result<Option<DomainStatus>, VirtError> {
    let id = ServerId(domain.get_uuid()?);
    if !is_ours(domain, id)? {
        return Ok(None);
    }
    let (state, reason) = domain.get_state()?;
    let mut state = state_of(state, reason);
    // A running guest may still have the file it was started from, so only an off one is asked.
    if state == DomainState::Stopped && domain.has_managed_save(0)? {
        state = DomainState::Suspended;
    }
    Ok(Some(DomainStatus { id, name: domain.get_name()?, state }))
}

fn state_of(state: sys::virDomainState, reason: i32) -> DomainState {
    // The reason is an int in one function and unsigned in its enumeration.
    let crashed = u32::try_from(reason) == Ok(sys::VIR_DOMAIN_SHUTOFF_CRASHED);
    match state {
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => DomainState::Paused,
        // QEMU ended without having been told to.
        sys::VIR_DOMAIN_SHUTOFF if crashed => DomainState::Crashed,
        sys::VIR_DOMAIN_SHUTOFF => DomainState::Stopped,
        sys::VIR_DOMAIN_CRASHED => DomainState::Crashed,
        // Also while it shuts down, and in states that are yet to be invented: it has a process.
        _ => DomainState::Running,
    }
}

fn is_running(domain: &Domain) -> bool {
    domain.get_state().is_ok_and(|(state, reason)| state_of(state, reason) == DomainState::Running)
}

fn not_in_that_state(error: &VirtError) -> bool {
    error.code() == ErrorNumber::OperationInvalid
}

fn cut_power(domain: &Domain) -> Result<()> {
    match domain.is_active() {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match domain.destroy() {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) if not_in_that_state(&error) && !domain.is_active().unwrap_or(false) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// With all that libvirt would otherwise refuse to leave behind.
fn forget(domain: &Domain) -> Result<()> {
    let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    match domain.undefine_flags(flags) {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether QEMU can open this file with cache mode `none`. Anything but a clear no is a yes: a file that
/// cannot be opened at all is for libvirt to complain about.
fn takes_direct_io(path: &Path) -> bool {
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path);
    !opened.is_err_and(|error| error.raw_os_error() == Some(nix::errno::Errno::EINVAL as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_io_is_given_up_only_for_a_clear_no() {
        assert!(!takes_direct_io(Path::new("/proc/self/status")), "procfs refuses O_DIRECT");
        assert!(takes_direct_io(Path::new("/nonexistent/disk")));
    }

    #[test]
    fn states_are_told_apart() {
        let crashed = i32::try_from(sys::VIR_DOMAIN_SHUTOFF_CRASHED).unwrap();
        assert_eq!(state_of(sys::VIR_DOMAIN_SHUTOFF, crashed), DomainState::Crashed);
        assert_eq!(state_of(sys::VIR_DOMAIN_SHUTOFF, 1), DomainState::Stopped);
        // The same number means "restored" here.
        assert_eq!(state_of(sys::VIR_DOMAIN_RUNNING, crashed), DomainState::Running);
        assert_eq!(state_of(sys::VIR_DOMAIN_SHUTDOWN, 0), DomainState::Running);
        assert_eq!(state_of(sys::VIR_DOMAIN_PAUSED, crashed), DomainState::Paused);
        assert_eq!(state_of(sys::VIR_DOMAIN_CRASHED, 0), DomainState::Crashed);
        assert_eq!(state_of(99, -1), DomainState::Running);
    }
}
