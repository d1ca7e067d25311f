//! What is counted per plugin: calls, faults, seconds.

use crate::fault::Fault;
use crate::manifest::PluginKind;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Counts for one plugin. The label values come from manifests and [`Fault::label`]: few, and bounded.
#[derive(Clone)]
pub(crate) struct Meter {
    name: Arc<str>,
    kind: PluginKind,
    /// Looked up with the first call: some calls take less time than the looking up does.
    handles: Arc<OnceLock<(metrics::Counter, metrics::Histogram)>>,
}

impl Meter {
    pub(crate) fn new(name: &str, kind: PluginKind) -> Self {
        Self { name: name.into(), kind, handles: Arc::default() }
    }

    /// Runs one call of the guest, counted and timed.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let started = Instant::now();
        let outcome = call();
        let (calls, seconds) = self.handles.get_or_init(|| {
            let labels = [("plugin", self.name.to_string()), ("kind", self.kind.as_str().to_owned())];
            (
                metrics::counter!("canopy_plugin_calls_total", &labels),
                metrics::histogram!("canopy_plugin_call_seconds", &labels),
            )
        });
        calls.increment(1);
        seconds.record(started.elapsed().as_secs_f64());
        if let Err(fault) = &outcome {
            self.fault(fault);
        }
        outcome
    }

    /// Counts a fault that no call of the guest shows.
    pub(crate) fn fault(&self, fault: &Fault) {
        let labels = [("plugin", self.name.to_string()), ("fault", fault.label().to_owned())];
        metrics::counter!("canopy_plugin_faults_total", &labels).increment(1);
        tracing::warn!(plugin = %self.name, kind = self.kind.as_str(), fault = fault.label(), detail = %fault, "plugin fault");
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

    #[test]
    fn calls_and_faults_are_counted_by_plugin_and_kind_of_fault() {
        let counters = Counters::default();
        let meter = Meter::new("quota-x", PluginKind::Quota);
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
