//! The scores of one request class over one cell, with the best of every 128 and of every 4,096.

const BLOCK: usize = 128;
const SUPER: usize = 32;
/// The score of a host that some rule of the core keeps out.
pub(super) const NO: f32 = f32::NEG_INFINITY;
/// The score of a host that the plugin vetoed: greater than nothing, so never the best.
pub(super) const VETO: f32 = f32::NAN;

pub(super) struct Part {
    pub(super) cell: u32,
    /// How far in the cell's log the scores are up to date; `None`: not scored at all.
    pub(super) seen: Option<u64>,
    scores: Vec<f32>,
    /// A bit per position: whether its score is another than `NO`. Most hosts that change are full before and after,
    /// and this is small enough to be near when the scores of so many hosts and classes are not.
    some: Vec<u64>,
    blocks: Vec<f32>,
    supers: Vec<f32>,
    feasible: u32,
    vetoed: u32,
}

impl Part {
    pub(super) fn new(cell: u32, rows: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK);
        Self {
            cell,
            seen: None,
            scores: vec![NO; rows],
            some: vec![0; rows.div_ceil(64)],
            blocks: vec![NO; blocks],
            supers: vec![NO; blocks.div_ceil(SUPER)],
            feasible: 0,
            vetoed: 0,
        }
    }

    pub(super) fn score(&self, position: u32) -> f32 {
        self.scores[position as usize]
    }

    /// Hosts that every rule of the core leaves.
    pub(super) fn feasible(&self) -> u64 {
        self.feasible.into()
    }

    /// Whether the plugin vetoed any of them.
    pub(super) fn vetoes(&self) -> bool {
        self.vetoed > 0
    }

    /// Sets all scores: `NO`, but for these.
    pub(super) fn fill(&mut self, scores: impl Iterator<Item = (u32, f32)>) {
        self.scores.fill(NO);
        self.some.fill(0);
        for (position, score) in scores {
            self.scores[position as usize] = score;
            self.some[position as usize / 64] |= u64::from(score != NO) << (position % 64);
        }
        self.feasible = super::cells::index(self.scores.iter().filter(|score| **score != NO).count());
        self.vetoed = super::cells::index(self.scores.iter().filter(|score| score.is_nan()).count());
        for (best, block) in self.blocks.iter_mut().zip(self.scores.chunks(BLOCK)) {
            *best = most(block);
        }
        for (best, blocks) in self.supers.iter_mut().zip(self.blocks.chunks(SUPER)) {
            *best = most(blocks);
        }
    }

    /// Sets one score; the old one is returned.
    pub(super) fn set(&mut self, position: u32, score: f32) -> f32 {
        let at = position as usize;
        let (some, bit) = (&mut self.some[at / 64], 1 << (at % 64));
        if score == NO {
            if *some & bit == 0 {
                return NO;
            }
            *some &= !bit;
        } else {
            *some |= bit;
        }
        let old = std::mem::replace(&mut self.scores[at], score);
        self.feasible = self.feasible + u32::from(score != NO) - u32::from(old != NO);
        self.vetoed = self.vetoed + u32::from(score.is_nan()) - u32::from(old.is_nan());
        let block = at / BLOCK;
        let best = self.blocks[block];
        let new = if score >= best {
            score
        } else if old == best {
            most(&self.scores[block * BLOCK..self.scores.len().min((block + 1) * BLOCK)])
        } else {
            return old;
        };
        if new == best {
            return old;
        }
        self.blocks[block] = new;
        let over = block / SUPER;
        if new >= self.supers[over] {
            self.supers[over] = new;
        } else if best == self.supers[over] {
            self.supers[over] = most(&self.blocks[over * SUPER..self.blocks.len().min((over + 1) * SUPER)]);
        }
        old
    }

    /// The best score; `NO` when there is none.
    pub(super) fn best(&self) -> f32 {
        most(&self.supers)
    }

    /// The positions with this score, which is the best, ascending.
    pub(super) fn at_best(&self, score: f32) -> impl Iterator<Item = u32> + '_ {
        let supers = (0..self.supers.len()).filter(move |i| self.supers[*i] == score);
        let blocks = supers.flat_map(|i| i * SUPER..self.blocks.len().min((i + 1) * SUPER));
        let blocks = blocks.filter(move |i| self.blocks[*i] == score);
        let rows = blocks.flat_map(|i| i * BLOCK..self.scores.len().min((i + 1) * BLOCK));
        rows.filter(move |i| self.scores[*i] == score).map(super::cells::index)
    }
}

/// The greatest, over several lanes so that it becomes SIMD; what is no number counts for nothing.
fn most(scores: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [NO; LANES];
    let chunks = scores.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane = if *score > *lane { *score } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(NO, |best, score| if *score > best { *score } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Rng;

    #[test]
    fn the_best_is_the_best_whatever_was_set_before() {
        for seed in 0..6 {
            let mut rng = Rng::new(seed);
            let rows = 1 + rng.below(9000);
            let mut part = Part::new(0, rows as usize);
            let mut plain = vec![NO; rows as usize];
            for step in 0..800 {
                let (at, score) = (rng.below(rows) as u32, [NO, VETO, 1.0, 2.0, rng.unit() as f32]);
                let score = score[rng.below(5) as usize];
                part.set(at, score);
                plain[at as usize] = score;
                if step % 200 == 0 {
                    part.fill(plain.iter().enumerate().map(|(i, s)| (i as u32, *s)));
                }
                let best = plain.iter().copied().filter(|s| !s.is_nan()).fold(NO, f32::max);
                assert_eq!(part.best(), best, "seed {seed}");
                let first = plain.iter().position(|s| *s == best && best > NO).map(|i| i as u32);
                assert_eq!(part.at_best(best).next().filter(|_| best > NO), first, "seed {seed}");
                assert_eq!(part.vetoes(), plain.iter().any(|s| s.is_nan()));
                assert_eq!(part.feasible(), plain.iter().filter(|s| **s != NO).count() as u64);
            }
        }
    }
}
