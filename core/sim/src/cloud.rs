//! A cloud in use, for measuring: a fleet at 78 % of its vCPUs, filled by the choices of the scheduler that is
//! measured, and many classes of requests.

use crate::clock;
use crate::report::median;
use canopy_placement::placer::BATCH;
use canopy_placement::seeded::Rng;
use canopy_placement::{Engine, Fleet, Host, NameSet, Request, ResourceColumn, Scorer};
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{DecisionId, HostId};
use std::sync::Arc;

/// Share of the vCPUs that is in use.
pub const FILL: f64 = 0.78;
const SIZES: [(i64, i64, i64); 11] = [
    (1, 2_048, 10),
    (1, 4_096, 20),
    (2, 4_096, 20),
    (2, 8_192, 40),
    (4, 8_192, 40),
    (4, 16_384, 80),
    (8, 16_384, 80),
    (8, 32_768, 160),
    (16, 32_768, 160),
    (16, 65_536, 320),
    (32, 131_072, 640),
];

pub struct Cloud {
    pub engine: Engine,
    pub requests: Vec<Request>,
    /// Servers: where, and the place of what each asked for among the requests.
    placed: Vec<(HostId, usize)>,
    rng: Rng,
}

impl Cloud {
    /// 64 vCPUs and 256 GiB a host, three zones; a tenth of the hosts have a trait, another tenth two.
    pub fn filled(hosts: usize, scorer: &mut dyn Scorer) -> Self {
        let traits = [
            NameSet::default(),
            NameSet::from_iter(["CUSTOM_SSD"]),
            NameSet::from_iter(["CUSTOM_GPU", "CUSTOM_SSD"]),
        ];
        let host = |n: usize| Host {
            traits: traits[match n % 10 {
                3 => 1,
                7 => 2,
                _ => 0,
            }]
            .clone(),
            ..Host::new(
                HostId(uuid::Uuid::from_u64_pair(1, n as u64 + 1)),
                format!("host-{n:06}"),
                format!("zone-{}", n % 3),
            )
        };
        let column =
            |class: &str, capacity| ResourceColumn::new(class, vec![capacity; hosts], vec![0; hosts]);
        let resources = vec![column(DISK_GB, 4_000), column(MEMORY_MB, 262_144), column(VCPU, 64)];
        let fleet =
            Fleet { revision: 1, hosts: (0..hosts).map(host).collect(), resources, ..Fleet::default() };
        let mut cloud = Self {
            engine: Engine::new(fleet),
            requests: requests(),
            placed: Vec::new(),
            rng: Rng::new(hosts as u64),
        };
        let mut used = 0;
        while (used as f64) < FILL * 64.0 * hosts as f64 {
            let class = cloud.class();
            if let Some(host) = cloud.engine.find(&cloud.requests[class], scorer) {
                used += cloud.requests[class].amounts[VCPU];
                cloud.take(host, class, 1);
                cloud.placed.push((host, class));
            }
        }
        cloud
    }

    /// Small sizes and requests without wishes are the common ones.
    pub fn class(&mut self) -> usize {
        let count = self.requests.len() as u64;
        self.rng.below(count).min(self.rng.below(count)) as usize
    }

    /// A server that ends, chosen at random: where it was and what it asked for. Not yet taken off.
    pub fn end_one(&mut self) -> (HostId, usize) {
        self.placed.swap_remove(self.rng.below(self.placed.len() as u64) as usize)
    }

    /// A server was put on a host, by whoever counts it there.
    pub fn began(&mut self, host: HostId, class: usize) {
        self.placed.push((host, class));
    }

    fn take(&mut self, host: HostId, class: usize, times: i64) {
        self.engine.claim(host, &self.requests[class].amounts, times);
    }

    /// One server goes and one comes, again and again: decisions per second, the changes' cost included.
    pub fn round(&mut self, scorer: &mut dyn Scorer) -> f64 {
        const DECISIONS: usize = 4_000;
        let id = DecisionId::random();
        let began = clock::cpu();
        for _ in 0..DECISIONS {
            let (host, gone) = self.end_one();
            self.take(host, gone, -1);
            let class = self.class();
            let decision = self.engine.decide(id, &self.requests[class], scorer);
            assert_eq!(decision.plugin.fault, None, "the plugin is at fault");
            if let Some(host) = decision.winner {
                self.take(host, class, 1);
                self.placed.push((host, class));
            }
        }
        DECISIONS as f64 / (clock::cpu() - began).as_secs_f64()
    }

    /// As [`Self::round`], for a placer: servers go and come by so many that one call decides.
    pub fn batches(&mut self, placer: &mut dyn Scorer) -> f64 {
        const BATCHES: usize = 64;
        let ids: Vec<DecisionId> = (0..BATCH).map(|_| DecisionId::random()).collect();
        let shared: Vec<Arc<Request>> = self.requests.iter().cloned().map(Arc::new).collect();
        let began = clock::cpu();
        for _ in 0..BATCHES {
            for _ in 0..BATCH {
                let (host, gone) = self.end_one();
                self.take(host, gone, -1);
            }
            let classes: Vec<usize> = (0..BATCH).map(|_| self.class()).collect();
            let requests = classes.iter().map(|class| Arc::clone(&shared[*class]));
            self.engine.foresee(ids.iter().copied().zip(requests));
            for (id, class) in ids.iter().zip(classes) {
                let decision = self.engine.decide(*id, &self.requests[class], placer);
                assert_eq!(decision.plugin.fault, None, "the plugin is at fault");
                if let Some(host) = decision.winner {
                    self.take(host, class, 1);
                    self.placed.push((host, class));
                }
            }
        }
        (BATCHES * BATCH) as f64 / (clock::cpu() - began).as_secs_f64()
    }

    /// Where everything is, for telling two clouds apart.
    pub fn placed(&self) -> &[(HostId, usize)] {
        &self.placed
    }

    /// Milliseconds of a decision that finds no host.
    pub fn refusal(&mut self, scorer: &mut dyn Scorer) -> f64 {
        let request = Request { amounts: [(VCPU.to_owned(), 65)].into(), ..Request::default() };
        let times = (0..5).map(|_| {
            let began = clock::cpu();
            let decision = self.engine.decide(DecisionId::random(), &request, scorer);
            assert!(decision.winner.is_none() && !decision.advice.is_empty());
            (clock::cpu() - began).as_secs_f64() * 1e3
        });
        median(times.collect())
    }
}

/// 11 sizes, any or one of three zones, with or without each of three wishes for traits: 176 classes.
fn requests() -> Vec<Request> {
    let ssd = || NameSet::from_iter(["CUSTOM_SSD"]);
    let mut requests = Vec::new();
    for (required, forbidden) in [
        (NameSet::default(), NameSet::default()),
        (NameSet::default(), ssd()),
        (ssd(), NameSet::default()),
        (NameSet::from_iter(["CUSTOM_GPU"]), NameSet::default()),
    ] {
        for zone in [None, Some("zone-0"), Some("zone-1"), Some("zone-2")] {
            for (vcpus, memory, disk) in SIZES {
                let amounts = [(VCPU, vcpus), (MEMORY_MB, memory), (DISK_GB, disk)];
                requests.push(Request {
                    amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
                    zone: zone.map(str::to_owned),
                    required_traits: required.clone(),
                    forbidden_traits: forbidden.clone(),
                    ..Request::default()
                });
            }
        }
    }
    requests
}
