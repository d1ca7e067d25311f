//! What to do next for one server: a pure function of what is wanted, what is there and what the agent
//! remembers.
//!
//! Power is an intent with a number. An intent newer than the satisfied one is acted on until the
//! domain's state matches; then it is satisfied and never applied again. So a guest that powers itself
//! off stays off, and one killed behind our back is reported and not restarted. The one exception is a
//! reboot of the *host*: a guest that should run and ran when last seen is started again, because its
//! owner never asked for it to stop.

use crate::record::Record;
use canopy_agent_api::ServerSpec;
use canopy_hypervisor::DomainState;
use canopy_types::server::{How, Phase};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// `None` when the controller no longer knows the server.
    pub spec: Option<&'a ServerSpec>,
    /// Hash of the definition that `spec` asks for; `None` while it cannot be made yet.
    pub definition: Option<&'a str>,
    pub domain: Option<DomainState>,
    pub record: Option<&'a Record>,
    pub local: Local,
    /// The host has booted since the record was written.
    pub rebooted: bool,
    pub shutdown: Shutdown,
}

/// What has been made already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Its folder exists.
    pub folder: bool,
    /// The networks are in force at the revision of the spec.
    pub network: bool,
    /// Every image is in the host's cache.
    pub images: bool,
    pub disk: bool,
    pub config_drive: bool,
    /// The disk has fewer bytes than the flavor says.
    pub small: bool,
    /// The disk as it was before the resize that is under way.
    pub kept: bool,
    /// A disk of any resize.
    pub keeps_any: bool,
    /// The disk that it is rescued with, where it is to be rescued.
    pub rescue: bool,
}

impl Local {
    /// Nothing is missing, and nothing is left over.
    pub const DONE: Self = Self {
        folder: true,
        network: true,
        images: true,
        disk: true,
        config_drive: true,
        small: false,
        kept: false,
        keeps_any: false,
        rescue: true,
    };
}

/// How far asking the guest to power off has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    NotAsked,
    Waiting,
    /// The guest did not react within its deadline.
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Wait for something to change.
    Nothing,
    /// Write the marker, before anything of the server exists.
    Adopt,
    PrepareNetwork,
    FetchImages,
    MakeDisk,
    /// The disk as it is gets a second name, under which it stays when the disk is grown.
    KeepDisk,
    GrowDisk,
    /// What was kept takes the disk's place again.
    PutBack,
    /// The disk is copied and sent to the image store.
    Snapshot,
    /// The guest's network devices come and go.
    Rewire,
    DropKept,
    MakeRescueDisk,
    /// The guest is off and is to boot from something else: what it was rescued with goes.
    DropRescue,
    WriteConfigDrive,
    Define,
    Start,
    Shutdown,
    Destroy,
    Pause,
    Suspend,
    /// The memory of a suspended guest goes: it is to start anew.
    DiscardMemory,
    /// The guest is off, as the first half of an intent wants: remember that.
    Cycled,
    /// The guest is off and its disk is to be made anew: disk and config drive go.
    Wipe,
    /// The state matches the intent: remember its number.
    Satisfy,
    /// Everything of a failed build goes, but for the record of the failure.
    GiveBack,
    /// Domain and files go.
    Remove,
    /// The controller has forgotten it and nothing is left.
    Forget,
}

