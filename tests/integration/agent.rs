//! What the agent leaves on a host's disk, judged by the programs that must read it.
//!
//! Needs `qemu-img` and `bsdtar` (Debian: qemu-utils, libarchive-tools). No root, no libvirt: the
//! hypervisor is the one in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use async_trait::async_trait;
use canopy_agent::network::NoNetwork;
use canopy_agent::{Agent, AgentConfig};
use canopy_agent_api::{
    Ack, Answer, Blob, Controller, Desired, FlavorSpec, ImageSpec, KeySpec, Observed, Question, Registered,
    Registration, ServerSpec,
};
use canopy_hypervisor::DomainSpec;
use canopy_hypervisor::fake::FakeHypervisor;
use canopy_types::server::{Phase, PowerIntent};
use canopy_types::{Error, HostId, ImageId, ProjectId, RequestId, ServerId, Timestamp, UserId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Wants one thing, serves one image, keeps the last phase.
struct OneServer {
    desired: Desired,
    image: PathBuf,
    phase: watch::Sender<Option<Phase>>,
    faults: Mutex<Vec<String>>,
}

#[async_trait]
impl Controller for OneServer {
    async fn register(&self, _: Registration) -> Result<Registered, Error> {
        Ok(Registered { host_id: HostId::random(), generation: 0 })
    }

    async fn desired(&self, _: HostId, since: i64, wait: Duration) -> Result<Desired, Error> {
        if since >= self.desired.revision {
            tokio::time::sleep(wait).await;
        }
        Ok(self.desired.clone())
    }

    async fn report(&self, _: HostId, observed: Observed) -> Result<Ack, Error> {
        for server in observed.servers {
            self.faults.lock().unwrap().extend(server.error);
            self.phase.send_replace(Some(server.phase));
        }
        Ok(Ack { revision: self.desired.revision })
    }

    async fn fetch_image(&self, _: &Blob, into: &Path) -> Result<(), Error> {
        std::fs::copy(&self.image, into).unwrap();
        Ok(())
    }

    async fn store_image(
        &self,
        _: HostId,
        _: canopy_types::ServerId,
        _: canopy_types::ImageId,
        _: &std::path::Path,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn next_question(&self, _: HostId, wait: Duration) -> Result<Option<Question>, Error> {
        tokio::time::sleep(wait).await;
        Ok(None)
    }

    async fn answer(&self, _: HostId, _: Answer) -> Result<(), Error> {
        Ok(())
    }

    async fn join(&self, _: HostId, _: &str, _: canopy_agent_api::ConsoleStream) -> Result<(), Error> {
        Ok(())
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e} (cargo xtask test installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn spec(image: &Path) -> ServerSpec {
    let digest = output("sha256sum", &[image.to_str().unwrap()])[..64].to_owned();
    let size = i64::try_from(std::fs::metadata(image).unwrap().len()).unwrap();
    ServerSpec {
        id: ServerId::random(),
        domain_name: "instance-0000002a".into(),
        name: "one".into(),
        hostname: "one".into(),
        project_id: ProjectId::random(),
        user_id: UserId::random(),
        power: PowerIntent::plain(true, 1),
        deleted: false,
        flavor: FlavorSpec {
            name: "m1.tiny".into(),
            vcpus: 1,
            memory_mib: 128,
            root_gib: 1,
            extra_specs: BTreeMap::new(),
        },
        image: Some(ImageSpec {
            id: ImageId::random(),
            blob: Blob { digest, size },
            disk_format: "qcow2".into(),
            kernel: None,
            ramdisk: None,
            properties: BTreeMap::new(),
        }),
        leaving: Vec::new(),
        ports: Vec::new(),
        config_drive: true,
        // #!/bin/sh\necho user-data-ran > /dev/console\n
        user_data: Some("IyEvYmluL3NoCmVjaG8gdXNlci1kYXRhLXJhbiA+IC9kZXYvY29uc29sZQo=".into()),
        keys: vec![KeySpec {
            name: "mine".into(),
            kind: "ssh".into(),
            public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOk test".into(),
        }],
        metadata: BTreeMap::new(),
        availability_zone: "nova".into(),
        reservation_id: "r-1".into(),
        launch_index: 0,
        created_at: Timestamp(0),
        request_id: RequestId::random(),
        kept_n: None,
        rescue: None,
        snapshot: None,
        device_tags: canopy_agent_api::DeviceTags::default(),
    }
}

/// Runs an agent until the server runs; returns what the hypervisor was told to define.
async fn defined(state: &Path, spec: ServerSpec, image: PathBuf) -> DomainSpec {
    let controller = Arc::new(OneServer {
        desired: Desired { revision: 1, servers: vec![spec.clone().into()], networks: vec![] },
        image,
        phase: watch::Sender::new(None),
        faults: Mutex::default(),
    });
    let hypervisor = FakeHypervisor::new();
    let agent = Agent::new(
        AgentConfig::new("host-1", state),
        Arc::clone(&controller) as Arc<dyn Controller>,
        Arc::new(hypervisor.clone()),
        NoNetwork,
        Arc::new(NoNetwork),
    );
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move { agent.run(stopped).await });
    let mut phase = controller.phase.subscribe();
    let runs = phase.wait_for(|p| *p == Some(Phase::Running));
    let runs = tokio::time::timeout(Duration::from_secs(60), runs).await;
    assert!(runs.is_ok(), "{:?}", controller.faults.lock().unwrap());
    drop(runs);
    stop.send_replace(true);
    task.await.unwrap();
    hypervisor.spec(spec.id).unwrap()
}

/// A qcow2 image of 8 MiB.
fn image(dir: &Path) -> PathBuf {
    let path = dir.join("image.qcow2");
    output("qemu-img", &["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "8M"]);
    path
}

#[tokio::test]
async fn the_root_disk_is_an_overlay_that_qemu_accepts() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let spec = spec(&image);
    let digest = spec.image.as_ref().unwrap().blob.digest.clone();
    let domain = defined(&dir.path().join("state"), spec, image).await;
    let disk = domain.disks[0].path.to_str().unwrap();
    let info: serde_json::Value =
        serde_json::from_str(&output("qemu-img", &["info", "--output=json", disk])).unwrap();
    assert_eq!(info["format"], "qcow2");
    assert_eq!(info["virtual-size"], 1u64 << 30);
    assert_eq!(info["backing-filename-format"], "qcow2");
    let backing = Path::new(info["backing-filename"].as_str().unwrap());
    assert!(backing.ends_with(format!("sha256/{}/{digest}", &digest[..2])), "{backing:?}");
    assert_eq!(std::fs::metadata(backing).unwrap().permissions().mode() & 0o777, 0o444);
    output("qemu-img", &["check", disk]);
    // QEMU's user can pass through every folder of ours on the way.
    for folder in backing.ancestors().skip(1).take_while(|p| *p != dir.path()) {
        let mode = std::fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o011, 0o011, "{folder:?}");
    }
}

#[tokio::test]
async fn a_strange_reader_finds_everything_on_the_config_drive() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let spec = spec(&image);
    let id = spec.id;
    let domain = defined(&dir.path().join("state"), spec, image).await;
    let drive = domain.config_drive.unwrap();
    let drive = drive.to_str().unwrap();
    let one = |path: &str| output("bsdtar", &["-xOf", drive, path]);
    let meta: serde_json::Value = serde_json::from_str(&one("openstack/latest/meta_data.json")).unwrap();
    assert_eq!(meta["uuid"], id.to_string());
    assert!(one("openstack/latest/user_data").starts_with("#!/bin/sh\necho user-data-ran"));
    let names = output("bsdtar", &["-tf", drive]);
    for path in ["openstack/2012-08-10/meta_data.json", "openstack/2018-08-27/network_data.json"] {
        assert!(names.lines().any(|line| line == path), "{path} in {names}");
    }
    let ec2: serde_json::Value = serde_json::from_str(&one("ec2/latest/meta-data.json")).unwrap();
    assert_eq!(ec2["instance-id"], "i-0000002a");
    // The other tree says the same.
    let joliet = output("bsdtar", &["--options", "!rockridge", "-tf", drive]);
    assert_eq!(joliet.lines().count(), names.lines().count(), "{joliet}");
    assert!(joliet.contains("openstack/latest/meta_data.json"), "{joliet}");
}
