//! Machines of a test: network namespaces with a port of a network in each, and what runs in them.

use canopy_agent::metadata::content::GuestData;
use canopy_agent::metadata::server::{MetadataServer, MetadataSource};
use canopy_agent::network::netns::{self, within};
use canopy_agent::network::{Item, LinuxNetwork, NetworkExecutor};
use canopy_agent_api::tap_name;
use canopy_types::{Error, NetworkId, PortId, ServerId, SubnetId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a program to its end; its standard output when it succeeded.
pub fn try_sh(words: &str) -> Option<String> {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next()?).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn sh(words: &str) -> String {
    try_sh(words).unwrap_or_else(|| panic!("`{words}` failed (are you root?)"))
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn random() -> u128 {
    NetworkId::random().0.as_u128()
}

/// Guests by network and address.
#[derive(Default)]
pub struct Guests(pub Mutex<HashMap<(NetworkId, IpAddr), Arc<GuestData>>>);

impl MetadataSource for Guests {
    fn lookup(&self, network: NetworkId, source_ip: IpAddr) -> Option<Arc<GuestData>> {
        self.0.lock().unwrap().get(&(network, source_ip)).cloned()
    }
}

/// One network of the plan.
#[derive(Clone)]
pub struct Net {
    pub id: NetworkId,
    pub subnet: SubnetId,
    /// High and random, so that a test never meets a real network's devices.
    pub segment: u64,
    /// Port, MAC address and addresses of each guest.
    pub ports: Vec<(PortId, String, Vec<String>)>,
    /// The operator's network and VLAN that it is led to.
    pub place: Option<(String, Option<u16>)>,
}

impl Net {
    pub fn new() -> Self {
        let segment = 900_000_000_000 + u64::try_from(random() % 99_999_999_999).unwrap();
        Self { id: NetworkId::random(), subnet: SubnetId::random(), segment, ports: Vec::new(), place: None }
    }

    pub fn with_port(mut self, last: u8) -> Self {
        let mac = format!("fa:16:3e:00:01:{last:02x}");
        self.ports.push((PortId::random(), mac, vec![format!("10.0.0.{last}")]));
        self
    }

    pub fn in_place(mut self, physical: &str, vlan: Option<u16>) -> Self {
        self.place = Some((physical.to_owned(), vlan));
        self
    }

    pub fn uplink(&self) -> String {
        format!("cnu{}", self.segment)
    }

    pub fn bridge(&self) -> String {
        format!("cnb{}", self.segment)
    }

    pub fn namespace(&self) -> String {
        format!("canopy-{}", self.id)
    }

    pub fn items(&self) -> Vec<Item> {
        let key = self.id.to_string();
        let namespace = self.namespace();
        let hosts: Vec<_> = self
            .ports
            .iter()
            .map(|(_, mac, ips)| json!({"mac": mac, "ip": ips[0], "subnet_id": self.subnet, "hostname": "guest-1"}))
            .collect();
        let mut items = vec![
            item("bridge@1", &key, &json!({"name": self.bridge(), "mtu": 1400})),
            item(
                "namespace@1",
                &key,
                &json!({
                    "name": namespace, "bridge": self.bridge(), "veth_host": format!("cnv{}", self.segment),
                    "veth_ns": "eth0", "mac": "fa:16:3e:00:00:02", "mtu": 1400,
                    "addresses": ["10.0.0.2/24", "169.254.169.254/32"],
                }),
            ),
            item(
                "dhcp@1",
                &key,
                &json!({
                    "namespace": namespace, "mtu": 1400, "domain": "cloud.example.", "hosts": hosts,
                    "subnets": [{
                        "id": self.subnet, "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
                        "dns": ["9.9.9.9", "8.8.4.4"],
                        "routes": [{"destination": "169.254.169.254/32", "nexthop": "10.0.0.2"}],
                    }],
                }),
            ),
            item(
                "metadata@1",
                &key,
                &json!({"namespace": namespace, "address": "169.254.169.254", "port": 80}),
            ),
        ];
        items.extend(self.ports.iter().map(|(port, mac, ips)| {
            item("antispoof@1", &port.to_string(), &json!({"tap": tap_name(*port), "mac": mac, "ips": ips}))
        }));
        items.extend(self.place.as_ref().map(|(physical, vlan)| {
            item(
                "uplink@1",
                &key,
                &json!({
                    "name": self.uplink(), "bridge": self.bridge(), "physical_network": physical,
                    "segmentation_id": vlan, "mtu": 1400,
                }),
            )
        }));
        items
    }
}

pub fn item(kind: &str, key: &str, body: &Value) -> Item {
    Item { kind: kind.to_owned(), key: key.to_owned(), body: body.to_string() }
}

/// One failure of the whole or of any part.
pub async fn wholly(network: &LinuxNetwork, items: &[Item]) -> Result<(), Error> {
    let applied = network.apply(items).await?;
    applied.failure().cloned().map_or(Ok(()), Err)
}

/// An executor of its own scope, and everything that must be gone afterwards, whatever happens.
pub struct Lab {
    pub scope: String,
    pub dir: tempfile::TempDir,
    pub guests: Arc<Guests>,
    pub network: LinuxNetwork,
    pub nets: Vec<Net>,
    /// Namespaces and interfaces of guests and strangers.
    pub litter: Mutex<Vec<String>>,
    /// The operator's networks of this host.
    pub physical: BTreeMap<String, String>,
}

impl Lab {
    pub fn new(nets: Vec<Net>) -> Self {
        let scope = format!("t{:08x}", random() as u32);
        let dir = tempfile::tempdir().unwrap();
        let guests = Arc::new(Guests::default());
        let physical = BTreeMap::new();
        let network = Self::executor(dir.path(), &scope, &guests, &physical);
        Self { scope, dir, guests, network, nets, litter: Mutex::default(), physical }
    }

    pub fn executor(
        dir: &Path,
        scope: &str,
        guests: &Arc<Guests>,
        physical: &BTreeMap<String, String>,
    ) -> LinuxNetwork {
        let source: Arc<dyn MetadataSource> = Arc::clone(guests) as _;
        let network = LinuxNetwork::new(dir, scope).unwrap().with_physical_networks(physical.clone());
        network.unwrap().with_metadata(Arc::new(MetadataServer::new(source)))
    }

    /// Makes a bridge of the operator's, which this host calls `name` from now on.
    pub fn operators_bridge(&mut self, name: &str) -> String {
        let bridge = format!("opb-{:08x}", random() as u32);
        sh(&format!("ip link add {bridge} type bridge forward_delay 0"));
        self.litter(format!("ip link delete {bridge}"));
        sh(&format!("ip link set {bridge} up"));
        self.physical.insert(name.to_owned(), bridge.clone());
        self.network = Self::executor(self.dir.path(), &self.scope, &self.guests, &self.physical);
        bridge
    }

    /// A machine of the operator's on this bridge, in a VLAN or in none.
    pub fn operators_machine(&self, bridge: &str, vlan: Option<u16>, address: &str) -> String {
        let namespace = format!("opm-{:08x}", random() as u32);
        sh(&format!("ip netns add {namespace}"));
        self.litter(format!("ip netns delete {namespace}"));
        let port = format!("opp-{:08x}", random() as u32);
        sh(&format!("ip link add {port} type veth peer name eth0 netns {namespace}"));
        self.litter(format!("ip link delete {port}"));
        sh(&format!("ip link set {port} master {bridge} up"));
        sh(&format!("ip -n {namespace} link set eth0 up"));
        let device = match vlan {
            None => "eth0".to_owned(),
            Some(vlan) => {
                sh(&format!("ip -n {namespace} link add link eth0 name vlan{vlan} type vlan id {vlan}"));
                sh(&format!("ip -n {namespace} link set vlan{vlan} up"));
                format!("vlan{vlan}")
            }
        };
        sh(&format!("ip -n {namespace} address add {address}/24 dev {device}"));
        namespace
    }

    pub fn table(&self) -> String {
        format!("canopy_{}", self.scope)
    }

    pub fn items(&self) -> Vec<Item> {
        self.nets.iter().flat_map(Net::items).collect()
    }

    /// One failure, if any.
    pub async fn apply(&self) -> Result<(), Error> {
        wholly(&self.network, &self.items()).await
    }

    pub async fn applied(&self) {
        self.apply().await.unwrap_or_else(|e| panic!("{}", e.chain()));
    }

    pub fn litter(&self, command: String) {
        self.litter.lock().unwrap().push(command);
    }

    /// Plugs a guest in; it has no address yet.
    pub fn guest(&self, net: usize, port: usize) -> Guest {
        let (id, mac, ips) = &self.nets[net].ports[port];
        let (namespace, tap) = (format!("cng-{:08x}", random() as u32), tap_name(*id));
        sh(&format!("ip netns add {namespace}"));
        self.litter(format!("ip netns delete {namespace}"));
        self.litter(format!("ip link delete {tap}"));
        sh(&format!("ip link add {tap} type veth peer name eth0 address {mac} netns {namespace}"));
        sh(&format!("ip link set {tap} master {} up", self.nets[net].bridge()));
        sh(&format!("ip -n {namespace} link set eth0 up"));
        sh(&format!("ip -n {namespace} link set lo up"));
        Guest { namespace, mac: mac.clone(), ip: ips[0].parse().unwrap(), dir: self.dir.path().to_owned() }
    }

    pub fn dhcp_pid(&self, net: usize) -> i32 {
        let path = self.dir.path().join(format!("dhcp/{}/pid", self.nets[net].id));
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// What would change if something were made anew.
    pub fn fingerprint(&self) -> Vec<String> {
        let mut all = vec![sh(&format!("nft -s -a list table bridge {}", self.table()))];
        for (index, net) in self.nets.iter().enumerate() {
            let namespace = netns::path(&net.namespace());
            all.push(format!("{:?}", netns::identity(&namespace).unwrap()));
            all.push(self.dhcp_pid(index).to_string());
            let uplink = net.place.as_ref().map(|_| net.uplink());
            for device in [net.bridge(), format!("cnv{}", net.segment)].into_iter().chain(uplink) {
                let links: Vec<Value> =
                    serde_json::from_str(&sh(&format!("ip -j -d link show {device}"))).unwrap();
                // Not the carrier, which follows a change after a while.
                let up = links[0]["flags"].as_array().unwrap().contains(&json!("UP"));
                all.push(format!("{} {} {up}", links[0]["ifindex"], links[0]["mtu"]));
            }
            all.push(sh(&format!("ip -n {} -o address show eth0", net.namespace())));
        }
        all
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for net in &self.nets {
            let pid = self.dir.path().join(format!("dhcp/{}/pid", net.id));
            if let Ok(pid) = std::fs::read_to_string(pid) {
                try_sh(&format!("kill -9 {}", pid.trim()));
            }
            try_sh(&format!("ip link delete cnv{}", net.segment));
            try_sh(&format!("ip link delete {}", net.uplink()));
            try_sh(&format!("ip netns delete {}", net.namespace()));
            try_sh(&format!("ip link delete {}", net.bridge()));
        }
        try_sh(&format!("nft delete table bridge {}", self.table()));
        for command in self.litter.lock().unwrap().iter() {
            try_sh(command);
        }
    }
}

pub struct Guest {
    pub namespace: String,
    pub mac: String,
    pub ip: IpAddr,
    pub dir: PathBuf,
}

impl Guest {
    pub fn ip(&self, words: &str) -> String {
        sh(&format!("ip -n {} {words}", self.namespace))
    }

    /// What the DHCP client got, as its script's environment.
    pub fn lease(&self) -> Option<BTreeMap<String, String>> {
        let (script, answer) =
            (self.dir.join(&self.namespace), self.dir.join(format!("{}.env", self.namespace)));
        let text = format!("#!/bin/sh\n[ \"$1\" = bound ] && env > {}\nexit 0\n", answer.display());
        std::fs::write(&script, text).unwrap();
        sh(&format!("chmod +x {}", script.display()));
        try_sh(&format!(
            "nsenter --net=/run/netns/{} busybox udhcpc -i eth0 -f -q -n -t 5 -T 1 -O 121 -O 26 -O 249 -s {}",
            self.namespace,
            script.display()
        ))?;
        let text = std::fs::read_to_string(answer).ok()?;
        Some(
            text.lines()
                .filter_map(|l| l.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        )
    }

    /// Configures itself as the lease says, like a real client.
    pub fn configure(&self, lease: &BTreeMap<String, String>) {
        self.ip(&format!("address add {}/{} dev eth0", lease["ip"], lease["mask"]));
        let routes: Vec<_> = lease["staticroutes"].split(' ').collect();
        for route in routes.chunks(2) {
            self.ip(&format!("route add {} via {}", route[0], route[1]));
        }
    }

    /// The address without DHCP.
    pub fn settle(&self) {
        self.ip(&format!("address add {}/24 dev eth0", self.ip));
    }

    pub fn socket(&self, address: SocketAddr) -> impl Future<Output = Result<UdpSocket, Error>> {
        within(netns::path(&self.namespace), move || UdpSocket::bind(address))
    }

    /// One HTTP request to the metadata service, as it is on the wire.
    pub async fn http(&self, request: String) -> Result<String, Error> {
        within(netns::path(&self.namespace), move || {
            let address: SocketAddr = ([169, 254, 169, 254], 80).into();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .await
    }

    pub async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.6\r\n\r\n");
        self.http(request).await.unwrap_or_else(|e| panic!("{}", e.chain()))
    }
}

pub fn server(id: ServerId, name: &str) -> Arc<GuestData> {
    let spec = json!({
        "id": id, "domain_name": "instance-00000001", "name": name, "hostname": name,
        "project_id": "p", "user_id": "u", "power": {"on": true, "n": 1}, "deleted": false,
        "flavor": {"name": "m1", "vcpus": 1, "memory_mib": 128, "root_gib": 1, "extra_specs": {}},
        "image": null, "ports": [], "config_drive": false, "user_data": null, "keys": [], "metadata": {},
        "availability_zone": "nova", "reservation_id": "r-1", "launch_index": 0,
        "created_at": 0, "request_id": "req-1",
    });
    let spec = serde_json::from_value(spec).expect("a server's specification");
    Arc::new(GuestData::new(Arc::new(spec), Arc::default()))
}
