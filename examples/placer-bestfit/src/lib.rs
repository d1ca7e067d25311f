//! Best fit as a placer: see the README. This is what stands between the contract and the algorithm.

mod bestfit;

use bestfit::{BestFit, Lists};
use canopy_sdk::placer::{Class, Hosts, Names, Placer, Requests};

pub struct Plugin(BestFit);

/// What an operator may set.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The resource class by which hosts are in order.
    pub by: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { by: "VCPU".to_owned() }
    }
}

impl Placer for Plugin {
    type Config = Config;

    fn init(config: Config, names: Names, hosts: u32) -> Result<Self, String> {
        // A cloud without hosts counts nothing yet, and has nothing to put in order.
        let by = names.resources.iter().position(|name| *name == config.by).unwrap_or(0);
        Ok(Self(BestFit::new(by, names.resources.len(), hosts as usize)))
    }

    fn upsert_hosts(&mut self, hosts: &Hosts) {
        for (row, (host, cell)) in hosts.at.iter().zip(&hosts.cells).enumerate() {
            self.0.host(*host, *cell, |class| hosts.free_of(class).get(row).copied().unwrap_or(0));
        }
    }

    fn upsert_classes(&mut self, _first: u32, classes: Vec<Class>) {
        for Class { wants, cells, barred, .. } in classes {
            self.0.class(bestfit::Class { wants, cells, barred });
        }
    }

    fn decide(&mut self, _epoch: u64, requests: &Requests) -> Vec<u32> {
        let own = |request: usize| requests.lists_of(request);
        let place = |(request, class): (usize, &u32)| {
            let lists = own(request).map_or_else(Lists::default, |own| Lists {
                only: own.only.as_deref(),
                barred: &own.barred,
                near: &own.near,
                apart: &own.apart,
            });
            self.0.place(*class, lists)
        };
        requests.classes.iter().enumerate().map(place).collect()
    }
}

canopy_sdk::export_placer!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock::PlacerCloud;

    #[test]
    fn the_fullest_host_that_fits_is_filled_first_and_a_batch_sees_itself() {
        let mut cloud = PlacerCloud::<Plugin>::new("{}")
            .host("large", [64, 65_536, 100])
            .host("small", [4, 8_192, 100])
            .start()
            .unwrap();
        let small = [2, 1_024, 1];
        let said = cloud.decide(&[small, small, small, [80, 1, 1]]).unwrap();
        assert_eq!(said, [Some("small"), Some("small"), Some("large"), None]);
    }

    #[test]
    fn another_class_can_be_the_one_that_counts() {
        let mut cloud = PlacerCloud::<Plugin>::new(r#"{"by": "MEMORY_MB"}"#)
            .host("vcpus", [4, 65_536, 100])
            .host("memory", [64, 8_192, 100])
            .start()
            .unwrap();
        assert_eq!(cloud.decide(&[[1, 1_024, 1]]).unwrap(), [Some("memory")]);
    }

    #[test]
    fn groups_and_hints_are_heeded() {
        let mut index = BestFit::new(0, 1, 3);
        for host in 0..3 {
            index.host(host, 0, |_| 8 + i64::from(host));
        }
        index.class(bestfit::Class { wants: vec![4], cells: vec![0], barred: vec![0] });
        let with = |index: &mut BestFit, lists| index.place(0, lists);
        assert_eq!(with(&mut index, Lists::default()), 1, "0 is barred");
        assert_eq!(with(&mut index, Lists { near: &[2], ..Lists::default() }), 2);
        assert_eq!(with(&mut index, Lists { apart: &[1], ..Lists::default() }), 2);
        assert_eq!(with(&mut index, Lists { apart: &[1, 2], ..Lists::default() }), 1, "rather than nowhere");
        assert_eq!(with(&mut index, Lists { only: Some(&[0]), ..Lists::default() }), bestfit::NONE);
        index.host(2, bestfit::NONE, |_| 8);
        index.host(1, 0, |_| 3);
        assert_eq!(with(&mut index, Lists::default()), bestfit::NONE, "closed, full and barred");
    }
}
