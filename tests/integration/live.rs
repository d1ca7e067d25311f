//! The stock `openstack` client, a real guest that boots, and a real network: first light, kept lit.

#[path = "live/console.rs"]
mod console;
#[path = "live/flat.rs"]
mod flat;

use canopy_tests::process::{Process, output};
use canopy_tests::{Client, until};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Openstack {
    program: PathBuf,
    url: String,
    password: String,
}

impl Openstack {
    fn new(process: &Process) -> Self {
        let program =
            std::env::var_os("CANOPY_TEST_OPENSTACK").map_or_else(|| "openstack".into(), PathBuf::from);
        let password =
            std::fs::read_to_string(process.data().join("admin-password")).unwrap().trim().to_owned();
        Self { program, url: process.url(), password }
    }

    /// Runs a command; panics with its own words when it fails.
    fn run(&self, arguments: &[&str]) -> String {
        self.run_as("admin", &self.password, "admin", arguments)
    }

    /// Whether a command does what it should.
    fn does(&self, arguments: &[&str]) -> bool {
        self.output("admin", &self.password, "admin", arguments).status.success()
    }

    fn run_as(&self, user: &str, password: &str, project: &str, arguments: &[&str]) -> String {
        let output = self.output(user, password, project, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "openstack {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn output(&self, user: &str, password: &str, project: &str, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", std::env::temp_dir())
            .env("LANG", "C.UTF-8")
            .env("OS_AUTH_URL", format!("{}/identity/v3", self.url))
            .env("OS_USERNAME", user)
            .env("OS_PASSWORD", password)
            .env("OS_PROJECT_NAME", project)
            .env("OS_USER_DOMAIN_NAME", "Default")
            .env("OS_PROJECT_DOMAIN_NAME", "Default")
            .env("OS_REGION_NAME", "RegionOne")
            .stdin(Stdio::null())
            .output()
            .expect("the openstack client: `cargo xtask test` installs it")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-f", "json"]);
        serde_json::from_str(&self.run(&all)).expect("JSON")
    }

    /// Polls a command's output for a text, a booting guest's patience.
    fn until_says(&self, arguments: &[&str], what: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(240);
        loop {
            let said = self.run(arguments);
            if said.contains(what) {
                return said;
            }
            assert!(Instant::now() < deadline, "{arguments:?} never said {what:?}:\n{said}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn guest_file(name: &str) -> String {
    let dir = std::env::var_os("CANOPY_TEST_IMAGE_DIR")
        .map(PathBuf::from)
        .expect("CANOPY_TEST_IMAGE_DIR: `cargo xtask test` makes the guest image and sets it");
    dir.join(name).display().to_string()
}

/// In the network's namespace on this host, as root of the guest.
fn ssh(network: &str, address: &str, key: &str, command: &str) -> Option<String> {
    ssh_from(&format!("canopy-{network}"), address, key, command)
}

/// In a namespace on this host, as root of the guest.
fn ssh_from(namespace: &str, address: &str, key: &str, command: &str) -> Option<String> {
    let output = Command::new("ip")
        .args(["netns", "exec", namespace, "timeout", "10", "ssh", "-i", key])
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "StrictHostKeyChecking=no"])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            &format!("root@{address}"),
            command,
        ])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A flavor `small`, the key pair `k`, and the image `guest` with its kernel.
