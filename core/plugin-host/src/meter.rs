//! What is counted per loaded plugin: calls, how long they took, faults by kind, memory; and the last faults in
//! words. In `/metrics` for machines, in [`Stats`] for operators and for the demotion of who fails too often.

use crate::fault::Fault;
use crate::manifest::{Manifest, PluginKind};
use canopy_types::{Clock, SystemClock, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Faults that are kept in words.
const NOTES: usize = 100;
/// Faults whose time is kept; no demotion needs more.
pub const MAX_FAULTS: usize = 1_000;
/// Steps per doubling of a duration: a quantile is at most an eighth too high.
const STEPS: usize = 8;

/// What one loaded plugin has done since it was loaded in this process.
pub struct Stats {
    pub name: String,
    pub version: String,
    pub kind: PluginKind,
    /// sha256 of the component.
    pub digest: String,
    /// sha256 of the configuration that `init` gets.
    pub config: String,
    calls: AtomicU64,
    /// Nanoseconds, by powers of two in [`STEPS`] steps.
    durations: Box<[AtomicU64]>,
    faults: Mutex<Faults>,
    peak: Arc<AtomicU64>,
    told: Arc<Notify>,
}

#[derive(Default)]
struct Faults {
    by_label: Vec<(&'static str, u64)>,
    notes: VecDeque<Note>,
    /// Of the plugin's own faults, oldest first.
    times: VecDeque<Instant>,
}

/// One fault, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    /// [`Fault::label`].
    pub fault: &'static str,
    pub detail: String,
}

impl Stats {
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// By [`Fault::label`], in the order of their first appearance.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        self.lock().by_label.clone()
    }

    /// The last 100 faults, oldest first.
    pub fn notes(&self) -> Vec<Note> {
        self.lock().notes.iter().cloned().collect()
    }

    /// The plugin's own faults (not a full queue, not the host's mistakes) in the last `window`; at most
    /// [`MAX_FAULTS`] are remembered.
    pub fn faults_within(&self, window: Duration) -> usize {
        self.lock().times.iter().rev().take_while(|at| at.elapsed() <= window).count()
    }

    /// Below which time this share of the calls stayed, at most an eighth too high; `None` without calls.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.durations.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.map(|bucket| Duration::from_nanos(upper(bucket)))
    }

    /// Most guest memory that one instance has had, bytes.
    pub fn memory_peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(STEPS as u64);
    let power = nanos.ilog2();
    // The three bits after the leading one.
    let step = (nanos >> (power - 3)) & 7;
    (power as usize - 3) * STEPS + usize::try_from(step).unwrap_or(0)
}

/// The first nanosecond above a bucket.
fn upper(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS + 3, (bucket % STEPS) as u64);
    (STEPS as u64 + step + 1).saturating_mul(1 << (power - 3))
}

/// Counts for one plugin. The label values come from manifests and [`Fault::label`]: few, and bounded.
#[derive(Clone)]
pub(crate) struct Meter {
    stats: Arc<Stats>,
    /// Looked up with the first call: some calls take less time than the looking up does.
    handles: Arc<OnceLock<(metrics::Counter, metrics::Histogram, metrics::Gauge)>>,
}

