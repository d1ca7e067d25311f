//! A real guest straight in a network of the operator's: its address from the operator's own DHCP server, its key from the
//! config drive, and nobody between.

use super::{Openstack, ready_to_boot, ssh_from};
use canopy_tests::process::{Process, output};
use canopy_tests::{fixtures, until};
use std::process::{Child, Command, Stdio};

/// A bridge of the operator's with one machine on it, which serves DHCP. Gone at the end, whatever happens.
struct Office {
    bridge: String,
    machine: String,
    dhcp: Option<Child>,
}

impl Office {
    fn open(address: &str) -> Self {
        let tag = format!("{:08x}", std::process::id());
        let office = Self { bridge: format!("opb-{tag}"), machine: format!("opm-{tag}"), dhcp: None };
        let (bridge, machine, port) = (office.bridge.as_str(), office.machine.as_str(), format!("opp-{tag}"));
        for words in [
            format!("link add {bridge} type bridge forward_delay 0"),
            format!("link set {bridge} up"),
            format!("netns add {machine}"),
            format!("link add {port} type veth peer name eth0 netns {machine}"),
            format!("link set {port} master {bridge} up"),
            format!("-n {machine} link set eth0 up"),
            format!("-n {machine} address add {address} dev eth0"),
        ] {
            ip(&words);
        }
        office
    }

    /// One lease, for whom the operator knows.
    fn serve(&mut self, mac: &str, address: &str, leases: &str) {
        let (range, host) =
            (format!("--dhcp-range={address},static"), format!("--dhcp-host={mac},{address}"));
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.machine,
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
            ])
            .args(["--port=0", "--interface=eth0", "--bind-interfaces", "--user=root", "--pid-file="])
            .args([&range, &host, &format!("--dhcp-leasefile={leases}")])
            .stdin(Stdio::null())
            .spawn();
        self.dhcp = Some(child.expect("dnsmasq is installed"));
    }
}

fn ip(words: &str) {
    output("ip", &words.split(' ').collect::<Vec<_>>());
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(dhcp) = &mut self.dhcp {
            let _ = dhcp.kill();
            let _ = dhcp.wait();
        }
        for words in [format!("netns delete {}", self.machine), format!("link delete {}", self.bridge)] {
            let _ = Command::new("ip").args(words.split(' ')).status();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_a_machine_among_others_in_the_operators_network() {
    let _libvirt = crate::libvirt::exclusive().await;
    let mut office = Office::open("10.97.0.1/24");
    let mut process = Process::prepare_on("flat", &office.bridge);
    process.start_ready().await;
    let cloud = Openstack::new(&process);
    let key = process.data().join("key").to_string_lossy().into_owned();
    output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    ready_to_boot(&cloud, &key);

    // The host says that it is in `external` when its agent registers.
    let admin = process.admin().await;
    until("the host is there", async || {
        let services = admin.get("/compute/v2.1/os-services").await;
        services.json["services"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    let flat = ["--provider-network-type", "flat", "--provider-physical-network", "external"];
    let network = cloud.json(&[&["network", "create", "n"][..], &flat].concat());
    assert_eq!(network["provider:network_type"], "flat", "{network}");
    let range = ["--network", "n", "--subnet-range", "10.97.0.0/24", "--gateway", "10.97.0.1", "--no-dhcp"];
    cloud.run(&[&["subnet", "create", "s"][..], &range].concat());
    let port = cloud.json(&["port", "create", "--network", "n", "p"]);
    let mac = port["mac_address"].as_str().unwrap();
    let shown = admin.get(&format!("/network/v2.0/ports/{}", port["id"].as_str().unwrap())).await;
    let address = shown.text_at("/port/fixed_ips/0/ip_address").to_owned();
    office.serve(mac, &address, &process.data().join("leases").to_string_lossy());

    let server = ["--flavor", "small", "--image", "guest", "--port", "p", "--key-name", "k"];
    cloud.run(&[&["server", "create"][..], &server, &["--use-config-drive", "--wait", "web"]].concat());
    let console = cloud.until_says(&["console", "log", "show", "web"], "CANOPY-GUEST: READY");
    assert!(console.contains("source=configdrive") && console.contains("hostname=web"), "{console}");
    until("SSH from the operator's machine, with the injected key", async || {
        ssh_from(&office.machine, &address, &key, "hostname").as_deref() == Some("web")
    })
    .await;
    let leases = ssh_from(&office.machine, &address, &key, "ip -4 -o address show dev eth0").unwrap();
    assert!(leases.contains(&format!("{address}/24")), "{leases}");
    // What it is made of on the host: a bridge, a leg with two ends, and no namespace of the cloud's.
    let mut kinds: Vec<String> = process.links().iter().map(|name| name.chars().take(3).collect()).collect();
    kinds.sort();
    assert_eq!(kinds, ["cnb", "cnp", "cnu"], "{:?}", process.links());

    // The guest lives on without the controller and its agent.
    process.kill();
    assert_eq!(ssh_from(&office.machine, &address, &key, "hostname").as_deref(), Some("web"));
    process.start_ready().await;
    let id = cloud.json(&["server", "show", "web"])["id"].as_str().unwrap().to_owned();
    cloud.run(&["server", "delete", "--wait", "web"]);
    fixtures::until_gone(&process.admin().await, &id).await;
    until("nothing of ours is left on the host", async || {
        process.domains().is_empty() && process.links().is_empty()
    })
    .await;
    cloud.run(&["port", "delete", "p"]);
    cloud.run(&["network", "delete", "n"]);
    assert!(
        output("ip", &["link", "show", &office.bridge]).contains(&office.bridge),
        "the operator's own stays"
    );
}