fn ready_to_boot(cloud: &Openstack, key: &str) {
    cloud.run(&["flavor", "create", "--vcpus", "1", "--ram", "160", "--disk", "1", "small"]);
    cloud.run(&["keypair", "create", "--public-key", &format!("{key}.pub"), "k"]);
    let image = |name: &str, format: &str, file: &str, more: &[&str]| {
        let container = if format == "qcow2" { "bare" } else { format };
        let mut arguments = vec![
            "image",
            "create",
            name,
            "--disk-format",
            format,
            "--container-format",
            container,
            "--file",
            file,
        ];
        arguments.extend(more);
        cloud.json(&arguments)["id"].as_str().expect("an id").to_owned()
    };
    let kernel = image("vmlinuz", "aki", &guest_file("vmlinuz"), &[]);
    let ramdisk = image("initrd", "ari", &guest_file("initrd"), &[]);
    let (kernel, ramdisk) = (format!("kernel_id={kernel}"), format!("ramdisk_id={ramdisk}"));
    let line = "os_command_line=root=canopy console=tty0 console=ttyS0,115200 net.ifnames=0";
    let agent = "hw_qemu_guest_agent=yes";
    let properties = ["--property", &kernel, "--property", &ramdisk, "--property", line, "--property", agent];
    image("guest", "qcow2", &guest_file("guest.qcow2"), &properties);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_client_makes_a_guest_that_boots_gets_its_key_and_goes() {
    // Alone: it restarts libvirtd.
    let _libvirt = crate::libvirt::exclusive().await;
    let daemon = crate::libvirt::Restart;
    let mut process = Process::prepare("live");
    process.start_ready().await;
    let cloud = Openstack::new(&process);
    let key = process.data().join("key");
    let key = key.to_string_lossy().into_owned();
    output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);

    ready_to_boot(&cloud, &key);
    let network = cloud.json(&["network", "create", "n"])["id"].as_str().unwrap().to_owned();
    let subnet = [
        "subnet",
        "create",
        "--network",
        "n",
        "--subnet-range",
        "10.98.0.0/24",
        "--dns-nameserver",
        "10.98.0.53",
        "s",
    ];
    cloud.run(&subnet);
    let create =
        ["server", "create", "--flavor", "small", "--image", "guest", "--network", "n", "--key-name", "k"];
    cloud.run(&[&create[..], &["--wait", "web"]].concat());

    let shown = cloud.json(&["server", "show", "web"]);
    assert_eq!(shown["status"], "ACTIVE", "{shown}");
    let address = shown["addresses"]["n"][0].as_str().unwrap().to_owned();
    assert!(cloud.run(&["server", "list"]).contains(&address));
    // DHCP and, there being no config drive, the metadata service at 169.254.169.254.
    let console = cloud.until_says(&["console", "log", "show", "web"], "CANOPY-GUEST: READY");
    assert!(console.contains(&format!("CANOPY-GUEST: dhcp eth0 {address}/24")), "{console}");
    assert!(console.contains("source=http"), "{console}");
    assert!(console.contains("hostname=web"), "{console}");
    until("SSH with the injected key", async || {
        ssh(&network, &address, &key, "hostname").as_deref() == Some("web")
    })
    .await;
    let resolv = ssh(&network, &address, &key, "cat /etc/resolv.conf").unwrap();
    assert!(resolv.contains("10.98.0.53"), "the subnet's name server came by DHCP: {resolv}");

    // The guest's own agent sets a password, once it is up.
    until("the guest's agent answers", async || {
        cloud.does(&["server", "set", "--password", "n3w-w0rd", "web"])
    })
    .await;
    let hashed = "mkpasswd -m sha512 n3w-w0rd $(awk -F'[:$]' '/^root:/ { print $4 }' /etc/shadow)";
    let same = format!("grep -qF \"root:$({hashed}):\" /etc/shadow && echo same");
    assert_eq!(ssh(&network, &address, &key, &same).as_deref(), Some("same"));

    // Metadata is served by the agent, the controller gone or not: here both are one process, restarted.
    process.kill();
    process.start_ready().await;
    assert_eq!(ssh(&network, &address, &key, "hostname").as_deref(), Some("web"), "the guest lives on");

    // libvirtd dies and comes back: the guest lives on, and events come again.
    let domain = process.domains().pop().expect("its domain");
    let (changed, resync) = (
        "canopy_agent_domain_events_total{kind=\"changed\"}",
        "canopy_agent_domain_events_total{kind=\"resync\"}",
    );
    let (qemu, resyncs) = (crate::libvirt::qemu_pid(&domain), process.metric(resync).await);
    daemon.kill().await;
    assert_eq!(ssh(&network, &address, &key, "hostname").as_deref(), Some("web"), "without libvirtd too");
    daemon.start();
    // The second one: by then the new libvirtd has taken the guest over.
    until("the agent is connected again", async || process.metric(resync).await >= resyncs + 2.0).await;
    assert_eq!(crate::libvirt::qemu_pid(&domain), qemu, "the same process runs on");
    assert_eq!(cloud.json(&["server", "show", "web"])["status"], "ACTIVE");
    let events = process.metric(changed).await;

    // The guest powers itself off: SHUTOFF by an event, not only by the next look; and it stays so.
    let _ = ssh(&network, &address, &key, "poweroff");
    until("an event came", async || process.metric(changed).await > events).await;
    cloud.until_says(&["server", "show", "web", "-f", "value", "-c", "status"], "SHUTOFF");
    cloud.run(&["server", "start", "web"]);
    cloud.until_says(&["server", "show", "web", "-f", "value", "-c", "status"], "ACTIVE");
    // Killed behind our back.
    output("kill", &["-9", crate::libvirt::qemu_pid(&domain).trim()]);
    cloud.until_says(&["server", "show", "web", "-f", "value", "-c", "status"], "SHUTOFF");

    cloud.run(&["server", "delete", "--wait", "web"]);
    cloud.run(&["network", "delete", "n"]);
    until("nothing is left on the host", async || {
        process.domains().is_empty() && process.server_dirs().is_empty() && process.links().is_empty()
    })
    .await;
    let anonymous = Client::new(&process.url(), "");
    assert_eq!(anonymous.get("/readyz").await.status, 200);
}
