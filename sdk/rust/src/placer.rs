//! `canopy:scheduler@1`, world `placer`: the whole choice, with state and in batches.

use serde::de::DeserializeOwned;

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod bindings {
    // World `placer` by another name: macros have one each, and the network's contract has a `placer` too.
    wit_bindgen::generate!({
        path: "../wit/scheduler/v1",
        inline: "package canopy:guest; world scheduler-placer { export canopy:scheduler/placing@1.0.0; }",
        world: "canopy:guest/scheduler-placer",
        pub_export_macro: true,
        default_bindings_module: "canopy_sdk::placer::bindings",
        additional_derives: [PartialEq, Clone],
    });
}

pub use bindings::exports::canopy::scheduler::placing::{Class, Hosts, OwnLists, Requests};

/// As an answer: no host. As a host's cell: none, it takes no server at present.
pub const NOWHERE: u32 = u32::MAX;

/// Names that later calls refer to by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Resource classes, e.g. `VCPU`, `MEMORY_MB`, `DISK_GB`.
    pub resources: Vec<String>,
    /// Numbers that change with time, as this cloud collects them.
    pub signals: Vec<String>,
}

/// An algorithm with state. Write a [`crate::scheduler::Scorer`] unless it needs more than a score per host.
///
/// The core checks every answer against every rule and corrects the state where it decides otherwise, by the true
/// rows of the hosts concerned; what is undisturbed is not told again. Equal calls in equal order must have
/// equal answers: no clock, no randomness, no map whose order differs from run to run.
///
/// ```
/// use canopy_sdk::mock::PlacerCloud;
/// use canopy_sdk::placer::{Class, Hosts, NOWHERE, Names, Placer, Requests};
///
/// /// The first host with enough of the first resource class; knows nothing of hints.
/// #[derive(Default)]
/// struct FirstFit { hosts: Vec<(u32, i64)>, classes: Vec<Class> }
///
/// impl Placer for FirstFit {
///     type Config = canopy_sdk::serde_json::Value;
///
///     fn init(_: Self::Config, _: Names, hosts: u32) -> Result<Self, String> {
///         Ok(Self { hosts: vec![(NOWHERE, 0); hosts as usize], classes: vec![] })
///     }
///
///     fn upsert_hosts(&mut self, hosts: &Hosts) {
///         for (row, host) in hosts.at.iter().enumerate() {
///             self.hosts[*host as usize] = (hosts.cells[row], hosts.free_of(0)[row]);
///         }
///     }
///
///     fn upsert_classes(&mut self, _: u32, classes: Vec<Class>) {
///         self.classes.extend(classes);
///     }
///
///     fn decide(&mut self, _: u64, requests: &Requests) -> Vec<u32> {
///         let mut place = |class: &u32| {
///             let class = &self.classes[*class as usize];
///             let fits = |(cell, free): &(u32, i64)| class.cells.contains(cell) && *free >= class.wants[0];
///             let Some(at) = self.hosts.iter().position(fits) else { return NOWHERE };
///             self.hosts[at].1 -= class.wants[0];
///             at as u32
///         };
///         requests.classes.iter().map(&mut place).collect()
///     }
/// }
/// canopy_sdk::export_placer!(FirstFit);
///
/// let mut cloud = PlacerCloud::<FirstFit>::new("{}").host("a", [2, 10, 10]).host("b", [2, 10, 10]).start()?;
/// assert_eq!(cloud.decide(&[[1, 0, 0], [2, 0, 0], [2, 0, 0]])?, [Some("a"), Some("b"), None]);
/// # Ok::<(), String>(())
/// ```
pub trait Placer: Sized + 'static {
    /// Read from the operator's JSON; use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned;

    /// Called once before anything else, with the number of hosts. The error is for the operator.
    fn init(config: Self::Config, names: Names, hosts: u32) -> Result<Self, String>;

    /// True rows: of every host once after `init`, later of those that are not as this state must believe.
    fn upsert_hosts(&mut self, hosts: &Hosts);

    /// Classes `first`, `first + 1`, …: each once, without gaps.
    fn upsert_classes(&mut self, first: u32, classes: Vec<Class>);

    /// Per request the index of a host or [`NOWHERE`]. What is placed is to be taken off what is free: it is told again
    /// only when the core decides otherwise. `epoch` counts the calls.
    ///
    /// What changed since was told by [`Self::upsert_hosts`] a moment before.
    fn decide(&mut self, epoch: u64, requests: &Requests) -> Vec<u32>;
}

