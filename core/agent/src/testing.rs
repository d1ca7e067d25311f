//! What the tests of this crate share: specifications and a controller in memory.

use crate::images::hex;
use async_trait::async_trait;
use canopy_agent_api::*;
use canopy_types::server::{Phase, PowerIntent};
use canopy_types::*;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

pub fn spec() -> ServerSpec {
    let id = ServerId::random();
    ServerSpec {
        id,
        domain_name: format!("instance-{}", &id.to_string()[..8]),
        name: "A server: <&>".into(),
        hostname: "a-server".into(),
        project_id: ProjectId::random(),
        user_id: UserId::random(),
        power: PowerIntent::plain(true, 1),
        deleted: false,
        flavor: FlavorSpec {
            name: "m1.tiny".into(),
            vcpus: 1,
            memory_mib: 64,
            root_gib: 0,
            extra_specs: BTreeMap::new(),
        },
        image: Some(image(blob_of(b"image"))),
        leaving: Vec::new(),
        ports: Vec::new(),
        config_drive: false,
        user_data: None,
        keys: vec![KeySpec {
            name: "mine".into(),
            kind: "ssh".into(),
            public_key: "ssh-ed25519 AAAA me".into(),
        }],
        metadata: BTreeMap::new(),
        availability_zone: "nova".into(),
        reservation_id: "r-12345678".into(),
        launch_index: 0,
        created_at: Timestamp(0),
        request_id: RequestId::random(),
        kept_n: None,
        rescue: None,
        snapshot: None,
        device_tags: DeviceTags::default(),
    }
}

pub fn image(blob: Blob) -> ImageSpec {
    ImageSpec {
        id: ImageId::random(),
        blob,
        disk_format: "qcow2".into(),
        kernel: None,
        ramdisk: None,
        properties: BTreeMap::new(),
    }
}

pub fn blob_of(bytes: &[u8]) -> Blob {
    Blob { digest: hex(&Sha256::digest(bytes)), size: i64::try_from(bytes.len()).unwrap() }
}

/// A server with one port, and the networks of a desired state.
pub fn spec_with_network() -> (ServerSpec, Vec<NetworkSpec>) {
    let mut spec = spec();
    let (network_id, subnet_id) = (NetworkId::random(), SubnetId::random());
    let port = PortSpec {
        id: PortId::random(),
        network_id,
        mac: "fa:16:3e:00:00:01".into(),
        fixed_ips: vec![FixedIp { subnet_id, ip_address: "10.0.0.5".parse().unwrap() }],
        admin_state_up: true,
        port_security: true,
        server_id: Some(spec.id),
        hostname: spec.hostname.clone(),
    };
    spec.ports.push(port.clone());
    let network = NetworkSpec {
        provider: None,
        id: network_id,
        project_id: spec.project_id.clone(),
        segment: 7,
        mtu: 1450,
        dns_domain: String::new(),
        subnets: vec![SubnetSpec {
            id: subnet_id,
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway_ip: Some("10.0.0.1".parse().unwrap()),
            enable_dhcp: true,
            dns_nameservers: vec!["9.9.9.9".parse().unwrap()],
            host_routes: Vec::new(),
            service_ip: Some("10.0.0.2".parse().unwrap()),
        }],
        ports: vec![port],
    };
    (spec, vec![network])
}

#[derive(Default)]
struct State {
    images: HashMap<String, Vec<u8>>,
    fetches: usize,
    fetch_errors: Vec<Error>,
    hang_fetch: bool,
    reports: Vec<Observed>,
    observed: HashMap<ServerId, ServerObserved>,
    /// Every phase ever reported of a server, without repetitions.
    phases: HashMap<ServerId, Vec<Phase>>,
    stored: HashMap<ImageId, Vec<u8>>,
    question: Option<Question>,
    answers: Vec<Answer>,
    down: bool,
}

/// A controller in memory: holds a desired state and what was reported.
pub struct FakeController {
    state: Mutex<State>,
    desired: watch::Sender<Desired>,
    reported: Notify,
}

impl Default for FakeController {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            desired: watch::Sender::new(Desired::default()),
            reported: Notify::new(),
        }
    }
}

impl FakeController {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn image(&self, bytes: &[u8]) -> Blob {
        let blob = blob_of(bytes);
        self.lock().images.insert(blob.digest.clone(), bytes.to_vec());
        blob
    }

    /// Serves other bytes of the same length under this digest.
    pub fn corrupt(&self, blob: &Blob) {
        self.lock().images.insert(blob.digest.clone(), vec![0; usize::try_from(blob.size).unwrap()]);
    }

