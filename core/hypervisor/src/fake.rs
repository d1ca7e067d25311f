//! An in-memory hypervisor for unit tests and control-plane benchmarks.
//!
//! It keeps the contract of [`Hypervisor`] to the letter (idempotence, error codes, events as hints),
//! so that what passes here fails on libvirt only for libvirt's own reasons. Nothing happens by itself
//! and nothing takes time: a test plays the guest ([`FakeHypervisor::power_off`]), the operator behind
//! our back ([`FakeHypervisor::kill`], [`FakeHypervisor::forget`]) and the broken host
//! ([`FakeHypervisor::fail_next`], [`FakeHypervisor::disconnect`]).

use crate::{
    Console, DomainSpec, DomainState, DomainStatus, Event, HostInfo, Hypervisor, Nic, PasswordOutcome,
};
use async_trait::async_trait;
use canopy_types::diagnostics::{CpuFigures, Diagnostics, DiskFigures, MemoryFigures, NicFigures};
use canopy_types::{ConsoleKind, Error, ServerId};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Events kept for a slow receiver, as in the libvirt driver.
const EVENT_CAPACITY: usize = 1024;
/// Calls remembered by [`FakeHypervisor::calls`]; a benchmark makes millions.
const CALLS_KEPT: usize = 4096;

/// What [`FakeHypervisor`] copies: a qcow2 file of version 2 with 1 GiB of nothing.
fn empty_disk() -> Vec<u8> {
    let mut bytes = vec![0; 128 << 10];
    for (at, field) in [
        (0, b"QFI\xfb".as_slice()),
        (7, &[2]),
        // Clusters of 64 KiB; the size; a first-level table of two entries in the second cluster.
        (23, &[16]),
        (28, &[0x40]),
        (39, &[2]),
        (45, &[1]),
    ] {
        for (byte, value) in bytes.iter_mut().skip(at).zip(field) {
            *byte = *value;
        }
    }
    bytes
}

/// Which call, for fault injection and the record of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Host,
    List,
    Define,
    Differences,
    Start,
    Shutdown,
    Pause,
    Suspend,
    DiscardMemory,
    CopyDisk,
    Diagnostics,
    Console,
    SetPassword,
    Plug,
    Unplug,
    Destroy,
    Undefine,
}

#[derive(Clone, Debug)]
struct Domain {
    spec: DomainSpec,
    state: DomainState,
    ignores_shutdown: bool,
    /// What a guest that is on has in its slots.
    plugged: Vec<Nic>,
}

struct State {
    host: HostInfo,
    domains: BTreeMap<ServerId, Domain>,
    faults: HashMap<Op, VecDeque<Error>>,
    calls: VecDeque<(Op, Option<ServerId>)>,
    foreign_names: HashSet<String>,
    connected: bool,
    consoles: HashMap<ConsoleKind, Console>,
    /// What guests' agents say, and what they were told last.
    passwords: (PasswordOutcome, Option<(String, String)>),
}

/// A handle: clones share one host.
#[derive(Clone)]
pub struct FakeHypervisor {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Event>,
}

impl Default for FakeHypervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHypervisor {
    /// A host of 8 vCPUs and 16 GiB.
    pub fn new() -> Self {
        Self::with_host(HostInfo {
            vcpus: 8,
            memory_mib: 16 * 1024,
            hypervisor_type: "QEMU".into(),
            hypervisor_version: 7_002_022,
            acceleration: "tcg".into(),
            acceleration_reason: "the in-memory hypervisor runs no guests".into(),
        })
    }

    pub fn with_host(host: HostInfo) -> Self {
        let state = State {
            host,
            domains: BTreeMap::new(),
            faults: HashMap::new(),
            calls: VecDeque::new(),
            foreign_names: HashSet::new(),
            connected: true,
            consoles: HashMap::new(),
            passwords: (PasswordOutcome::Silent, None),
        };
        Self { state: Arc::new(Mutex::new(state)), events: broadcast::channel(EVENT_CAPACITY).0 }
    }

    /// The next call of this kind fails with this error and changes nothing. Several queue up.
    pub fn fail_next(&self, op: Op, error: Error) {
        self.lock().faults.entry(op).or_default().push_back(error);
    }

    /// Every call fails with `libvirt.unavailable` until [`Self::reconnect`]; guests live on.
    pub fn disconnect(&self) {
        self.lock().connected = false;
    }

