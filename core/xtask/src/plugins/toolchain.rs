//! A Rust toolchain that can build for wasm32, whichever way this machine offers one.
//!
//! In order: the active toolchain, when it has the target; rustup, when it can fetch the target; Debian's
//! packages, whose compiler comes without the target's standard library but with its source.
//! `CANOPY_NO_RUSTUP=1` skips the second.

use super::TARGET;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
const RUSTUP_TIME: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The one that runs this, with the target installed.
    Active,
    /// Debian's, building the standard library from source.
    Debian,
}

impl Toolchain {
    /// Finds one, and installs it if it must.
    pub(super) fn find() -> Result<Self, String> {
        if active_has_target() || (std::env::var_os("CANOPY_NO_RUSTUP").is_none() && rustup_adds_target()) {
            return Ok(Self::Active);
        }
        if ![DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_LINKER].iter().all(|tool| Path::new(tool).exists()) {
            crate::packages::ensure(&PACKAGES)?;
        }
        Ok(Self::Debian)
    }

    /// Names the compiler exactly: another one is a reason to build again.
    pub(super) fn fingerprint(self) -> Result<String, String> {
        let rustc = match self {
            Self::Active => "rustc",
            Self::Debian => DEBIAN_RUSTC,
        };
        output(Command::new(rustc).arg("-vV"))
    }

    /// A cargo that inherits no flags, wrappers or targets from the one that runs this.
    pub(super) fn cargo(self) -> Command {
        let mut cargo = match self {
            Self::Active => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Self::Debian => Command::new(DEBIAN_CARGO),
        };
        for inherited in [
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
        ] {
            cargo.env_remove(inherited);
        }
        if self == Self::Debian {
            cargo.env("RUSTC", DEBIAN_RUSTC);
            // For -Zbuild-std: Debian ships the library's source, not its wasm32 build.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

fn active_has_target() -> bool {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot.is_ok_and(|path| Path::new(path.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// Asks rustup, but not for ever: behind a firewall it would wait for minutes.
fn rustup_adds_target() -> bool {
    let child = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let deadline = Instant::now() + RUSTUP_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success() && active_has_target(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|e| format!("{shown} could not be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("{shown} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{shown} answered no UTF-8"))
}
