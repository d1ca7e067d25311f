//! `cargo xtask down`: the demo's cloud and everything of it outside the checkout goes.

use crate::cloud::Cloud;
use crate::layout::{self, Demo};
use crate::run::{Res, check_root, remove, succeeds};
use crate::{libvirt, server, sweep};
use std::path::Path;

pub fn run(root: &Path, all: bool) -> Res<()> {
    let demo = Demo::of(root);
    let anything = demo.state.exists() || (demo.data.exists() && demo.data_is_ours());
    if !anything {
        if all {
            remove(&root.join("state"))?;
        }
        return Ok(());
    }
    check_root()?;
    let had_data = demo.data.exists();
    demo.create()?;
    let lock = demo.lock()?;

    through_the_api(root, &demo);
    if server::find(&demo).is_some() {
        server::stop(&demo)?;
        println!("stopped canopy serve");
    }
    // libvirt is needed to remove a guest properly; when it went down too, it comes up once more for this.
    if sweep::has_domains(&demo.data) {
        libvirt::start(&demo.started())?;
        println!("removed {} guests left behind", sweep::domains(&demo.data)?);
    }
    if succeeds(crate::run::program("ip").arg("-V")) {
        let parts = sweep::networks(server::SCOPE, &demo.data)?;
        if parts > 0 {
            println!("removed {parts} parts of networks");
        }
    }
    sweep::logs(&demo.data)?;
    libvirt::stop(&demo.started())?;
    remove(&demo.data)?;
    if had_data {
        println!("removed the cloud's data in {}", demo.data.display());
    }
    for file in [demo.config(), demo.clouds(), demo.state.join("server.identity")] {
        remove(&file)?;
    }
    if all {
        drop(lock);
        remove(&root.join("state"))?;
        println!("removed {}", layout::cache(root).parent().unwrap_or(root).display());
    }
    Ok(())
}

/// The polite way, for guests that can be asked to go; whatever it misses is swept afterwards.
fn through_the_api(root: &Path, demo: &Demo) {
    let programs = layout::cache(root).join("client/bin");
    let alive = server::find(demo).is_some() && server::port_of(demo).is_some_and(server::ready);
    if !alive || !programs.join("openstack").exists() || !demo.clouds().exists() {
        return;
    }
    match Cloud::new(&programs, demo).delete_servers() {
        Ok(()) => println!("deleted the servers through the API"),
        Err(error) => println!("the API did not delete the servers ({error}); removing them by hand"),
    }
}