impl Meter {
    pub(crate) fn new(manifest: &Manifest, digest: &str, config: &str, told: Arc<Notify>) -> Self {
        let stats = Stats {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind,
            digest: digest.to_owned(),
            config: config.to_owned(),
            calls: AtomicU64::new(0),
            durations: (0..=bucket(u64::MAX)).map(|_| AtomicU64::new(0)).collect(),
            faults: Mutex::default(),
            peak: Arc::default(),
            told,
        };
        Self { stats: Arc::new(stats), handles: Arc::default() }
    }

    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    pub(crate) fn peak(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.stats.peak)
    }

    /// Runs one call of the guest, counted and timed.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let started = Instant::now();
        let outcome = call();
        self.ended(started, outcome)
    }

    /// Counts a call of the guest that has ended.
    pub(crate) fn ended<T>(&self, started: Instant, outcome: Result<T, Fault>) -> Result<T, Fault> {
        let took = started.elapsed();
        let (calls, seconds, peak) = self.handles.get_or_init(|| {
            let labels = [("plugin", self.stats.name.clone()), ("kind", self.stats.kind.as_str().to_owned())];
            (
                metrics::counter!("canopy_plugin_calls_total", &labels),
                metrics::histogram!("canopy_plugin_call_seconds", &labels),
                metrics::gauge!("canopy_plugin_memory_peak_bytes", &labels),
            )
        });
        calls.increment(1);
        seconds.record(took.as_secs_f64());
        peak.set(self.stats.memory_peak() as f64);
        self.stats.calls.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.stats.durations[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        if let Err(fault) = &outcome {
            self.fault(fault);
        }
        outcome
    }

    /// Counts a fault that no call of the guest shows.
    pub(crate) fn fault(&self, fault: &Fault) {
        let labels = [("plugin", self.stats.name.clone()), ("fault", fault.label().to_owned())];
        metrics::counter!("canopy_plugin_faults_total", &labels).increment(1);
        self.note(fault);
        tracing::warn!(plugin = %self.stats.name, kind = self.stats.kind.as_str(), fault = fault.label(), detail = %fault, "plugin fault");
    }

    fn note(&self, fault: &Fault) {
        let (label, own) = (fault.label(), !matches!(fault, Fault::Overload | Fault::Host(_)));
        let mut faults = self.stats.lock();
        match faults.by_label.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => faults.by_label.push((label, 1)),
        }
        if faults.notes.len() == NOTES {
            faults.notes.pop_front();
        }
        faults.notes.push_back(Note { at: SystemClock.now(), fault: label, detail: fault.to_string() });
        if own {
            if faults.times.len() == MAX_FAULTS {
                faults.times.pop_front();
            }
            faults.times.push_back(Instant::now());
        }
        drop(faults);
        self.stats.told.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{
        Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Counters(Mutex<BTreeMap<String, Arc<Count>>>);

    #[derive(Default)]
    struct Count(AtomicU64);

    impl CounterFn for Count {
        fn increment(&self, value: u64) {
            self.0.fetch_add(value, Ordering::Relaxed);
        }
        fn absolute(&self, value: u64) {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    impl Recorder for Counters {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn meter() -> Meter {
        let text =
            "name = \"quota-x\"\nversion = \"1\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"x.wasm\"\n";
        Meter::new(&Manifest::parse(text).unwrap(), "d", "c", Arc::default())
    }

    #[test]
    fn what_is_remembered_of_calls_and_faults_is_bounded_and_true() {
        let meter = meter();
        let stats = meter.stats();
        assert_eq!((stats.quantile(0.5), stats.calls()), (None, 0));
        for _ in 0..2 * MAX_FAULTS {
            meter.fault(&Fault::Trap("boom".into()));
        }
        meter.fault(&Fault::Overload);
        meter.call(|| Ok(())).unwrap();
        assert_eq!(stats.faults(), [("trap", 2 * MAX_FAULTS as u64), ("overload", 1)]);
        assert_eq!((stats.notes().len(), stats.notes()[NOTES - 1].fault), (NOTES, "overload"));
        assert_eq!(stats.faults_within(Duration::from_secs(3600)), MAX_FAULTS);
        assert_eq!(stats.calls(), 1);
        assert!(stats.quantile(0.99).is_some());
    }

    #[test]
    fn a_quantile_is_never_too_low_and_at_most_an_eighth_too_high() {
        for nanos in [8, 9, 15, 16, 17, 1_000, 123_456, 1 << 30, u64::MAX / 3] {
            let above = upper(bucket(nanos));
            assert!(above > nanos && above - nanos <= nanos / 8 + 1, "{nanos}: {above}");
        }
        assert_eq!(upper(bucket(0)), 9);
    }

    #[test]
    fn calls_and_faults_are_counted_by_plugin_and_kind_of_fault() {
        let counters = Counters::default();
        let meter = meter();
        metrics::with_local_recorder(&counters, || {
            assert_eq!(meter.call(|| Ok(1)), Ok(1));
            assert!(meter.call(|| Err::<(), _>(Fault::Trap("boom".into()))).is_err());
            meter.fault(&Fault::Overload);
        });
        let counters = counters.0.lock().unwrap();
        let counted: Vec<_> =
            counters.iter().map(|(k, v)| format!("{k} {}", v.0.load(Ordering::Relaxed))).collect();
        assert_eq!(
            counted,
            [
                "canopy_plugin_calls_total quota-x quota 2",
                "canopy_plugin_faults_total quota-x overload 1",
                "canopy_plugin_faults_total quota-x trap 1"
            ]
        );
    }
}
