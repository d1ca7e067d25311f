//! `canopy:network@1`.

mod places;
mod world;

pub use places::{ClusterNetwork, MAX_NETWORKS, Places};

use crate::fault::{Fault, short};
use crate::host::Loaded;
use crate::items::{self, Known};
use crate::meter::{Meter, Stats};
use crate::sandbox::Sandbox;
use crate::worker::Worker;
use canopy_agent_api::NetworkSpec;
use canopy_types::{Error, Kind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use world::Backend;

/// One thing that should exist on the host. The plan is a set: the executor applies the difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// `bridge@1`, `namespace@1`, `dhcp@1`, `metadata@1`, `antispoof@1`, `uplink@1`.
    pub kind: String,
    /// Unique within the kind.
    pub key: String,
    /// Canonical JSON (sorted keys) by the schema of the kind.
    pub body: String,
}

/// A loaded network backend; cheap to clone.
#[derive(Clone)]
pub struct NetworkPlugin {
    guest: Option<Guest>,
}

#[derive(Clone)]
struct Guest {
    name: String,
    worker: Worker<WasmBackend>,
    meter: Meter,
    places: bool,
}

struct WasmBackend {
    sandbox: Sandbox<Backend>,
    meter: Meter,
}

/// The document that a backend plans from.
#[derive(Serialize)]
struct View<'a, N> {
    v: u32,
    networks: &'a [N],
}

impl NetworkPlugin {
    /// No backend: networks are rows and nothing more.
    pub fn none() -> Self {
        Self { guest: None }
    }

    /// The items this host needs for these networks, by kind and key. An error leaves the last plan in force.
    pub async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        let Some(guest) = &self.guest else { return Ok(Vec::new()) };
        let answer = guest.worker.ask(move |backend| backend.plan(&networks)).await;
        guest.answer(answer)
    }

    /// Whether the backend can realise these networks; asked before a change is committed.
    pub async fn validate(&self, networks: Vec<NetworkSpec>) -> Result<(), Error> {
        let Some(guest) = &self.guest else { return Ok(()) };
        let answer = guest.worker.ask(move |backend| backend.validate(&networks)).await;
        guest.answer(answer)
    }

    /// Whether the backend says where networks are; else all are of the cloud's own making.
    pub fn places(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.places)
    }

    /// The places of the new ones among these networks, which are at most [`MAX_NETWORKS`]. Of a backend that says
    /// nothing of places, none.
    pub async fn plan_cluster(&self, networks: Vec<ClusterNetwork>) -> Result<Places, Error> {
        let Some(guest) = self.guest.as_ref().filter(|guest| guest.places) else { return Ok(Places::new()) };
        if networks.len() > MAX_NETWORKS {
            let why = format!("{} networks have places: at most {MAX_NETWORKS} can.", networks.len());
            return Err(Error::unavailable("network.too_many", why));
        }
        let answer = guest.worker.ask(move |backend| backend.place(&networks)).await;
        guest.answer(answer)
    }

    /// What it has done so far; without a backend nothing is counted.
    pub fn stats(&self) -> Option<Arc<Stats>> {
        self.guest.as_ref().map(|guest| guest.meter.stats())
    }

    pub(crate) fn load(loaded: Loaded<Backend>) -> Result<Self, Error> {
        let Loaded { manifest, config, engine, fuel, pre, meter, .. } = loaded;
        let kinds: Vec<String> = items::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
        let init = move |world: &Backend, store: &mut wasmtime::Store<_>| {
            world.planning.call_init(store, &config, &kinds)
        };
        let places = pre.places();
        let sandbox = Sandbox::new(engine, pre, manifest.limits, init).counting(fuel).watched(&meter);
        let mut sandbox = sandbox.once();
        sandbox.ready().map_err(|fault| manifest.bad_config(&fault.to_string()))?;
        let backend = WasmBackend { sandbox, meter: meter.clone() };
        let worker = Worker::tended(&manifest.name, backend, |backend| backend.sandbox.renew())
            .map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { guest: Some(Guest { name: manifest.name, worker, meter, places }) })
    }
}