impl Step {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Adopt => "adopt",
            Self::PrepareNetwork => "prepare_network",
            Self::FetchImages => "fetch_images",
            Self::MakeDisk => "make_disk",
            Self::KeepDisk => "keep_disk",
            Self::GrowDisk => "grow_disk",
            Self::Snapshot => "snapshot",
            Self::Rewire => "rewire",
            Self::PutBack => "put_back",
            Self::DropKept => "drop_kept",
            Self::MakeRescueDisk => "make_rescue_disk",
            Self::DropRescue => "drop_rescue",
            Self::WriteConfigDrive => "write_config_drive",
            Self::Define => "define",
            Self::Start => "start",
            Self::Shutdown => "shutdown",
            Self::Destroy => "destroy",
            Self::Pause => "pause",
            Self::Suspend => "suspend",
            Self::DiscardMemory => "discard_memory",
            Self::Cycled => "cycled",
            Self::Wipe => "wipe",
            Self::Satisfy => "satisfy",
            Self::GiveBack => "give_back",
            Self::Remove => "remove",
            Self::Forget => "forget",
        }
    }

    /// The phase a client sees while this step works; `None` leaves it as it was.
    pub fn phase(self) -> Option<Phase> {
        match self {
            Self::Adopt | Self::PrepareNetwork => Some(Phase::Networking),
            Self::Wipe
            | Self::FetchImages
            | Self::MakeDisk
            | Self::KeepDisk
            | Self::GrowDisk
            | Self::MakeRescueDisk
            | Self::WriteConfigDrive => Some(Phase::BlockDeviceMapping),
            Self::Define | Self::Start => Some(Phase::Spawning),
            _ => None,
        }
    }

    /// A step whose repeated failure ends in [`Phase::Failed`], so that its owner is told why and can act. What is
    /// neither among these nor dropped is repeated until it works: removals, which nobody could ask for again, and what
    /// has a deadline of its own.
    pub fn may_fail(self) -> bool {
        let takes_down = matches!(
            self,
            Self::Destroy | Self::DiscardMemory | Self::Wipe | Self::DropRescue | Self::PutBack
        );
        takes_down || self.phase().is_some()
    }

    /// A step whose repeated failure ends the intent and leaves the guest as it is: it still runs, and
    /// nothing of it was lost.
    pub fn may_be_dropped(self) -> bool {
        matches!(self, Self::Pause | Self::Suspend | Self::Snapshot | Self::Rewire | Self::DropKept)
    }
}

/// Whether the domain counts as powered on. A paused guest has its power.
pub fn is_on(domain: Option<DomainState>) -> bool {
    matches!(domain, Some(DomainState::Running | DomainState::Paused))
}

/// Whether the agent has to bring the guest up although its intent is satisfied.
fn resume_after_reboot(view: &View<'_>, spec: &ServerSpec, record: &Record) -> bool {
    view.rebooted && spec.power.on && record.was_running && !is_on(view.domain)
}

/// Whether an open intent has what it wants.
fn satisfied(view: &View<'_>, spec: &ServerSpec, record: &Record) -> bool {
    let domain = view.domain;
    match spec.power.how {
        How::Accept => true,
        How::Plain | How::Shelve | How::Unshelve | How::SoftDelete | How::Restore => {
            is_on(domain) == spec.power.on
        }
        How::ConfirmResize => !view.local.keeps_any,
        How::Snapshot | How::Rewire => false,
        // A guest that went off meanwhile did so by its own will: it is not started to be paused.
        How::Pause | How::Suspend if !is_on(domain) => true,
        How::Pause => domain == Some(DomainState::Paused),
        How::Suspend => false,
        How::Unpause => domain != Some(DomainState::Paused),
        How::Resume => domain == Some(DomainState::Running),
        How::SoftReboot
        | How::HardReboot
        | How::Rebuild
        | How::Resize
        | How::RevertResize
        | How::Rescue
        | How::Unrescue => record.cycled_n >= spec.power.n && spec.power.on && is_on(domain),
    }
}

pub fn decide(view: &View<'_>) -> Step {
    let Some(spec) = view.spec else {
        return if view.record.is_some() { Step::Remove } else { Step::Forget };
    };
    if spec.deleted {
        // The controller names it, so it is ours also when the record was lost.
        let anything = view.record.is_some() || view.domain.is_some() || view.local.folder;
        return if anything { Step::Remove } else { Step::Nothing };
    }
    let Some(record) = view.record else { return Step::Adopt };
    let open = spec.power.n > record.power_n;
    if open && satisfied(view, spec, record) {
        return Step::Satisfy;
    }
    // A host that has booted again may well be able to do now what it could not.
    let anew = record.power_n > 0 && resume_after_reboot(view, spec, record);
    if !anew && record.failed.as_ref().is_some_and(|f| f.n >= spec.power.n) {
        // A build that never ran gives its space back; a server that ran once keeps its disk.
        let built_here = record.power_n == 0 && !record.found && !is_on(view.domain);
        let left = view.domain.is_some() || view.local.disk || view.local.config_drive;
        return if built_here && left { Step::GiveBack } else { Step::Nothing };
    }
    if open {
        match (spec.power.how, view.domain) {
            (How::Pause, _) => return Step::Pause,
            (How::Suspend, _) => return Step::Suspend,
            (How::ConfirmResize, _) => return Step::DropKept,
            (How::Snapshot, _) => return Step::Snapshot,
            (How::Rewire, _) => return Step::Rewire,
            (how, domain) if how.cycles() && record.cycled_n < spec.power.n => {
                return match domain {
                    Some(DomainState::Suspended) => Step::DiscardMemory,
                    Some(DomainState::Running | DomainState::Paused) if how.is_gentle() => power_off(view),
                    Some(DomainState::Running | DomainState::Paused) => Step::Destroy,
                    Some(DomainState::Stopped | DomainState::Crashed) | None => while_off(how, view.local),
                };
            }
            // Everything but the start.
            (how, _) if how.cycles() && !spec.power.on => {
                return match bring_up(view, spec, record) {
                    Step::Start => Step::Satisfy,
                    step => step,
                };
            }
            _ if !spec.power.on => return power_off(view),
            _ => {}
        }
    }
    if open || resume_after_reboot(view, spec, record) {
        return bring_up(view, spec, record);
    }
    // Seen in this boot: from now on a stop is the guest's own.
    if view.rebooted { Step::Satisfy } else { Step::Nothing }
}