    pub fn fail_fetch(&self, error: Error) {
        self.lock().fetch_errors.push(error);
    }

    /// From now on images never arrive.
    pub fn hang_fetch(&self) {
        self.lock().hang_fetch = true;
    }

    pub fn fetches(&self) -> usize {
        self.lock().fetches
    }

    pub fn want(&self, servers: Vec<ServerSpec>, networks: Vec<NetworkSpec>) {
        let servers: Vec<_> = servers.into_iter().map(Arc::new).collect();
        self.desired.send_modify(|desired| {
            *desired = Desired { revision: desired.revision + 1, servers, networks };
        });
    }

    pub fn change(&self, change: impl FnOnce(&mut ServerSpec)) {
        self.desired.send_modify(|desired| {
            desired.revision += 1;
            change(Arc::make_mut(&mut desired.servers[0]));
        });
    }

    /// Every call fails, as with the controller gone.
    pub fn down(&self, down: bool) {
        self.lock().down = down;
    }

    pub fn observed(&self, id: ServerId) -> Option<ServerObserved> {
        self.lock().observed.get(&id).cloned()
    }

    pub fn phases(&self, id: ServerId) -> Vec<Phase> {
        self.lock().phases.get(&id).cloned().unwrap_or_default()
    }

    pub fn reports(&self) -> Vec<Observed> {
        self.lock().reports.clone()
    }

    pub fn stored(&self, image: ImageId) -> Option<Vec<u8>> {
        self.lock().stored.get(&image).cloned()
    }

    pub fn ask(&self, question: Question) {
        self.lock().question = Some(question);
    }

    pub fn answers(&self) -> Vec<Answer> {
        self.lock().answers.clone()
    }

    fn check(&self) -> Result<(), Error> {
        if self.lock().down {
            Err(Error::unavailable("test.down", "The controller is down."))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Controller for FakeController {
    async fn register(&self, registration: Registration) -> Result<Registered, Error> {
        self.check()?;
        assert_eq!(registration.version, VERSION);
        let generation = self.lock().reports.last().map_or(40, |r| r.generation);
        Ok(Registered { host_id: HostId::random(), generation })
    }

    async fn desired(&self, _: HostId, since: i64, wait: Duration) -> Result<Desired, Error> {
        self.check()?;
        let mut desired = self.desired.subscribe();
        let _ = tokio::time::timeout(wait, desired.wait_for(|d| d.revision > since)).await;
        self.check()?;
        Ok(desired.borrow().clone())
    }

    async fn report(&self, _: HostId, observed: Observed) -> Result<Ack, Error> {
        self.check()?;
        let mut state = self.lock();
        for server in &observed.servers {
            let phases = state.phases.entry(server.id).or_default();
            if phases.last() != Some(&server.phase) {
                phases.push(server.phase);
            }
            state.observed.insert(server.id, server.clone());
        }
        state.reports.push(observed);
        self.reported.notify_waiters();
        Ok(Ack { revision: self.desired.borrow().revision })
    }

    async fn fetch_image(&self, blob: &Blob, into: &Path) -> Result<(), Error> {
        self.check()?;
        let bytes = {
            let mut state = self.lock();
            state.fetches += 1;
            if let Some(error) = state.fetch_errors.pop() {
                return Err(error);
            }
            state.images.get(&blob.digest).cloned()
        };
        if self.lock().hang_fetch {
            std::future::pending::<()>().await;
        }
        // Lets others come meanwhile.
        tokio::task::yield_now().await;
        let bytes = bytes.ok_or_else(|| Error::not_found("test.no_image", "No such image."))?;
        std::fs::write(into, bytes).unwrap();
        Ok(())
    }

    async fn store_image(&self, _: HostId, _: ServerId, image: ImageId, from: &Path) -> Result<(), Error> {
        self.check()?;
        let bytes = std::fs::read(from).unwrap();
        self.lock().stored.insert(image, bytes);
        Ok(())
    }

    async fn next_question(&self, _: HostId, wait: Duration) -> Result<Option<Question>, Error> {
        self.check()?;
        let question = self.lock().question.take();
        if question.is_none() {
            tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
        }
        Ok(question)
    }

    async fn answer(&self, _: HostId, answer: Answer) -> Result<(), Error> {
        self.lock().answers.push(answer);
        Ok(())
    }

    async fn join(&self, _: HostId, _: &str, _: canopy_agent_api::ConsoleStream) -> Result<(), Error> {
        self.check()
    }
}