/// A fault, or the backend's own no.
type Answer<T> = Result<Result<T, String>, Fault>;

impl Guest {
    fn answer<T>(&self, asked: Result<Answer<T>, Fault>) -> Result<T, Error> {
        let answer = asked.unwrap_or_else(|fault| {
            self.meter.fault(&fault);
            Err(fault)
        });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => {
                let why = short(&why);
                Err(Error::new(
                    Kind::BadRequest,
                    "network.refused",
                    format!("Plugin {} refuses: {why}", self.name),
                ))
            }
            Err(fault) => {
                Err(Error::unavailable("plugin.fault", format!("Plugin {} failed, {fault}", self.name)))
            }
        }
    }
}

impl WasmBackend {
    fn plan(&mut self, networks: &[NetworkSpec]) -> Answer<Vec<Item>> {
        let meter = self.meter.clone();
        meter.call(|| {
            let view = view(networks)?;
            self.sandbox.call(|world, store| {
                let plan = world.planning.call_plan_host(store, &view)?;
                let plan = match plan {
                    Ok(plan) => plan,
                    Err(why) => return Ok(Ok(Err(why))),
                };
                let items =
                    plan.into_iter().map(|item| Item { kind: item.kind, key: item.key, body: item.body });
                Ok(items::check(items.collect(), &Known::of(networks)).map(Ok))
            })
        })
    }

    fn validate(&mut self, networks: &[NetworkSpec]) -> Answer<()> {
        let meter = self.meter.clone();
        meter.call(|| {
            let view = view(networks)?;
            self.sandbox.call(|world, store| Ok(Ok(world.planning.call_validate(store, &view)?)))
        })
    }

    fn place(&mut self, networks: &[ClusterNetwork]) -> Answer<Places> {
        let meter = self.meter.clone();
        meter.call(|| {
            let view = view(networks)?;
            self.sandbox.call(|world, store| {
                let Some(placing) = &world.placing else { return Ok(Ok(Ok(Places::new()))) };
                Ok(match placing.call_plan_cluster(store, &view)? {
                    Ok(answer) => places::check(answer, networks).map(Ok),
                    Err(why) => Ok(Err(why)),
                })
            })
        })
    }
}

fn view<N: Serialize>(networks: &[N]) -> Result<String, Fault> {
    serde_json::to_string(&View { v: 1, networks }).map_err(|e| Fault::Host(e.to_string()))
}

/// One small network of one guest, for those who try a backend without a cloud.
pub(crate) fn sample() -> Result<Vec<NetworkSpec>, Error> {
    let id = |n: u32| format!("00000000-0000-4000-8000-{n:012}");
    let port = |n: u32, mac: &str, ip: &str, server: Option<String>| {
        serde_json::json!({"id": id(n), "network_id": id(1), "mac": mac,
            "fixed_ips": [{"subnet_id": id(2), "ip_address": ip}], "admin_state_up": true,
            "port_security": true, "server_id": server, "hostname": "web"})
    };
    let network = serde_json::json!({"id": id(1), "project_id": "0".repeat(32), "segment": 7, "mtu": 1500,
        "dns_domain": "cloud.example.", "subnets": [{"id": id(2), "cidr": "10.0.0.0/24",
            "gateway_ip": "10.0.0.1", "enable_dhcp": true, "dns_nameservers": ["9.9.9.9"], "host_routes": [],
            "service_ip": "10.0.0.2"}],
        "ports": [port(3, "fa:16:3e:00:00:01", "10.0.0.2", None),
            port(4, "fa:16:3e:00:00:02", "10.0.0.5", Some(id(5)))]});
    serde_json::from_value(network)
        .map(|network| vec![network])
        .map_err(|e| Error::internal("plugin.check", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_backend_nothing_is_planned_and_nothing_refused() {
        assert_eq!(NetworkPlugin::none().plan_host(Vec::new()).await.unwrap(), []);
        assert!(NetworkPlugin::none().validate(Vec::new()).await.is_ok());
    }
}
