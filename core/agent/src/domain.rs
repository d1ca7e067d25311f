//! From what is wanted to the domain that the hypervisor defines: pure.

use crate::images::{Images, hex};
use crate::record::ServerDir;
use crate::scope::domain_name;
use canopy_agent_api::{Blob, NetworkSpec, PortSpec, ServerSpec, bridge_name, tap_name};
use canopy_hypervisor::{Boot, Disk, DomainSpec, Nic};
use canopy_types::Error;
use sha2::{Digest, Sha256};

/// For images with a kernel but without `os_command_line`.
const COMMAND_LINE: &str = "root=/dev/vda console=tty0 console=ttyS0,115200";

/// Every blob that the server needs from the image service.
pub fn blobs(spec: &ServerSpec) -> Vec<&Blob> {
    spec.image
        .iter()
        .chain(&spec.rescue)
        .flat_map(|image| [Some(&image.blob), image.kernel.as_ref(), image.ramdisk.as_ref()])
        .flatten()
        .collect()
}

/// The devices of these ports, in their order.
pub fn nics(ports: &[PortSpec], networks: &[NetworkSpec]) -> Result<Vec<Nic>, Error> {
    ports
        .iter()
        .map(|port| {
            let network = networks.iter().find(|n| n.id == port.network_id).ok_or_else(|| {
                Error::unavailable(
                    "agent.network_unknown",
                    format!("Network {} is not known on this host yet.", port.network_id),
                )
            })?;
            Ok(Nic {
                mac: port.mac.clone(),
                bridge: bridge_name(network.segment),
                tap: tap_name(port.id),
                mtu: network.mtu,
            })
        })
        .collect()
}

pub fn build(
    spec: &ServerSpec,
    networks: &[NetworkSpec],
    dir: &ServerDir,
    images: &Images,
    scope: &str,
) -> Result<DomainSpec, Error> {
    let boots_from = spec.rescue.as_ref().or(spec.image.as_ref());
    let boot = match boots_from.and_then(|image| Some((image, image.kernel.as_ref()?))) {
        None => Boot::Disk,
        Some((image, kernel)) => Boot::Kernel {
            kernel: images.path(kernel)?,
            initrd: image.ramdisk.as_ref().map(|blob| images.path(blob)).transpose()?,
            cmdline: image.properties.get("os_command_line").map_or(COMMAND_LINE, String::as_str).to_owned(),
        },
    };
    Ok(DomainSpec {
        id: spec.id,
        name: domain_name(scope, &spec.domain_name),
        title: spec.name.clone(),
        project_id: spec.project_id.to_string(),
        vcpus: spec.flavor.vcpus,
        memory_mib: spec.flavor.memory_mib,
        boot,
        disks: spec
            .rescue
            .iter()
            .map(|_| dir.rescue_disk())
            .chain([dir.disk()])
            .map(|path| Disk { path, format: "qcow2".into() })
            .collect(),
        config_drive: spec.config_drive.then(|| dir.config_drive()),
        nics: nics(&spec.ports, networks)?,
        console_log: dir.console_log(),
        console_socket: dir.console_socket(),
    })
}

/// Changes when anything of the definition does.
pub fn hash(domain: &DomainSpec) -> Result<String, Error> {
    let text = serde_json::to_vec(domain).map_err(|e| Error::internal("agent.definition", e))?;
    Ok(hex(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FakeController};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn the_definition_follows_the_spec_and_its_hash_sees_every_change() {
        let images = Images::new(Path::new("/state"), Arc::new(FakeController::default()), 1);
        let (mut spec, networks) = testing::spec_with_network();
        let dir = ServerDir::new(Path::new("/state"), spec.id);
        let domain = build(&spec, &networks, &dir, &images, "").unwrap();
        assert_eq!(domain.boot, Boot::Disk);
        assert_eq!(domain.nics[0].bridge, format!("cnb{}", networks[0].segment));
        assert_eq!(domain.nics[0].mtu, networks[0].mtu);
        let first = hash(&domain).unwrap();
        assert_eq!(first, hash(&domain).unwrap());

        let image = spec.image.as_mut().unwrap();
        image.kernel = Some(testing::blob_of(b"kernel"));
        let direct = build(&spec, &networks, &dir, &images, "").unwrap();
        let Boot::Kernel { cmdline, initrd, .. } = &direct.boot else { panic!("direct boot") };
        assert_eq!((cmdline.as_str(), initrd), (COMMAND_LINE, &None));
        assert_ne!(hash(&direct).unwrap(), first);
        assert_eq!(blobs(&spec).len(), 2);

        spec.image.as_mut().unwrap().properties.insert("os_command_line".into(), "quiet".into());
        let custom = build(&spec, &networks, &dir, &images, "").unwrap();
        assert!(matches!(custom.boot, Boot::Kernel { cmdline, .. } if cmdline == "quiet"));
        assert_eq!(build(&spec, &[], &dir, &images, "").unwrap_err().code, "agent.network_unknown");
    }
}