impl Hosts {
    /// Capacity of one resource class, a value per row; empty when there is no such class.
    pub fn capacity_of(&self, class: usize) -> &[i64] {
        column(&self.capacity, class, self.at.len())
    }

    /// What is free of one resource class, a value per row; empty when there is no such class.
    pub fn free_of(&self, class: usize) -> &[i64] {
        column(&self.free, class, self.at.len())
    }

    /// One signal, a value per row; empty when there is no such signal.
    pub fn signal(&self, index: usize) -> &[f32] {
        column(&self.signals, index, self.at.len())
    }
}

impl Requests {
    /// The lists of one request of the batch, when it has any.
    pub fn lists_of(&self, request: usize) -> Option<&OwnLists> {
        self.lists.iter().find(|lists| lists.request as usize == request)
    }
}

fn column<T>(values: &[T], index: usize, rows: usize) -> &[T] {
    let range = index.checked_mul(rows).and_then(|start| Some(start..start.checked_add(rows)?));
    range.and_then(|range| values.get(range)).unwrap_or(&[])
}

/// Makes a [`Placer`] the placer that this component exports. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! export_placer {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::cell::RefCell;
            use $crate::placer::{Class, Hosts, Names, Placer, Requests, bindings};

            ::std::thread_local! {
                static PLUGIN: RefCell<Option<$plugin>> = const { RefCell::new(None) };
            }

            fn ask<T>(question: impl FnOnce(&mut $plugin) -> T) -> T {
                PLUGIN.with_borrow_mut(|cell| question(cell.as_mut().expect($crate::__private::NOT_READY)))
            }

            struct Component;

            impl bindings::exports::canopy::scheduler::placing::Guest for Component {
                fn init(
                    config: String,
                    resources: Vec<String>,
                    signals: Vec<String>,
                    hosts: u32,
                ) -> Result<(), String> {
                    let config = $crate::parse_config(&config)?;
                    let plugin = <$plugin as Placer>::init(config, Names { resources, signals }, hosts)?;
                    PLUGIN.with_borrow_mut(|cell| match cell {
                        Some(_) => Err($crate::__private::TWICE.to_owned()),
                        None => {
                            *cell = Some(plugin);
                            Ok(())
                        }
                    })
                }

                fn upsert_hosts(hosts: Hosts) {
                    ask(|plugin| plugin.upsert_hosts(&hosts));
                }

                fn upsert_classes(first: u32, classes: Vec<Class>) {
                    ask(|plugin| plugin.upsert_classes(first, classes));
                }

                fn decide(epoch: u64, changed: Hosts, requests: Requests) -> Vec<u32> {
                    ask(|plugin| {
                        if !changed.at.is_empty() {
                            plugin.upsert_hosts(&changed);
                        }
                        plugin.decide(epoch, &requests)
                    })
                }
            }

    bindings::export!(Component with_types_in bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_lists_are_found_by_position_and_absent_ones_are_empty() {
        let hosts = Hosts {
            at: vec![4, 7],
            cells: vec![0, NOWHERE],
            capacity: vec![1, 2, 3, 4],
            free: vec![5, 6],
            signals: vec![],
        };
        assert_eq!((hosts.capacity_of(1), hosts.free_of(0)), (&[3, 4][..], &[5, 6][..]));
        assert!(hosts.free_of(1).is_empty() && hosts.capacity_of(usize::MAX).is_empty());
        assert!(hosts.signal(0).is_empty());
        let own = OwnLists { request: 1, only: None, barred: vec![3], near: vec![], apart: vec![] };
        let requests = Requests { classes: vec![0, 0], lists: vec![own] };
        assert!(requests.lists_of(0).is_none());
        assert_eq!(requests.lists_of(1).unwrap().barred, [3]);
    }
}
