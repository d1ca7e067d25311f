//! Cleaning up however we end: also by ctrl-C, and also when killed.
//!
//! A shell of its own session reads cleaning commands from a pipe that only we hold open. When we end, for
//! whatever reason, the pipe closes and the shell runs them, the last one first.

use crate::run::{Res, as_root};
use std::io::Write;
use std::process::{Child, Stdio};

pub struct Janitor(Child);

impl Janitor {
    pub fn start() -> Res<Self> {
        let mut shell = as_root("setsid");
        shell.args(["sh", "-c", "trap '' INT TERM HUP; commands=$(tac); eval \"$commands\""]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Self).map_err(|e| format!("setsid could not be started: {e}"))
    }

    /// One command to run at the end, as words.
    pub fn later(&mut self, words: &[&str]) -> Res<()> {
        let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let pipe = self.0.stdin.as_mut().ok_or("the janitor's pipe is closed")?;
        writeln!(pipe, "{}", line.join(" ")).map_err(|e| format!("the janitor is gone: {e}"))
    }

    /// Cleans up now and waits for it.
    pub fn finish(mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_in_reverse_order_when_the_pipe_closes() {
        let folder = std::env::temp_dir().join(format!("canopy-janitor-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, path) = (folder.join("it's here"), folder.to_str().unwrap().to_owned());
        let mut janitor = Janitor::start().unwrap();
        janitor.later(&["mv", &format!("{path}/moved"), &format!("{path}/done")]).unwrap();
        janitor.later(&["mv", file.to_str().unwrap(), &format!("{path}/moved")]).unwrap();
        std::fs::write(&file, "x").unwrap();
        janitor.finish();
        assert!(folder.join("done").is_file());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
