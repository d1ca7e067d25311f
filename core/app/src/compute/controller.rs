//! The controller as agents see it, on the store of this process.

use crate::App;
use crate::compute::servers;
use async_trait::async_trait;
use canopy_agent_api::{
    Ack, Answer, Blob, ConsoleStream, Controller, Desired, FlavorSpec, ImageSpec, MAX_PHYSICAL_NETWORKS,
    Observed, Question, Registered, Registration, ServerSpec, is_physical_network,
};
use canopy_store::servers::ServerRow;
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{Error, HostId, ImageId, Result, ServerId};
use futures::StreamExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::io::ReaderStream;

/// Longest wait that an agent may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The backstop when a wake-up was another process's.
const POLL: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct LocalController(pub Arc<App>);

#[async_trait]
impl Controller for LocalController {
    async fn register(&self, registration: Registration) -> Result<Registered> {
        if registration.version != canopy_agent_api::VERSION {
            return Err(Error::bad_request(
                "agent.version",
                format!(
                    "This controller speaks agent version {}, not {}: upgrade the older of the two.",
                    canopy_agent_api::VERSION,
                    registration.version
                ),
            ));
        }
        let name = registration.name.clone();
        if name.is_empty()
            || name.len() > 255
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return Err(Error::bad_request(
                "agent.name",
                "A host name holds letters, digits, '-', '_' and '.'.",
            ));
        }
        let networks = &registration.inventory.physical_networks;
        if networks.len() > MAX_PHYSICAL_NETWORKS || !networks.iter().all(|name| is_physical_network(name)) {
            return Err(Error::bad_request(
                "agent.physical_networks",
                format!(
                    "A host is in at most {MAX_PHYSICAL_NETWORKS} physical networks, named by 1 to 64 of a-z, 0-9 and _."
                ),
            ));
        }
        let (now, zone) = (self.0.now(), self.0.settings.zone.clone());
        let host = self
            .0
            .store
            .write("host.register", move |c| {
                let (registration, zone) = (registration.clone(), zone.clone());
                Box::pin(async move {
                    let inventory = &registration.inventory;
                    // nova's defaults: processors are shared widely, memory by half, disk not at all.
                    let rows = [
                        (VCPU, inventory.vcpus.max(0), 0, 16_000),
                        (MEMORY_MB, inventory.memory_mib.max(0), 512, 1_500),
                        (DISK_GB, inventory.disk_gib.max(0), 0, 1_000),
                    ];
                    let row = canopy_store::hosts::Registration {
                        name: &registration.name,
                        zone: &zone,
                        hypervisor_type: &inventory.hypervisor_type,
                        hypervisor_version: inventory.hypervisor_version,
                        acceleration: &inventory.acceleration,
                        inventory: &rows,
                        physical_networks: &inventory.physical_networks,
                    };
                    let host = canopy_store::hosts::register(c, &row, now).await?;
                    crate::compute::hosts::changed(c, "host.register", host.id, now).await?;
                    Ok(host)
                })
            })
            .await?;
        self.0.placement.touch(host.id);
        tracing::info!(host = host.name, id = %host.id, "agent registered");
        Ok(Registered { host_id: host.id, generation: host.generation })
    }

    async fn desired(&self, host: HostId, since: i64, wait: Duration) -> Result<Desired> {
        let deadline = tokio::time::Instant::now() + wait.min(MAX_WAIT);
        let mut commits = self.0.store.commits();
        loop {
            commits.borrow_and_update();
            // Read before the rest: what is read may be newer than its number, never older.
            let revision = self.0.revisions.of(&self.0.store, host).await?;
            let revision =
                revision.ok_or_else(|| Error::not_found("agent.host", "No such host: register first."))?;
            if revision > since || tokio::time::Instant::now() >= deadline {
                return self.read_desired(host, revision).await;
            }
            let until = deadline.min(tokio::time::Instant::now() + POLL);
            let _ = tokio::time::timeout_at(until, commits.changed()).await;
        }
    }

    async fn report(&self, host: HostId, observed: Observed) -> Result<Ack> {
        Ok(Ack { revision: servers::observe(&self.0, host, observed).await? })
    }

    async fn fetch_image(&self, blob: &Blob, into: &Path) -> Result<()> {
        let (from, into) = (self.0.blobs.path(&blob.digest), into.to_owned());
        tokio::task::spawn_blocking(move || std::fs::copy(from, into))
            .await
            .map_err(|e| Error::internal("image.copy", e))?
            .map(|_| ())
            .map_err(|e| {
                Error::unavailable("image.copy", "The image's bytes could not be read.").with_source(e)
            })
    }

    async fn store_image(&self, host: HostId, server: ServerId, image: ImageId, from: &Path) -> Result<()> {
        let unreadable =
            |e| Error::unavailable("image.copy", "The disk's copy could not be read.").with_source(e);
        let file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        let bytes = ReaderStream::with_capacity(file, 256 << 10).map(move |chunk| chunk.map_err(unreadable));
        self.receive_image(host, server, image, Some(length), bytes.boxed()).await
    }

    async fn next_question(&self, host: HostId, wait: Duration) -> Result<Option<Question>> {
        self.0.questions.next(host, wait.min(MAX_WAIT)).await
    }

    async fn answer(&self, host: HostId, answer: Answer) -> Result<()> {
        self.0.questions.answer(host, answer)
    }

    async fn join(&self, host: HostId, session: &str, console: ConsoleStream) -> Result<()> {
        // Who waited may have gone: then the stream ends here.
        let _ = self.0.consoles.join(host, session)?.send(console);
        Ok(())
    }
}

