//! Finding and ending processes by what they are, not by a number noted somewhere.

use crate::run::{Res, as_root, quiet};
use std::fs;
use std::time::{Duration, Instant};

/// The kernel shows times to programs in this unit on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub arguments: Vec<String>,
    /// Seconds after the machine's boot; two processes of one number differ in it.
    pub started: f64,
}

/// Every process of this machine that still runs; those in containers are none of our business.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let space = |of: &str| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let here = space("self");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    numbers
        .filter_map(|number| {
            let process = read(number.parse().ok()?)?;
            // Root sees where each belongs; another user sees it of the own ones only.
            space(&number).is_none_or(|its| Some(its) == here).then_some(process)
        })
        .collect()
}

fn read(pid: u32) -> Option<Process> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments: Vec<String> = bytes
        .split(|b| *b == 0)
        .filter(|a| !a.is_empty())
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect();
    if arguments.is_empty() {
        // A kernel thread, or one that has ended and waits to be collected.
        return None;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in brackets, may hold blanks and brackets itself.
    let ticks: f64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    Some(Process { pid, arguments, started: ticks / TICKS_PER_SECOND })
}

impl Process {
    /// The file name of the program.
    pub fn program(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    pub fn runs(&self) -> bool {
        read(self.pid).is_some_and(|now| now.started == self.started && now.arguments == self.arguments)
    }

    /// Asks it to end, and after `patience` makes it.
    pub fn end(&self, patience: Duration) -> Res<()> {
        for (signal, patience) in [("TERM", patience), ("KILL", Duration::from_secs(5))] {
            if !self.runs() {
                return Ok(());
            }
            // It may be gone before the signal arrives.
            let _ =
                quiet(as_root("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", signal, &self.pid.to_string()]));
            if until(patience, || !self.runs()) {
                return Ok(());
            }
        }
        Err(format!("process {} ({}) does not end", self.pid, self.program()))
    }
}

/// Polls until `condition` holds; false if it never did.
pub fn until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Seconds since the machine's boot.
pub fn uptime() -> Res<f64> {
    let text = fs::read_to_string("/proc/uptime").map_err(|e| format!("/proc/uptime: {e}"))?;
    text.split(' ')
        .next()
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| "/proc/uptime: not understood".to_owned())
}

/// Changes with every boot of the machine.
pub fn boot_id() -> Res<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|e| format!("boot_id: {e}"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_found_by_its_arguments_and_ended() {
        let odd = "86399.25";
        let mut child = Command::new("sleep").arg(odd).stdout(Stdio::null()).spawn().unwrap();
        // A spawned program shows no arguments for the moment in which the kernel still sets them up.
        let mut found = Vec::new();
        until(Duration::from_secs(10), || {
            found = all().into_iter().filter(|p| p.pid == child.id() && p.program() == "sleep").collect();
            !found.is_empty()
        });
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].program(), found[0].arguments[1].as_str()), ("sleep", odd));
        assert!(found[0].started > 0.0 && found[0].started <= uptime().unwrap() + 1.0);
        assert!(found[0].runs());
        // It is our child, hence collected only here: an ended process has no arguments any more.
        found[0].end(Duration::from_secs(5)).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!found[0].runs());
    }
}