    /// Ends [`Self::disconnect`]; receivers see [`Event::Resync`].
    pub fn reconnect(&self) {
        self.lock().connected = true;
        self.emit(Event::Resync);
    }

    /// The guest powers itself off. False when there is no such guest running.
    pub fn power_off(&self, id: ServerId) -> bool {
        self.become_state(id, DomainState::Stopped)
    }

    /// The guest's process is killed behind our back. False when there is no such guest running.
    pub fn kill(&self, id: ServerId) -> bool {
        self.become_state(id, DomainState::Crashed)
    }

    /// The hypervisor pauses the guest, as it does on an I/O error. False when it does not run.
    pub fn io_error(&self, id: ServerId) -> bool {
        self.become_state(id, DomainState::Paused)
    }

    /// Someone undefines the domain behind our back, running or not. False when there is none.
    pub fn forget(&self, id: ServerId) -> bool {
        let existed = self.lock().domains.remove(&id).is_some();
        if existed {
            self.emit(Event::Changed(id));
        }
        existed
    }

    /// The whole host loses power: every running guest is found stopped, with one resync.
    pub fn power_failure(&self) {
        for domain in self.lock().domains.values_mut() {
            if is_active(domain.state) {
                domain.state = DomainState::Stopped;
            }
        }
        self.emit(Event::Resync);
    }

    /// Makes the guest ignore (or obey) the power button. False when there is no such domain.
    pub fn ignore_shutdown(&self, id: ServerId, ignore: bool) -> bool {
        match self.lock().domains.get_mut(&id) {
            Some(domain) => {
                domain.ignores_shutdown = ignore;
                true
            }
            None => false,
        }
    }

    /// A domain that is not ours and holds this name: it is never listed, and defining over it fails.
    pub fn add_foreign(&self, name: impl Into<String>) {
        self.lock().foreign_names.insert(name.into());
    }

    /// Sends a hint without cause; hints may always be spurious.
    pub fn emit(&self, event: Event) {
        // No receiver is no error: nobody cares yet.
        let _ = self.events.send(event);
    }

    /// What the agents of guests that are on say of a new password; without it they say nothing.
    pub fn answer_passwords(&self, outcome: PasswordOutcome) {
        self.lock().passwords.0 = outcome;
    }

    /// The user and password that a guest took last.
    pub fn password(&self) -> Option<(String, String)> {
        self.lock().passwords.1.clone()
    }

    /// Where consoles of guests that are on are; without it there are none.
    pub fn set_console(&self, kind: ConsoleKind, console: Console) {
        self.lock().consoles.insert(kind, console);
    }

    /// Someone edits the guest's definition behind our back. False when there is no such domain.
    pub fn edit(&self, id: ServerId, edit: impl FnOnce(&mut DomainSpec)) -> bool {
        self.lock().domains.get_mut(&id).map(|domain| edit(&mut domain.spec)).is_some()
    }

    pub fn spec(&self, id: ServerId) -> Option<DomainSpec> {
        self.lock().domains.get(&id).map(|domain| domain.spec.clone())
    }

    /// The network devices of a guest that runs or is paused, by their MAC addresses.
    pub fn plugged(&self, id: ServerId) -> Vec<String> {
        let state = self.lock();
        let on = state.domains.get(&id).filter(|domain| is_active(domain.state));
        on.into_iter().flat_map(|domain| &domain.plugged).map(|nic| nic.mac.clone()).collect()
    }

    pub fn state(&self, id: ServerId) -> Option<DomainState> {
        self.lock().domains.get(&id).map(|domain| domain.state)
    }