impl LocalController {
    /// Stores the bytes of an image that this host is to make of this server.
    pub async fn receive_image(
        &self,
        host: HostId,
        server: ServerId,
        image: ImageId,
        length: Option<u64>,
        bytes: crate::image::Body,
    ) -> Result<()> {
        let user = servers::awaited(&self.0, host, server, image).await?;
        crate::image::from_host(&self.0, user, image, length, bytes).await
    }

    async fn read_desired(&self, host: HostId, revision: i64) -> Result<Desired> {
        let recent = self.0.store.recent();
        self.0
            .store
            .read(move |c| {
                Box::pin(async move {
                    let networks = canopy_store::ports::specs_for_host(c, host).await?;
                    let rows = canopy_store::servers::on_host(c, &recent, host).await?;
                    let ids: Vec<ServerId> = rows.iter().map(|row| row.id).collect();
                    // In the order of the guest's interfaces.
                    let mut ports = BTreeMap::new();
                    for ids in ids.chunks(1_000) {
                        ports.append(&mut canopy_store::ports::ports_of_servers(c, ids).await?);
                    }
                    let mut servers = Vec::with_capacity(rows.len());
                    for row in &rows {
                        servers.push(Arc::new(spec(row, ports.remove(&row.id).unwrap_or_default())?));
                    }
                    Ok(Desired { revision, servers, networks })
                })
            })
            .await
    }
}

fn spec(row: &ServerRow, mut ports: Vec<canopy_agent_api::PortSpec>) -> Result<ServerSpec> {
    let going = row.operation.interface.as_ref().filter(|interface| interface.detach);
    let leaving = ports.extract_if(.., |port| going.is_some_and(|going| going.port == port.id)).collect();
    let corrupt = |e: serde_json::Error| Error::internal("server.corrupt", e);
    Ok(ServerSpec {
        id: row.id,
        domain_name: row.domain_name(),
        name: row.name.clone(),
        hostname: row.hostname.clone(),
        project_id: row.project_id.clone(),
        user_id: row.user_id.clone(),
        power: row.power,
        deleted: row.deleting,
        flavor: FlavorSpec {
            name: row.flavor.name.clone(),
            vcpus: row.flavor.vcpus,
            memory_mib: row.flavor.memory_mib,
            root_gib: row.flavor.root_gib,
            extra_specs: row.flavor.extra_specs.clone(),
        },
        image: row.image.as_ref().map(ImageSpec::deserialize).transpose().map_err(corrupt)?,
        ports,
        leaving,
        config_drive: row.config_drive,
        user_data: row.user_data.clone(),
        keys: Deserialize::deserialize(&row.keys).map_err(corrupt)?,
        metadata: row.metadata.clone(),
        availability_zone: row.availability_zone.clone(),
        reservation_id: row.reservation_id.clone(),
        launch_index: row.launch_index,
        created_at: row.created_at,
        request_id: row.request_id.clone(),
        kept_n: row.operation.resize.as_ref().map(|resize| resize.n),
        snapshot: row.operation.snapshot,
        device_tags: row.device_tags.clone(),
        rescue: match &row.operation.rescue {
            Some(rescue) => Some(ImageSpec::deserialize(&rescue.image).map_err(corrupt)?),
            None => None,
        },
    })
}
