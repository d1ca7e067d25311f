//! `cargo xtask demo`: from a bare machine to a guest, in phases that each do only what is still missing.

use crate::cloud::{self, CLOUD, Cloud, FLAVOR, IMAGE, KEY, NETWORK, SERVER};
use crate::layout::{self, Demo};
use crate::phases::{Beside, Phases};
use crate::run::{Res, cargo, check_root, is_root, quiet, visible};
use crate::{client, guest_image, libvirt, packages, plugins, prove, server};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

const PHASES: usize = 9;

pub fn run(root: &Path) -> Res<()> {
    check_root()?;
    let demo = Demo::of(root);
    demo.create()?;
    let _lock = demo.lock()?;
    if !demo.inside {
        println!("QEMU cannot use this checkout's folder: guests' disks go to {}", demo.data.display());
    }
    let mut phases = Phases::new(PHASES);

    let early = build_early(root);
    phases.quiet("installing system packages", || {
        packages::ensure(&[packages::HOST, packages::BUILD, packages::IMAGE, packages::PYTHON].concat())
    })?;
    // Both wait for the network more than they compute.
    let (image, tools) = (beside_image(root), beside_client(root));
    phases.loud("building the plugins", || plugins::build(root))?;
    let binary = phases.loud("building the server", || {
        let _ = early.wait();
        build_server(root)
    })?;
    let image = phases.quiet("making the guest image", || image.wait())?;
    let tools = phases.quiet("installing the openstack client", || tools.wait())?;
    phases.quiet("starting libvirt", || libvirt::start(&demo.started()))?;
    let (port, clouds) = phases.quiet("starting canopy serve", || {
        let port = server::start(root, &demo, &binary)?;
        Ok((port, cloud::write_clouds(&demo, port)?))
    })?;
    let cloud = Cloud::new(&tools, &demo);
    let guest = phases
        .quiet("making flavor, key, images, network and server", || cloud::complete(&cloud, &demo, &image))?;
    let proof = phases.quiet("waiting for the guest: SSH, DHCP, console", || {
        prove::prove(&cloud, &demo, &guest, &binary)
    })?;

    println!("\nSeconds of each phase:\n{}", phases.table());
    println!(
        "Server {SERVER} has address {} on network demo, and answers SSH as {:?}.",
        guest.address, proof.hostname
    );
    for line in &proof.console {
        println!("  its console says: {line}");
    }
    println!("\nThe API is at http://127.0.0.1:{port}. {} says:\n\n{clouds}", demo.clouds().display());
    println!("Log in to the guest:\n");
    let sudo = if is_root() { "" } else { "sudo " };
    let (config, key) = (demo.config(), demo.key());
    println!("  {sudo}{} ssh --config {} -i {} {SERVER}", binary.display(), config.display(), key.display());
    println!("\nand then try, with the client that the demo used:\n");
    println!(
        "  export OS_CLIENT_CONFIG_FILE={} OS_CLOUD={CLOUD} PATH=$PATH:{}",
        demo.clouds().display(),
        tools.display()
    );
    println!(
        "  openstack server create --flavor {FLAVOR} --image {IMAGE} --network {NETWORK} --key-name {KEY} --wait demo-2"
    );
    println!("  openstack console log show {SERVER}");
    println!("  cargo xtask down");
    Ok(())
}

/// Nearly everything compiles without the packages that are being installed meanwhile. What does not, and
/// what is simply wrong, shows in the real build.
pub fn build_early(root: &Path) -> Beside<()> {
    let root = root.to_owned();
    Beside::start(move || quiet(server_build(&root).args(["--keep-going", "--quiet"])))
}

/// The same profile and features as the tests, so that one build serves both.
fn server_build(root: &Path) -> Command {
    let mut build = cargo(root);
    build.args(["build", "--workspace", "--bin", "canopy", "--locked"]);
    build
}

pub fn build_server(root: &Path) -> Res<PathBuf> {
    let mut build = server_build(root);
    if !std::io::stdout().is_terminal() {
        build.arg("--quiet");
    }
    visible(&mut build)?;
    Ok(layout::target(root)?.join("debug/canopy"))
}

pub fn beside_image(root: &Path) -> Beside<guest_image::GuestImage> {
    let root = root.to_owned();
    Beside::start(move || guest_image::build(&root, &layout::cache(&root).join("guest-image")))
}

pub fn beside_client(root: &Path) -> Beside<PathBuf> {
    let root = root.to_owned();
    Beside::start(move || client::tools(&root, &layout::cache(&root), "client"))
}
