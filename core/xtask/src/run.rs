//! Running other programs: as root where that is needed, with what they said when they fail.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub type Res<T> = Result<T, String>;

/// How much of a failed program's output is shown, lines.
const SHOWN_LINES: usize = 25;

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A program found also in the folders that a normal user's PATH leaves out.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command
}

/// The same as root. `sudo` passes on no environment: use `as_root("env")` for variables.
pub fn as_root(name: &str) -> Command {
    if is_root() {
        return program(name);
    }
    let mut command = program("sudo");
    command.args(["-n", "--", name]);
    command
}

/// Fails early with advice when root is needed and cannot be had.
pub fn check_root() -> Res<()> {
    if as_root("true").stdin(Stdio::null()).output().is_ok_and(|o| o.status.success()) {
        return Ok(());
    }
    Err("this needs root: run it as root, or as a user whose `sudo` asks for no password".to_owned())
}

/// Runs to the end without showing its output, which is part of the error if it fails.
pub fn quiet(command: &mut Command) -> Res<()> {
    text(command).map(drop)
}

/// Runs to the end and returns its standard output.
pub fn text(command: &mut Command) -> Res<String> {
    let output = output(command)?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|_| format!("{}: no UTF-8", shown(command)));
    }
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}\n{}", shown(command), output.status, tail(&said, SHOWN_LINES)))
}

/// Whether it ran and succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok_and(|o| o.status.success())
}

pub fn output(command: &mut Command) -> Res<Output> {
    command.stdin(Stdio::null()).output().map_err(|e| format!("{} could not be started: {e}", shown(command)))
}

/// Runs with our own standard output and error.
pub fn visible(command: &mut Command) -> Res<()> {
    let status = command.stdin(Stdio::null()).status();
    match status.map_err(|e| format!("{} could not be started: {e}", shown(command)))? {
        status if status.success() => Ok(()),
        status => Err(format!("{} ended with {status}", shown(command))),
    }
}

/// The command as a person would type it, shortened.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(200) {
        line.truncate(end);
        line.push('…');
    }
    format!("`{line}`")
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The cargo that runs us.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Set by the `cargo run` that started us; it would leak into build scripts of other packages.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Removes a file or folder of whatever owner; nothing there is fine.
pub fn remove(path: &Path) -> Res<()> {
    if path.symlink_metadata().is_err() && is_root() {
        return Ok(());
    }
    quiet(as_root("rm").args(["-rf", "--one-file-system", "--"]).arg(path))
}

pub fn failed(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}
