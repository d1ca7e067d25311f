//! How busy the machine is, for schedulers that ask.
//!
//! Told in steps, so that a host is not news to its controller all the time.

use crate::files;
use canopy_agent_api::Load;
use canopy_types::Error;
use std::path::Path;

const STAT: &str = "/proc/stat";
const MEMINFO: &str = "/proc/meminfo";
/// Bytes of either file; one line of `stat` tells of all interrupts.
const LIMIT: u64 = 1 << 20;

/// Processor time since boot, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Compares with the look before.
#[derive(Default)]
pub struct Monitor {
    last: Option<Ticks>,
}

impl Monitor {
    /// What has been used since the look before; `None` at the first.
    pub async fn look(&mut self) -> Result<Option<Load>, Error> {
        let (stat, memory) =
            files::blocking(|| Ok((text(Path::new(STAT))?, text(Path::new(MEMINFO))?))).await?;
        let Some(now) = ticks(&stat) else { return Ok(None) };
        let Some(before) = self.last.replace(now) else { return Ok(None) };
        let spent = (now.busy.saturating_sub(before.busy), now.all.saturating_sub(before.all));
        Ok(Some(Load {
            cpu_percent: in_tens(spent),
            memory_percent: in_tens(used(&memory).unwrap_or_default()),
        }))
    }
}

fn text(path: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&files::read(path, LIMIT)?.unwrap_or_default()).into_owned())
}

/// The line of all processors: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = numbers.get(3)?.saturating_add(numbers.get(4).copied().unwrap_or(0));
    let all = numbers.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
    Some(Ticks { busy: all.saturating_sub(idle), all })
}

/// KiB that are not available, and all.
fn used(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let all = kib("MemTotal:")?;
    Some((all.saturating_sub(kib("MemAvailable:")?), all))
}

/// The share in percent, rounded up to a ten: 10 to 100. Never 0, which stands for a host that tells nothing.
fn in_tens((part, all): (u64, u64)) -> u8 {
    let tens = part.saturating_mul(10).div_ceil(all.max(1)).clamp(1, 10);
    u8::try_from(tens * 10).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let stat = "cpu  10 5 20 100 7 1 2 3 4 0\ncpu0 1 1 1 1\nintr 5\n";
        assert_eq!(ticks(stat), Some(Ticks { busy: 41, all: 148 }));
        assert_eq!((ticks(""), ticks("cpu  1 2")), (None, None));
        let memory = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n";
        assert_eq!((used(memory), used("MemTotal: 5 kB")), (Some((750, 1_000)), None));
    }

    #[test]
    fn shares_are_tens() {
        let shares = [(0, 100), (1, 100), (10, 100), (11, 100), (99, 100), (100, 100), (5, 0)];
        assert_eq!(shares.map(in_tens), [10, 10, 10, 20, 100, 100, 100]);
    }

    #[tokio::test]
    async fn the_second_look_tells_of_this_machine() {
        let mut monitor = Monitor::default();
        assert_eq!(monitor.look().await.unwrap(), None);
        let load = monitor.look().await.unwrap().unwrap();
        assert!((10..=100).contains(&load.cpu_percent) && (10..=100).contains(&load.memory_percent));
    }
}