    /// The last calls, oldest first (at most 4096).
    pub fn calls(&self) -> Vec<(Op, Option<ServerId>)> {
        self.lock().calls.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test elsewhere must not hide its cause behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_state(&self, id: ServerId, state: DomainState) -> bool {
        let changed = match self.lock().domains.get_mut(&id) {
            Some(domain) if is_active(domain.state) => {
                domain.state = state;
                true
            }
            _ => false,
        };
        if changed {
            self.emit(Event::Changed(id));
        }
        changed
    }

    /// Records the call and applies what was injected.
    fn enter(&self, op: Op, id: Option<ServerId>) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        if state.calls.len() == CALLS_KEPT {
            state.calls.pop_front();
        }
        state.calls.push_back((op, id));
        if !state.connected {
            return Err(Error::unavailable(
                "libvirt.unavailable",
                "The hypervisor service on the host cannot be reached. The call can be retried once it is back.",
            ));
        }
        match state.faults.get_mut(&op).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

fn is_active(state: DomainState) -> bool {
    matches!(state, DomainState::Running | DomainState::Paused)
}

fn off() -> Error {
    Error::conflict("libvirt.not_running", "The guest does not run.")
}

fn not_found(id: ServerId) -> Error {
    Error::not_found("libvirt.domain_not_found", format!("The host has no guest for server {id}."))
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    async fn host(&self) -> Result<HostInfo, Error> {
        Ok(self.enter(Op::Host, None)?.host.clone())
    }

    async fn list(&self) -> Result<Vec<DomainStatus>, Error> {
        let state = self.enter(Op::List, None)?;
        let status = |(id, domain): (&ServerId, &Domain)| DomainStatus {
            id: *id,
            name: domain.spec.name.clone(),
            state: domain.state,
        };
        Ok(state.domains.iter().map(status).collect())
    }

    async fn define(&self, spec: &DomainSpec) -> Result<(), Error> {
        let mut state = self.enter(Op::Define, Some(spec.id))?;
        if state.foreign_names.contains(&spec.name) {
            return Err(Error::conflict(
                "libvirt.foreign_domain",
                "The host has a guest of this name that Canopy did not make. Rename or remove it by hand.",
            ));
        }
        if state.domains.values().any(|other| other.spec.name == spec.name && other.spec.id != spec.id) {
            return Err(Error::conflict(
                "libvirt.name_taken",
                "Another server on the host has a guest of this name.",
            ));
        }
        match state.domains.get_mut(&spec.id) {
            Some(domain) => domain.spec = spec.clone(),
            None => {
                let domain = Domain {
                    spec: spec.clone(),
                    state: DomainState::Stopped,
                    ignores_shutdown: false,
                    plugged: Vec::new(),
                };
                state.domains.insert(spec.id, domain);
            }
        }
        drop(state);
        self.emit(Event::Changed(spec.id));
        Ok(())
    }

    async fn differences(&self, wanted: &DomainSpec) -> Result<Vec<String>, Error> {
        let state = self.enter(Op::Differences, Some(wanted.id))?;
        let Some(have) = state.domains.get(&wanted.id).map(|domain| &domain.spec) else {
            return Ok(Vec::new());
        };
        let parts = [
            ("memory", have.memory_mib == wanted.memory_mib),
            ("vCPUs", have.vcpus == wanted.vcpus),
            ("disks", have.disks == wanted.disks && have.config_drive == wanted.config_drive),
            ("network devices", have.nics == wanted.nics),
            ("boot", have.boot == wanted.boot),
        ];
        Ok(parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part.to_owned()).collect())
    }

    async fn start(&self, id: ServerId) -> Result<(), Error> {
        let mut state = self.enter(Op::Start, Some(id))?;
        let domain = state.domains.get_mut(&id).ok_or_else(|| not_found(id))?;
        if domain.state == DomainState::Running {
            return Ok(());
        }
        // Paused and suspended guests keep their devices.
        if matches!(domain.state, DomainState::Stopped | DomainState::Crashed) {
            domain.plugged = domain.spec.nics.clone();
        }
        domain.state = DomainState::Running;
        drop(state);
        self.emit(Event::Changed(id));
        Ok(())
    }

    async fn shutdown(&self, id: ServerId) -> Result<(), Error> {
        let obeys = {
            let state = self.enter(Op::Shutdown, Some(id))?;
            let domain = state.domains.get(&id).ok_or_else(|| not_found(id))?;
            // A paused guest cannot see the button.
            domain.state == DomainState::Running && !domain.ignores_shutdown
        };
        if obeys {
            self.become_state(id, DomainState::Stopped);
        }
        Ok(())
    }

    async fn pause(&self, id: ServerId) -> Result<(), Error> {
        let state = self.enter(Op::Pause, Some(id))?.domains.get(&id).ok_or_else(|| not_found(id))?.state;
        if !is_active(state) {
            return Err(off());
        }
        if state == DomainState::Running {
            self.become_state(id, DomainState::Paused);
        }
        Ok(())
    }

    async fn suspend(&self, id: ServerId) -> Result<(), Error> {
        let state = self.enter(Op::Suspend, Some(id))?.domains.get(&id).ok_or_else(|| not_found(id))?.state;
        match state {
            DomainState::Suspended => {}
            state if is_active(state) => drop(self.become_state(id, DomainState::Suspended)),
            _ => return Err(off()),
        }
        Ok(())
    }

    async fn discard_memory(&self, id: ServerId) -> Result<(), Error> {
        let changed = match self.enter(Op::DiscardMemory, Some(id))?.domains.get_mut(&id) {
            Some(domain) if domain.state == DomainState::Suspended => {
                domain.state = DomainState::Stopped;
                true
            }
            _ => false,
        };
        if changed {
            self.emit(Event::Changed(id));
        }
        Ok(())
    }

    async fn copy_disk(&self, id: ServerId, to: &Path) -> Result<(), Error> {
        let state = self.enter(Op::CopyDisk, Some(id))?.domains.get(&id).ok_or_else(|| not_found(id))?.state;
        if !is_active(state) {
            return Err(off());
        }
        let full = |e| Error::unavailable("libvirt.failed", "The copy could not be written.").with_source(e);
        std::fs::write(to, empty_disk()).map_err(full)
    }

    async fn diagnostics(&self, id: ServerId) -> Result<Diagnostics, Error> {
        let state = self.enter(Op::Diagnostics, Some(id))?;
        let domain = state.domains.get(&id).ok_or_else(|| not_found(id))?;
        if !is_active(domain.state) {
            return Err(off());
        }
        let (spec, memory) = (&domain.spec, u64::try_from(domain.spec.memory_mib).unwrap_or(0) << 10);
        Ok(Diagnostics {
            paused: domain.state == DomainState::Paused,
            hypervisor: "qemu".into(),
            // Nothing takes time here.
            cpus: (0..).zip(0..spec.vcpus).map(|(id, _)| CpuFigures { id, time: 0 }).collect(),
            memory: MemoryFigures { maximum: memory, used: memory, resident: None },
            disks: ('a'..='z')
                .zip(&spec.disks)
                .map(|(letter, _)| DiskFigures { device: format!("vd{letter}"), ..DiskFigures::default() })
                .collect(),
            nics: domain
                .plugged
                .iter()
                .map(|nic| NicFigures {
                    device: nic.tap.clone(),
                    mac: nic.mac.clone(),
                    ..NicFigures::default()
                })
                .collect(),
        })
    }

    async fn set_password(&self, id: ServerId, user: &str, password: &str) -> Result<PasswordOutcome, Error> {
        let mut state = self.enter(Op::SetPassword, Some(id))?;
        if !state.domains.get(&id).is_some_and(|domain| is_active(domain.state)) {
            return Ok(PasswordOutcome::Off);
        }
        if state.passwords.0 == PasswordOutcome::Set {
            state.passwords.1 = Some((user.to_owned(), password.to_owned()));
        }
        Ok(state.passwords.0)
    }

    async fn console(&self, id: ServerId, kind: ConsoleKind) -> Result<Console, Error> {
        let state = self.enter(Op::Console, Some(id))?;
        let on = state.domains.get(&id).is_some_and(|domain| is_active(domain.state));
        let console = state.consoles.get(&kind).cloned().unwrap_or(Console::Unavailable);
        Ok(if on { console } else { Console::Off })
    }

    async fn plug(&self, id: ServerId, nic: &Nic) -> Result<(), Error> {
        let mut state = self.enter(Op::Plug, Some(id))?;
        let domain = state.domains.get_mut(&id).ok_or_else(|| not_found(id))?;
        if !is_active(domain.state) {
            return Err(off());
        }
        if !domain.plugged.iter().any(|has| has.mac == nic.mac) {
            domain.plugged.push(nic.clone());
        }
        Ok(())
    }

    async fn unplug(&self, id: ServerId, nic: &Nic) -> Result<(), Error> {
        let mut state = self.enter(Op::Unplug, Some(id))?;
        if let Some(domain) = state.domains.get_mut(&id) {
            domain.plugged.retain(|has| has.mac != nic.mac);
        }
        Ok(())
    }

    async fn destroy(&self, id: ServerId) -> Result<(), Error> {
        drop(self.enter(Op::Destroy, Some(id))?);
        self.become_state(id, DomainState::Stopped);
        Ok(())
    }

    async fn undefine(&self, id: ServerId) -> Result<(), Error> {
        drop(self.enter(Op::Undefine, Some(id))?);
        self.forget(id);
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Boot;

    fn spec(id: ServerId, name: &str) -> DomainSpec {
        DomainSpec {
            id,
            name: name.into(),
            title: "t".into(),
            project_id: "p".into(),
            vcpus: 1,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: vec![],
            config_drive: None,
            nics: vec![],
            console_log: "/dev/null".into(),
            console_socket: None,
        }
    }

    #[tokio::test]
    async fn every_call_is_idempotent() {
        let fake = FakeHypervisor::new();
        let id = ServerId::random();
        let code = |result: Result<(), Error>| result.map_err(|e| e.code);
        assert_eq!(code(fake.start(id).await), Err("libvirt.domain_not_found"));
        assert_eq!(code(fake.shutdown(id).await), Err("libvirt.domain_not_found"));
        assert_eq!(code(fake.destroy(id).await), Ok(()));
        assert_eq!(code(fake.undefine(id).await), Ok(()));
        for _ in 0..2 {
            fake.define(&spec(id, "a")).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Stopped));
        }
        for _ in 0..2 {
            fake.start(id).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Running));
        }
        fake.define(&spec(id, "b")).await.unwrap();
        assert_eq!(fake.state(id), Some(DomainState::Running), "defining does not stop");
        assert_eq!(fake.spec(id).unwrap().name, "b");
        for _ in 0..2 {
            fake.pause(id).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Paused));
        }
        for _ in 0..2 {
            fake.suspend(id).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Suspended));
        }
        assert_eq!(code(fake.pause(id).await), Err("libvirt.not_running"));
        fake.start(id).await.unwrap();
        assert_eq!(fake.state(id), Some(DomainState::Running), "with its memory");
        fake.suspend(id).await.unwrap();
        for _ in 0..2 {
            fake.discard_memory(id).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Stopped));
        }
        assert_eq!(code(fake.suspend(id).await), Err("libvirt.not_running"));
        for _ in 0..2 {
            fake.destroy(id).await.unwrap();
            assert_eq!(fake.state(id), Some(DomainState::Stopped));
        }
        for _ in 0..2 {
            fake.shutdown(id).await.unwrap();
        }
        for _ in 0..2 {
            fake.undefine(id).await.unwrap();
            assert_eq!(fake.state(id), None);
        }
        assert!(fake.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn faults_hit_once_and_change_nothing() {
        let fake = FakeHypervisor::new();
        let id = ServerId::random();
        fake.define(&spec(id, "a")).await.unwrap();
        fake.fail_next(Op::Start, Error::unavailable("libvirt.timeout", "slow"));
        assert_eq!(fake.start(id).await.unwrap_err().code, "libvirt.timeout");
        assert_eq!(fake.state(id), Some(DomainState::Stopped));
        fake.start(id).await.unwrap();
        fake.disconnect();
        assert_eq!(fake.list().await.unwrap_err().code, "libvirt.unavailable");
        let mut events = fake.events();
        fake.reconnect();
        assert_eq!(events.try_recv(), Ok(Event::Resync));
        assert_eq!(fake.list().await.unwrap().len(), 1);
        assert_eq!(fake.calls().len(), 5);
    }

    #[tokio::test]
    async fn guests_change_behind_our_back_and_say_so() {
        let fake = FakeHypervisor::new();
        let id = ServerId::random();
        fake.define(&spec(id, "a")).await.unwrap();
        fake.start(id).await.unwrap();
        let mut events = fake.clone().events();
        assert!(fake.kill(id));
        assert_eq!(events.try_recv(), Ok(Event::Changed(id)));
        assert_eq!(fake.list().await.unwrap()[0].state, DomainState::Crashed);
        assert!(!fake.kill(id), "it is dead already");
        fake.start(id).await.unwrap();
        fake.ignore_shutdown(id, true);
        fake.shutdown(id).await.unwrap();
        assert_eq!(fake.state(id), Some(DomainState::Running));
        fake.ignore_shutdown(id, false);
        fake.shutdown(id).await.unwrap();
        assert_eq!(fake.state(id), Some(DomainState::Stopped));
    }

    #[tokio::test]
    async fn names_are_not_stolen() {
        let fake = FakeHypervisor::new();
        fake.add_foreign("theirs");
        let (a, b) = (ServerId::random(), ServerId::random());
        assert_eq!(fake.define(&spec(a, "theirs")).await.unwrap_err().code, "libvirt.foreign_domain");
        fake.define(&spec(a, "ours")).await.unwrap();
        assert_eq!(fake.define(&spec(b, "ours")).await.unwrap_err().code, "libvirt.name_taken");
        assert_eq!(fake.list().await.unwrap().len(), 1);
    }
}
