//! `cargo xtask test`: sets up what the tests need, runs all of them, and leaves nothing behind.

use crate::demo::{beside_client, beside_image, build_early};
use crate::janitor::Janitor;
use crate::phases::{Phases, seconds};
use crate::run::{Res, cargo, check_root, failed, is_root, visible};
use crate::{libvirt, packages, plugins, postgres};
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PHASES: usize = 9;
/// Tests name their network scopes so, and nobody else does.
const SCOPE: &str = "test";

pub fn run(root: &Path, all: bool, filter: Option<&str>) -> Res<()> {
    check_root()?;
    let mut phases = Phases::new(PHASES);
    let early = build_early(root);
    phases.quiet("installing system packages", || {
        let groups = [
            packages::HOST,
            packages::BUILD,
            packages::IMAGE,
            packages::PYTHON,
            packages::TESTS,
            if all { packages::BROWSER } else { &[] },
            packages::GUESTS,
            packages::DATABASE,
        ];
        packages::ensure(&groups.concat())
    })?;
    let (image, tools) = (beside_image(root), beside_client(root));
    phases.loud("building the plugins", || plugins::build(root))?;
    let binary = phases.loud("building server and tests", || {
        let _ = early.wait();
        build(root)
    })?;
    let image = phases.quiet("making the guest image", || image.wait())?;
    let tools = phases.quiet("installing the openstack client", || tools.wait())?;

    // From here on things are started, which the janitor ends, whatever becomes of us.
    let mut janitor = Janitor::start()?;
    let folder = PathBuf::from(format!("/var/tmp/canopy-test-{}", std::process::id()));
    let outcome = phases.quiet("starting libvirt", || start_libvirt(&mut janitor, &folder)).and_then(|()| {
        let database = phases
            .quiet("starting PostgreSQL", || postgres::start(&folder.join("postgres"), &mut janitor))?;
        let images = image.disk.parent().unwrap_or(root).to_owned();
        let environment = [
            ("TMPDIR", folder.clone()),
            ("CANOPY_BIN", binary),
            ("CANOPY_TEST_PLUGINS", root.join("target/plugins")),
            ("CANOPY_TEST_IMAGE_DIR", images),
            ("CANOPY_TEST_OPENSTACK", tools.join("openstack")),
            ("CANOPY_TEST_POSTGRES", PathBuf::from(database)),
        ];
        let counts = phases.loud("running the tests", || run_tests(root, &environment, all, filter))?;
        phases.loud("running the plugins' own tests", || plugins::test(root))?;
        Ok(counts)
    });
    janitor.finish();
    println!("\nSeconds of each phase:\n{}", phases.table());
    let counts = outcome?;
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.ignored);
    if counts.failed > 0 || !counts.complete {
        return Err("tests failed".to_owned());
    }
    println!("all tests passed in {}", seconds(phases.elapsed()));
    Ok(())
}

/// Everything is compiled before anything is started.
fn build(root: &Path) -> Res<PathBuf> {
    let mut compile = tests(root, None);
    compile.arg("--no-run");
    if !std::io::stdout().is_terminal() {
        compile.arg("--quiet");
    }
    visible(&mut compile)?;
    crate::demo::build_server(root)
}

fn tests(root: &Path, filter: Option<&str>) -> Command {
    let mut command = cargo(root);
    // Examples in documentation are not tests here: linking each one costs more than it finds.
    command
        .args(["test", "--workspace", "--locked", "--lib", "--bins", "--tests", "--no-fail-fast"])
        .args(filter);
    command
}

/// The same command under a small init: what tests leave without a parent is reaped, so that libvirt does not
/// wait for a guest's process that has ended.
fn reaped(command: &Command) -> Command {
    let mut outer = Command::new("tini");
    outer.args(["-s", "--"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// libvirt for the tests, stopped at the end only if nothing answered before; and the tests' own folder,
/// with whatever guests and networks they leave.
fn start_libvirt(janitor: &mut Janitor, folder: &Path) -> Res<()> {
    std::fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
    // QEMU's and the database's users pass through.
    let mode = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(folder, mode).map_err(|e| failed("change", folder, &e))?;
    let me = std::env::current_exe().map_err(|e| format!("our own program is gone: {e}"))?;
    let (me, shown) = (me.to_string_lossy(), folder.to_string_lossy());
    janitor.later(&["rm", "-rf", "--one-file-system", "--", &shown])?;
    janitor.later(&[&me, "sweep", &shown, SCOPE])?;
    libvirt::start(&folder.join("started"))
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Cargo itself found nothing wrong, a test program that crashed included.
    complete: bool,
}

fn run_tests(root: &Path, environment: &[(&str, PathBuf)], all: bool, filter: Option<&str>) -> Res<Counts> {
    let mut command = reaped(&tests(root, filter));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    if !is_root() {
        command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -n --preserve-env");
    }
    if all {
        command.args(["--", "--include-ignored"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cargo could not be started: {e}"))?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|e| format!("reading the tests' output: {e}"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            counts.add(&line);
        }
    }
    let status = child.wait().map_err(|e| format!("cargo test: {e}"))?;
    counts.complete = status.success();
    Ok(counts)
}

impl Counts {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let Some(number) = words.next().and_then(|n| n.parse::<u64>().ok()) else { continue };
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut counts = Counts::default();
        counts.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.05s",
        );
        counts.add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s");
        counts.add("test a_test ... ok");
        assert_eq!((counts.passed, counts.failed, counts.ignored), (13, 2, 1));
    }
}
