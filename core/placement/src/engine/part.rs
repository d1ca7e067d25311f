//! The scores of one request class over one cell, with bounds over every 16 and every 512 of them.
//!
//! A bound is never below a score that it covers. It rises at once and is lowered only when it stands in the way of
//! an answer: what is below the best of all is never looked into. So a change costs one write, and no look at its
//! neighbours' scores, which are in no cache when hosts and classes are many.

const BLOCK: usize = 16;
const SUPER: usize = 32;
/// The score of a host that some rule of the core keeps out.
pub(super) const NO: f32 = f32::NEG_INFINITY;
/// The score of a host that the plugin vetoed: greater than nothing, so never the best.
pub(super) const VETO: f32 = f32::NAN;

/// Scores that share a bound: what a processor fetches from memory at once.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([f32; BLOCK]);

pub(super) struct Part {
    pub(super) cell: u32,
    /// How far in the cell's log the scores are up to date; `None`: not scored at all.
    pub(super) seen: Option<u64>,
    /// Filled up with `NO`.
    scores: Vec<Block>,
    /// A bit per position: whether its score is another than `NO`. Most hosts that change are full before and after,
    /// and this is small enough to be near when the scores of so many hosts and classes are not.
    some: Vec<u64>,
    bounds: Vec<f32>,
    supers: Vec<f32>,
    /// The first position with the best score, while it is known: most changes are no better and leave it so.
    known: Option<(u32, f32)>,
    feasible: u32,
    vetoed: u32,
}

/// What [`Part::hide`] put away.
pub(super) struct Hidden {
    position: u32,
    known: Option<(u32, f32)>,
    score: f32,
}

impl Part {
    pub(super) fn new(cell: u32, rows: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK);
        Self {
            cell,
            seen: None,
            scores: vec![Block([NO; BLOCK]); blocks],
            some: vec![0; rows.div_ceil(64)],
            bounds: vec![NO; blocks],
            supers: vec![NO; blocks.div_ceil(SUPER)],
            known: None,
            feasible: 0,
            vetoed: 0,
        }
    }

    pub(super) fn score(&self, position: u32) -> f32 {
        let at = position as usize;
        self.scores[at / BLOCK].0[at % BLOCK]
    }

    /// Whether the score is another than `NO`.
    pub(super) fn has(&self, position: u32) -> bool {
        self.some[position as usize / 64] & (1 << (position % 64)) != 0
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
        self.known = None;
        (self.feasible, self.vetoed) = (0, 0);
        self.scores.fill(Block([NO; BLOCK]));
        self.some.fill(0);
        self.bounds.fill(NO);
        self.supers.fill(NO);
        scores.for_each(|(position, score)| self.set(position, score));
    }

    /// Sets one score.
    pub(super) fn set(&mut self, position: u32, score: f32) {
        let at = position as usize;
        let (word, bit) = (&mut self.some[at / 64], 1 << (at % 64));
        let (had, has) = (*word & bit != 0, score != NO);
        if !had && !has {
            return;
        }
        *word = if has { *word | bit } else { *word & !bit };
        self.feasible = self.feasible + u32::from(has) - u32::from(had);
        let held = &mut self.scores[at / BLOCK].0[at % BLOCK];
        // Looked at only where there are vetoes: it may be far away.
        if had && self.vetoed > 0 && held.is_nan() {
            self.vetoed -= 1;
        }
        self.vetoed += u32::from(score.is_nan());
        *held = score;
        if let Some((first, best)) = self.known {
            if score > best || (score == best && position <= first) {
                self.known = Some((position, score));
            } else if position == first {
                self.known = None;
            }
        }
        self.raise(at / BLOCK, score);
    }

    /// Sets one score; the old one is returned.
    pub(super) fn replace(&mut self, position: u32, score: f32) -> f32 {
        let old = self.score(position);
        self.set(position, score);
        old
    }

    /// The first position with the best score, and that score as it was given.
    pub(super) fn best(&mut self) -> Option<(u32, f32)> {
        if self.known.is_none() {
            self.known = self.look();
        }
        self.known
    }

    fn look(&mut self) -> Option<(u32, f32)> {
        loop {
            let bound = most(&self.supers);
            let over = self.supers.iter().position(|other| *other == bound).filter(|_| bound != NO)?;
            let blocks = over * SUPER..self.bounds.len().min((over + 1) * SUPER);
            let Some(at) = self.bounds[blocks.clone()].iter().position(|other| *other == bound) else {
                self.supers[over] = most(&self.bounds[blocks]);
                continue;
            };
            let block = blocks.start + at;
            let scores = &self.scores[block].0;
            if let Some(at) = scores.iter().position(|score| *score == bound) {
                return Some((super::cells::index(block * BLOCK + at), scores[at]));
            }
            self.bounds[block] = most(scores);
        }
    }

    /// The positions with this score, which is the best, ascending.
    pub(super) fn at_best(&self, score: f32) -> impl Iterator<Item = u32> + '_ {
        let supers = (0..self.supers.len()).filter(move |i| self.supers[*i] == score);
        let blocks = supers.flat_map(|i| i * SUPER..self.bounds.len().min((i + 1) * SUPER));
        let blocks = blocks.filter(move |i| self.bounds[*i] == score);
        let rows = blocks.flat_map(|i| i * BLOCK..(i + 1) * BLOCK).map(super::cells::index);
        rows.filter(move |position| self.score(*position) == score)
    }

    /// Takes a position out of the choice until [`Self::show`]; it still counts.
    pub(super) fn hide(&mut self, position: u32) -> Hidden {
        let at = position as usize;
        let score = std::mem::replace(&mut self.scores[at / BLOCK].0[at % BLOCK], NO);
        Hidden { position, known: self.known.take(), score }
    }

    /// Undoes [`Self::hide`]: the last hidden comes first, and nothing was set meanwhile.
    pub(super) fn show(&mut self, hidden: &Hidden) {
        let at = hidden.position as usize;
        self.known = hidden.known;
        self.scores[at / BLOCK].0[at % BLOCK] = hidden.score;
        self.raise(at / BLOCK, hidden.score);
    }

    /// A block's bounds cover this score.
    fn raise(&mut self, block: usize, score: f32) {
        let bound = &mut self.bounds[block];
        if score > *bound {
            *bound = score;
            let over = &mut self.supers[block / SUPER];
            *over = if score > *over { score } else { *over };
        }
    }
}