/// What is done between off and on again.
fn while_off(how: How, local: Local) -> Step {
    match how {
        How::Rebuild => Step::Wipe,
        How::Resize if local.disk && local.small && !local.kept => Step::KeepDisk,
        How::RevertResize if local.kept => Step::PutBack,
        // Also one that is left of an earlier rescue.
        How::Rescue | How::Unrescue => Step::DropRescue,
        _ => Step::Cycled,
    }
}

fn power_off(view: &View<'_>) -> Step {
    match (view.domain, view.shutdown) {
        // A paused guest cannot hear the power button.
        (Some(DomainState::Paused), _) | (_, Shutdown::Expired) => Step::Destroy,
        (_, Shutdown::NotAsked) => Step::Shutdown,
        (_, Shutdown::Waiting) => Step::Nothing,
    }
}

fn bring_up(view: &View<'_>, spec: &ServerSpec, record: &Record) -> Step {
    let local = view.local;
    match () {
        () if !local.network => Step::PrepareNetwork,
        () if !local.images => Step::FetchImages,
        () if !local.disk => Step::MakeDisk,
        () if local.small => Step::GrowDisk,
        () if !local.rescue => Step::MakeRescueDisk,
        () if spec.config_drive && !local.config_drive => Step::WriteConfigDrive,
        () if view.domain.is_none() || record.definition.as_deref() != view.definition => Step::Define,
        () => Step::Start,
    }
}

