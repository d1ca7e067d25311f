//! A section of the documentation, followed: files are written as they stand, commands run in their order.
//!
//! A fenced block with a file's name after the language is that file; in a `console` block, lines that begin with `$`
//! are commands of one shell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nothing takes longer, tool chains from a registry included.
const PATIENCE: &str = "1500";

#[derive(Debug)]
pub enum Step {
    File { name: String, text: String },
    Command(String),
}

/// The steps of one section of a document below `sdk/`.
pub fn steps(document: &str, heading: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk").join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let mut steps = Vec::new();
    for (n, block) in section.split("```").enumerate() {
        let Some((info, body)) = block.split_once('\n').filter(|_| n % 2 == 1) else { continue };
        match info.split_once(' ') {
            Some((_, name)) => steps.push(Step::File { name: name.trim().to_owned(), text: body.to_owned() }),
            None if info == "console" => {
                let commands = body.lines().filter_map(|line| line.strip_prefix("$ "));
                steps.extend(commands.map(|line| Step::Command(line.to_owned())));
            }
            None => {}
        }
    }
    steps
}

/// A folder in which `canopy` is found.
pub struct Room {
    folder: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Room {
    pub fn new(folder: &Path) -> Self {
        let tools = folder.join(".tools");
        std::fs::create_dir_all(&tools).unwrap();
        let binary = std::fs::canonicalize(canopy_tests::process::binary()).unwrap();
        std::os::unix::fs::symlink(binary, tools.join("canopy")).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = PathBuf::from(format!("{}:{path}", tools.display()));
        Self { folder: folder.to_owned(), environment: vec![("PATH", path)] }
    }

    pub fn with(mut self, name: &'static str, value: &Path) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Whatever fails, with all that was said.
    pub fn follow(&self, steps: &[Step]) -> Result<(), String> {
        let mut script = String::from("set -ex\n");
        for step in steps {
            match step {
                Step::File { name, text } => std::fs::write(self.folder.join(name), text).unwrap(),
                Step::Command(line) => script += &format!("{line}\n"),
            }
        }
        let mut shell = Command::new("timeout");
        shell.args([PATIENCE, "sh", "-c", &script]).current_dir(&self.folder).stdin(Stdio::null());
        for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "OS_AUTH_URL"] {
            shell.env_remove(inherited);
        }
        let output = shell.envs(self.environment.iter().map(|(name, value)| (name, value))).output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Err(format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr)))
    }
}