/// The greatest, over several lanes so that it becomes SIMD; what is no number counts for nothing.
fn most(scores: &[f32]) -> f32 {
    const LANES: usize = 16;
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [NO; LANES];
    let chunks = scores.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(NO, |best, score| greater(best, *score));
    if scores.len() < LANES {
        return rest;
    }
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *score);
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low = greater(*low, *high));
    }
    greater(rest, lanes[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Rng;

    fn check(part: &mut Part, plain: &[f32], seed: u64) {
        let best = plain.iter().copied().filter(|s| !s.is_nan()).fold(NO, f32::max);
        let at: Vec<u32> = (0..plain.len() as u32).filter(|i| plain[*i as usize] == best).collect();
        let found = part.best();
        if best == NO {
            assert_eq!(found, None, "seed {seed}");
        } else {
            let (first, score) = found.unwrap();
            assert_eq!(first, at[0], "seed {seed}");
            assert_eq!(score.to_bits(), plain[first as usize].to_bits(), "seed {seed}: zeros have signs");
            assert!(part.at_best(best).eq(at), "seed {seed}");
        }
        assert_eq!(part.vetoes(), plain.iter().any(|s| s.is_nan()));
        assert_eq!(part.feasible(), plain.iter().filter(|s| **s != NO).count() as u64);
        assert!((0..).zip(plain).all(|(at, score)| part.has(at) == (*score != NO)));
    }

    #[test]
    fn the_best_is_the_best_whatever_was_set_before() {
        for seed in 0..8 {
            let mut rng = Rng::new(seed);
            let rows = 1 + rng.below(if seed % 2 == 0 { 80 } else { 9000 });
            let mut part = Part::new(0, rows as usize);
            let mut plain = vec![NO; rows as usize];
            for step in 0..800 {
                let (at, score) = (rng.below(rows) as u32, [NO, VETO, 0.0, -0.0, 2.0, rng.unit() as f32]);
                let score = score[rng.below(6) as usize];
                let old = part.replace(at, score);
                assert_eq!(old.to_bits(), plain[at as usize].to_bits());
                plain[at as usize] = score;
                if step % 200 == 0 {
                    part.fill(plain.iter().enumerate().map(|(i, s)| (i as u32, *s)));
                }
                // Not after each step, so that more than one block is loose.
                if rng.below(3) == 0 {
                    check(&mut part, &plain, seed);
                }
            }
        }
    }

    #[test]
    fn what_is_hidden_comes_back_as_it_was() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let rows = 1 + rng.below(200);
            let mut plain: Vec<f32> =
                (0..rows).map(|_| [NO, VETO, 0.0, -0.0, 1.0][rng.below(5) as usize]).collect();
            let mut part = Part::new(0, plain.len());
            part.fill(plain.iter().enumerate().map(|(i, s)| (i as u32, *s)));
            for _ in 0..20 {
                let (at, score) = (rng.below(rows), rng.below(3) as f32);
                part.set(at as u32, score);
                plain[at as usize] = score;
                let (mut hidden, mut without) = (Vec::new(), plain.clone());
                while let Some((position, _)) = part.best().filter(|_| hidden.len() < 4) {
                    let best = without.iter().copied().filter(|s| !s.is_nan()).fold(NO, f32::max);
                    assert_eq!(
                        Some(position as usize),
                        without.iter().position(|s| *s == best),
                        "seed {seed}"
                    );
                    hidden.push(part.hide(position));
                    without[position as usize] = NO;
                }
                hidden.iter().rev().for_each(|hidden| part.show(hidden));
                check(&mut part, &plain, seed);
            }
        }
    }
}