/// The phase to report when there is nothing to do.
pub fn settled(view: &View<'_>) -> Phase {
    let failure = view.record.and_then(|r| r.failed.as_ref());
    let failed = match (view.spec, view.record, failure) {
        (Some(spec), Some(record), Some(failure)) => {
            // Also of a guest that could not be taken down, until it is as it was wanted after all.
            let missed = spec.power.n > record.power_n && !satisfied(view, spec, record);
            failure.n >= spec.power.n && (missed || !is_on(view.domain))
        }
        _ => false,
    };
    match view.domain {
        _ if failed => Phase::Failed,
        Some(DomainState::Running) => Phase::Running,
        Some(DomainState::Paused) => Phase::Paused,
        Some(DomainState::Suspended) => Phase::Suspended,
        Some(DomainState::Stopped | DomainState::Crashed) => Phase::Stopped,
        None if view.record.is_none() && !view.local.folder => Phase::Gone,
        None if view.local.disk || view.record.is_some_and(|r| r.power_n > 0) => Phase::Stopped,
        None => Phase::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Failure;
    use crate::testing;
    use canopy_types::server::PowerIntent;
    use {DomainState as D, Shutdown as Sh, Step as S};

    const DONE: Local = Local::DONE;
    const NONE: Local =
        Local { folder: false, network: false, images: false, disk: false, config_drive: false, ..DONE };

    struct Row {
        what: &'static str,
        how: How,
        cycled: i64,
        on: bool,
        n: i64,
        satisfied: i64,
        domain: Option<D>,
        local: Local,
        shutdown: Sh,
        expect: S,
    }

    fn row(what: &'static str, (on, n, satisfied): (bool, i64, i64), domain: Option<D>, expect: S) -> Row {
        let (how, cycled) = (How::Plain, 0);
        Row { what, how, cycled, on, n, satisfied, domain, local: DONE, shutdown: Sh::NotAsked, expect }
    }

    fn at(local: Local, row: Row) -> Row {
        Row { local, ..row }
    }

    fn how(how: How, row: Row) -> Row {
        Row { how, ..row }
    }

    fn cycled(row: Row) -> Row {
        Row { cycled: row.n, ..row }
    }

    fn asked(shutdown: Sh, row: Row) -> Row {
        Row { shutdown, ..row }
    }

    #[test]
    fn the_table() {
        let (run, stop) = (Some(D::Running), Some(D::Stopped));
        let (paused, saved) = (Some(D::Paused), Some(D::Suspended));
        let (network, images) = (Local { network: true, ..NONE }, Local { disk: false, ..DONE });
        let small = Local { small: true, ..DONE };
        let kept = Local { kept: true, keeps_any: true, ..small };
        let grown = Local { small: false, ..kept };
        let bare = Local { rescue: false, ..DONE };
        let rows = [
            at(NONE, row("a build begins with the network", (true, 1, 0), None, S::PrepareNetwork)),
            at(network, row("then the images", (true, 1, 0), None, S::FetchImages)),
            at(images, row("then the disk", (true, 1, 0), None, S::MakeDisk)),
            at(
                Local { config_drive: false, ..DONE },
                row("then the drive", (true, 1, 0), None, S::WriteConfigDrive),
            ),
            row("then the domain", (true, 1, 0), None, S::Define),
            row("then it starts", (true, 1, 0), stop, S::Start),
            row("found running after a crash: adopted", (true, 1, 0), run, S::Satisfy),
            row("running as wanted", (true, 1, 1), run, S::Nothing),
            row("powered itself off: stays off", (true, 1, 1), stop, S::Nothing),
            row("crashed: stays off", (true, 1, 1), Some(D::Crashed), S::Nothing),
            row("undefined behind our back: left so", (true, 1, 1), None, S::Nothing),
            row("a paused guest is on", (true, 2, 1), Some(D::Paused), S::Satisfy),
            row("asked to stop", (false, 2, 1), run, S::Shutdown),
            asked(Sh::Waiting, row("given time", (false, 2, 1), run, S::Nothing)),
            asked(Sh::Expired, row("does not listen", (false, 2, 1), run, S::Destroy)),
            row("paused guests cannot listen", (false, 2, 1), Some(D::Paused), S::Destroy),
            row("stopped already", (false, 2, 1), stop, S::Satisfy),
            row("nothing there to stop", (false, 2, 1), None, S::Satisfy),
            row("started by hand after a stop: left so", (false, 2, 2), run, S::Nothing),
            row("start again", (true, 3, 2), stop, S::Start),
            row("stop and start while running: matches", (true, 3, 1), run, S::Satisfy),
            row("an older intent arrives late", (false, 1, 2), run, S::Nothing),
            how(How::Pause, row("pause", (true, 2, 1), run, S::Pause)),
            how(How::Pause, row("paused", (true, 2, 1), paused, S::Satisfy)),
            how(How::Pause, row("off before it was paused", (true, 2, 1), stop, S::Satisfy)),
            how(How::Unpause, row("unpause", (true, 2, 1), paused, S::Start)),
            how(How::Unpause, row("unpaused", (true, 2, 1), run, S::Satisfy)),
            how(How::Unpause, row("its own will", (true, 2, 1), stop, S::Satisfy)),
            how(How::Suspend, row("suspend", (false, 2, 1), run, S::Suspend)),
            how(How::Suspend, row("suspend what is paused", (false, 2, 1), paused, S::Suspend)),
            how(How::Suspend, row("suspended", (false, 2, 1), saved, S::Satisfy)),
            how(How::Resume, row("resume", (true, 2, 1), saved, S::Start)),
            how(How::Resume, row("resume, the memory lost", (true, 2, 1), stop, S::Start)),
            how(How::Resume, row("resumed", (true, 2, 1), run, S::Satisfy)),
            row("a suspended guest is off", (false, 2, 1), saved, S::Satisfy),
            how(How::SoftReboot, row("soft: asks", (true, 2, 1), run, S::Shutdown)),
            asked(Sh::Expired, how(How::SoftReboot, row("soft: cuts", (true, 2, 1), run, S::Destroy))),
            how(How::SoftReboot, row("soft: off", (true, 2, 1), stop, S::Cycled)),
            cycled(how(How::SoftReboot, row("soft: on again", (true, 2, 1), stop, S::Start))),
            cycled(how(How::SoftReboot, row("soft: done", (true, 2, 1), run, S::Satisfy))),
            how(How::HardReboot, row("hard: cuts", (true, 2, 1), run, S::Destroy)),
            how(How::HardReboot, row("hard: its memory too", (true, 2, 1), saved, S::DiscardMemory)),
            how(How::HardReboot, row("hard: never defined", (true, 2, 1), None, S::Cycled)),
            cycled(how(How::HardReboot, row("hard: on again", (true, 2, 1), None, S::Define))),
            how(How::Rebuild, row("rebuild: cuts", (true, 2, 1), run, S::Destroy)),
            how(How::Rebuild, row("rebuild: its memory too", (true, 2, 1), saved, S::DiscardMemory)),
            how(How::Rebuild, row("rebuild: wipes", (true, 2, 1), stop, S::Wipe)),
            cycled(at(
                images,
                how(How::Rebuild, row("rebuild: a new disk", (true, 2, 1), stop, S::MakeDisk)),
            )),
            cycled(how(How::Rebuild, row("rebuild: on again", (true, 2, 1), stop, S::Start))),
            cycled(how(How::Rebuild, row("rebuild: done", (true, 2, 1), run, S::Satisfy))),
            cycled(at(
                images,
                how(How::Rebuild, row("rebuild, off: a disk", (false, 2, 1), stop, S::MakeDisk)),
            )),
            cycled(how(How::Rebuild, row("rebuild, off: done", (false, 2, 1), stop, S::Satisfy))),
            how(How::Resize, row("resize: asks", (true, 2, 1), run, S::Shutdown)),
            at(small, how(How::Resize, row("resize: keeps the disk", (true, 2, 1), stop, S::KeepDisk))),
            at(kept, how(How::Resize, row("resize: kept", (true, 2, 1), stop, S::Cycled))),
            how(How::Resize, row("resize: as large already", (true, 2, 1), stop, S::Cycled)),
            cycled(at(kept, how(How::Resize, row("resize: grows", (true, 2, 1), stop, S::GrowDisk)))),
            cycled(how(How::Resize, row("resize: on again", (true, 2, 1), stop, S::Start))),
            cycled(how(How::Resize, row("resize, off: done", (false, 2, 1), stop, S::Satisfy))),
            at(grown, how(How::RevertResize, row("revert: cuts", (true, 2, 1), run, S::Destroy))),
            at(grown, how(How::RevertResize, row("revert: puts back", (true, 2, 1), stop, S::PutBack))),
            how(How::RevertResize, row("revert: nothing was kept", (true, 2, 1), stop, S::Cycled)),
            at(grown, how(How::ConfirmResize, row("confirm", (true, 2, 1), run, S::DropKept))),
            at(grown, how(How::ConfirmResize, row("confirm, off", (true, 2, 1), stop, S::DropKept))),
            how(How::ConfirmResize, row("confirmed, off by itself", (true, 2, 1), stop, S::Satisfy)),
            how(How::Rescue, row("rescue: asks", (true, 2, 1), run, S::Shutdown)),
            how(How::Rescue, row("rescue: no older one", (true, 2, 1), stop, S::DropRescue)),
            cycled(at(bare, how(How::Rescue, row("rescue: a disk", (true, 2, 1), stop, S::MakeRescueDisk)))),
            how(How::Unrescue, row("unrescue: cuts", (true, 2, 1), run, S::Destroy)),
            how(How::Unrescue, row("unrescue: its disk goes", (true, 2, 1), stop, S::DropRescue)),
            how(How::Shelve, row("shelve", (false, 2, 1), run, S::Shutdown)),
            how(How::Unshelve, row("unshelve", (true, 2, 1), stop, S::Start)),
            how(How::SoftDelete, row("soft delete", (false, 2, 1), stop, S::Satisfy)),
            how(How::Restore, row("restore", (true, 2, 1), stop, S::Start)),
            how(How::Snapshot, row("snapshot of a guest that runs", (true, 2, 1), run, S::Snapshot)),
            how(How::Snapshot, row("snapshot of one that does not", (false, 2, 1), stop, S::Snapshot)),
            how(How::Rewire, row("devices of a guest that runs", (true, 2, 1), run, S::Rewire)),
            how(How::Rewire, row("devices of one that does not", (false, 2, 1), stop, S::Rewire)),
            how(How::Accept, row("accepted as it is, on", (false, 2, 1), run, S::Satisfy)),
            how(How::Accept, row("accepted as it is, off", (true, 2, 1), stop, S::Satisfy)),
            how(How::Accept, row("accepted before it was built", (true, 2, 0), None, S::Satisfy)),
        ];
        for r in rows {
            let mut spec = testing::spec();
            spec.config_drive = true;
            spec.power = PowerIntent { on: r.on, n: r.n, how: r.how };
            let mut record = Record::new(spec.id, "boot");
            record.power_n = r.satisfied;
            record.cycled_n = r.cycled;
            record.definition = Some("d".into());
            let view = View {
                spec: Some(&spec),
                definition: Some("d"),
                domain: r.domain,
                record: Some(&record),
                local: r.local,
                rebooted: false,
                shutdown: r.shutdown,
            };
            assert_eq!(decide(&view), r.expect, "{}", r.what);
        }
    }

    fn view<'a>(spec: &'a ServerSpec, record: Option<&'a Record>, domain: Option<D>) -> View<'a> {
        View {
            spec: Some(spec),
            definition: Some("d"),
            domain,
            record,
            local: DONE,
            rebooted: false,
            shutdown: Sh::NotAsked,
        }
    }

    #[test]
    fn the_marker_comes_first_and_goes_last() {
        let mut spec = testing::spec();
        assert_eq!(decide(&view(&spec, None, None)), S::Adopt);
        spec.deleted = true;
        let record = Record::new(spec.id, "boot");
        assert_eq!(decide(&view(&spec, Some(&record), Some(D::Running))), S::Remove);
        assert_eq!(decide(&view(&spec, Some(&record), None)), S::Remove);
        assert_eq!(decide(&view(&spec, None, Some(D::Running))), S::Remove, "the record was lost");
        let gone = View { local: NONE, ..view(&spec, None, None) };
        assert_eq!((decide(&gone), settled(&gone)), (S::Nothing, Phase::Gone));
        assert_eq!(decide(&View { spec: None, ..gone.clone() }), S::Forget);
        assert_eq!(decide(&View { spec: None, record: Some(&record), ..gone }), S::Remove);
    }

    #[test]
    fn a_changed_definition_is_defined_before_the_next_start_only() {
        let spec = testing::spec();
        let mut record = Record::new(spec.id, "boot");
        record.definition = Some("old".into());
        assert_eq!(decide(&view(&spec, Some(&record), Some(D::Stopped))), S::Define);
        record.power_n = spec.power.n;
        assert_eq!(decide(&view(&spec, Some(&record), Some(D::Running))), S::Nothing);
    }

    #[test]
    fn a_reboot_of_the_host_starts_what_ran() {
        let mut spec = testing::spec();
        let mut record = Record::new(spec.id, "boot");
        record.power_n = spec.power.n;
        record.definition = Some("d".into());
        record.was_running = true;
        fn rebooted(spec: &ServerSpec, record: &Record, domain: D) -> Step {
            decide(&View { rebooted: true, ..view(spec, Some(record), Some(domain)) })
        }
        assert_eq!(rebooted(&spec, &record, D::Stopped), S::Start);
        assert_eq!(rebooted(&spec, &record, D::Running), S::Satisfy);
        record.was_running = false;
        assert_eq!(rebooted(&spec, &record, D::Stopped), S::Satisfy, "it was off: stays off");
        record.was_running = true;
        spec.power = PowerIntent::plain(false, record.power_n);
        assert_eq!(rebooted(&spec, &record, D::Stopped), S::Satisfy, "its intent is off");
    }

    #[test]
    fn a_failure_holds_until_a_newer_intent_or_until_it_runs_after_all() {
        let mut spec = testing::spec();
        let mut record = Record::new(spec.id, "boot");
        record.failed = Some(Failure { n: spec.power.n, message: "no".into() });
        let failed = view(&spec, Some(&record), None);
        assert_eq!((decide(&failed), settled(&failed)), (S::GiveBack, Phase::Failed));
        let given = View { local: NONE, ..failed.clone() };
        assert_eq!((decide(&given), settled(&given)), (S::Nothing, Phase::Failed));
        let ran_before = Record { power_n: 1, ..record.clone() };
        let mut later = spec.clone();
        later.power.n = 2;
        let kept = Record { failed: Some(Failure { n: 2, message: "no".into() }), ..ran_before };
        assert_eq!(decide(&view(&later, Some(&kept), Some(D::Stopped))), S::Nothing, "its disk is kept");
        assert_eq!(decide(&view(&spec, Some(&record), Some(D::Running))), S::Satisfy);
        spec.power.n += 1;
        let again = View { local: NONE, ..view(&spec, Some(&record), None) };
        assert_eq!(decide(&again), S::PrepareNetwork);
    }
}
