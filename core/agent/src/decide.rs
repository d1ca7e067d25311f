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
use canopy_types::server::Phase;

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
    WriteConfigDrive,
    Define,
    Start,
    Shutdown,
    Destroy,
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
            Self::WriteConfigDrive => "write_config_drive",
            Self::Define => "define",
            Self::Start => "start",
            Self::Shutdown => "shutdown",
            Self::Destroy => "destroy",
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
            Self::FetchImages | Self::MakeDisk | Self::WriteConfigDrive => Some(Phase::BlockDeviceMapping),
            Self::Define | Self::Start => Some(Phase::Spawning),
            _ => None,
        }
    }

    /// A step whose repeated failure ends in [`Phase::Failed`]. The others are repeated until they work:
    /// giving up on a stop or a removal would leave a guest running that nobody wants.
    pub fn may_fail(self) -> bool {
        self.phase().is_some()
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
    let on = is_on(view.domain);
    let open = spec.power.n > record.power_n;
    if open && on == spec.power.on {
        return Step::Satisfy;
    }
    if record.failed.as_ref().is_some_and(|f| f.n >= spec.power.n) {
        // A build that never ran gives its space back; a server that ran once keeps its disk.
        let left = view.domain.is_some() || view.local.disk || view.local.config_drive;
        return if record.power_n == 0 && left { Step::GiveBack } else { Step::Nothing };
    }
    if open && !spec.power.on {
        return power_off(view);
    }
    if open || resume_after_reboot(view, spec, record) {
        return bring_up(view, spec, record);
    }
    // Seen in this boot: from now on a stop is the guest's own.
    if view.rebooted { Step::Satisfy } else { Step::Nothing }
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
        () if spec.config_drive && !local.config_drive => Step::WriteConfigDrive,
        () if view.domain.is_none() || record.definition.as_deref() != view.definition => Step::Define,
        () => Step::Start,
    }
}

/// The phase to report when there is nothing to do.
pub fn settled(view: &View<'_>) -> Phase {
    let failure = view.record.and_then(|r| r.failed.as_ref());
    let failed = match (view.spec, failure) {
        (Some(spec), Some(failure)) => failure.n >= spec.power.n,
        _ => false,
    };
    match view.domain {
        _ if failed && !is_on(view.domain) => Phase::Failed,
        Some(DomainState::Running) => Phase::Running,
        Some(DomainState::Paused) => Phase::Paused,
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

    const DONE: Local = Local { folder: true, network: true, images: true, disk: true, config_drive: true };
    const NONE: Local =
        Local { folder: false, network: false, images: false, disk: false, config_drive: false };

    struct Row {
        what: &'static str,
        on: bool,
        n: i64,
        satisfied: i64,
        domain: Option<D>,
        local: Local,
        shutdown: Sh,
        expect: S,
    }

    fn row(what: &'static str, (on, n, satisfied): (bool, i64, i64), domain: Option<D>, expect: S) -> Row {
        Row { what, on, n, satisfied, domain, local: DONE, shutdown: Sh::NotAsked, expect }
    }

    fn at(local: Local, row: Row) -> Row {
        Row { local, ..row }
    }

    fn asked(shutdown: Sh, row: Row) -> Row {
        Row { shutdown, ..row }
    }

    #[test]
    fn the_table() {
        let (run, stop) = (Some(D::Running), Some(D::Stopped));
        let (network, images) = (Local { network: true, ..NONE }, Local { disk: false, ..DONE });
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
        ];
        for r in rows {
            let mut spec = testing::spec();
            spec.config_drive = true;
            spec.power = PowerIntent { on: r.on, n: r.n };
            let mut record = Record::new(spec.id, "boot");
            record.power_n = r.satisfied;
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
        spec.power = PowerIntent { on: false, n: record.power_n };
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
