//! A workload: who arrives when, asks for what and leaves when.

use canopy_placement::seeded::Rng;
use canopy_placement::{Host, Request};
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};

/// A host without its numbers, and what it has per resource class.
pub type TraceHost = (Host, Vec<(String, i64)>);

#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Different requests; arrivals name them by position.
    pub requests: Vec<Request>,
    /// In the order in which they are decided, times ascending.
    pub arrivals: Vec<Arrival>,
    /// Hosts and their capacities, when the trace has its own.
    pub hosts: Vec<TraceHost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Seconds.
    pub at: i64,
    /// Seconds; gone before anyone who arrives then or later. `None`: stays.
    pub until: Option<i64>,
    pub request: usize,
}

impl Trace {
    /// The position of a request, which is added when it is new.
    pub fn request(&mut self, request: Request) -> usize {
        self.requests.iter().position(|known| *known == request).unwrap_or_else(|| {
            self.requests.push(request);
            self.requests.len() - 1
        })
    }

    /// `count` servers of common sizes over two days, busier by day, the same for the same seed. Sized so that
    /// some eight hosts of 64 vCPUs are busy per thousand servers.
    pub fn generated(seed: u64, count: usize) -> Self {
        const SIZES: [(i64, i64, i64); 8] = [
            (1, 2_048, 20),
            (1, 4_096, 20),
            (2, 4_096, 40),
            (2, 8_192, 40),
            (4, 8_192, 80),
            (4, 16_384, 80),
            (8, 32_768, 160),
            (16, 65_536, 320),
        ];
        const SPAN: u64 = 2 * 86_400;
        let mut rng = Rng::new(seed);
        let mut trace = Self::default();
        let mut times: Vec<i64> = (0..count)
            .map(|_| {
                // Two tries, the one nearer to noon: a day has a shape.
                let (a, b) = (rng.below(SPAN) as i64, rng.below(SPAN) as i64);
                let noon = |t: i64| (t % 86_400 - 43_200).abs();
                if noon(a) <= noon(b) { a } else { b }
            })
            .collect();
        times.sort_unstable();
        for at in times {
            // Small ones are common: the lesser of two draws.
            let size = SIZES[rng.below(8).min(rng.below(8)) as usize];
            let amounts = [(VCPU, size.0), (MEMORY_MB, size.1), (DISK_GB, size.2)];
            let request = Request {
                amounts: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
                ..Request::default()
            };
            // Most live for minutes, some for days.
            let life = 60.0 * (1.0 / (1.0 - rng.unit()).max(1e-4)).powf(1.1);
            let until = (life < 1e6).then_some(at + 300 + life as i64 * 20);
            let request = trace.request(request);
            trace.arrivals.push(Arrival { at, until, request });
        }
        trace
    }
}
