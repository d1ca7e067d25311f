//! `GET /servers/{id}/diagnostics`: since 2.48 in a shape of its own, before as libvirt's driver of nova names things.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{Microversion, v};
use canopy_app::compute::servers;
use canopy_authz::actions::compute as policy;
use canopy_types::diagnostics::{Diagnostics, Traffic};
use canopy_types::time::SECOND;
use canopy_types::{Result, Timestamp};
use http::Method;
use serde_json::{Map, Value, json};

const STANDARD: Microversion = v(2, 48);

pub fn routes() -> Vec<Route> {
    let path = "/v2.1/servers/{server_id}/diagnostics";
    vec![
        Route::new(Service::Compute, Method::GET, path, "Figures of a running guest", handler!(show))
            .action(policy::SERVERS_DIAGNOSTICS)
            .answers(&[200], &[404, 409]),
    ]
}

async fn show(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let (server, told) = servers::diagnostics(&req.app, req.ctx()?, id).await?;
    if req.version < STANDARD {
        return Reply::json(200, &by_device(&told));
    }
    let uptime = server.launched_at.map(|at| uptime(at, req.app.now()));
    Reply::json(200, &standard(&told, server.config_drive, uptime))
}

/// Whole seconds.
fn uptime(launched: Timestamp, now: Timestamp) -> i64 {
    (now.0 - launched.0).max(0) / SECOND
}

/// What is not known is null.
fn known(figure: i64) -> Value {
    if figure < 0 { Value::Null } else { json!(figure) }
}

fn standard(told: &Diagnostics, config_drive: bool, uptime: Option<i64>) -> Value {
    let cpus = told.cpus.iter().map(|cpu| json!({"id": cpu.id, "time": cpu.time, "utilisation": null}));
    let disks = told.disks.iter().map(|disk| {
        json!({
            "read_bytes": known(disk.read_bytes),
            "read_requests": known(disk.read_requests),
            "write_bytes": known(disk.write_bytes),
            "write_requests": known(disk.write_requests),
            "errors_count": known(disk.errors),
        })
    });
    let nics = told.nics.iter().map(|nic| {
        let mut shown = json!({"mac_address": nic.mac});
        for (way, Traffic { bytes, packets, errors, drops }) in [("rx", nic.rx), ("tx", nic.tx)] {
            shown[format!("{way}_octets")] = known(bytes);
            shown[format!("{way}_packets")] = known(packets);
            shown[format!("{way}_errors")] = known(errors);
            shown[format!("{way}_drop")] = known(drops);
            shown[format!("{way}_rate")] = Value::Null;
        }
        shown
    });
    json!({
        "state": if told.paused { "paused" } else { "running" },
        "driver": "libvirt",
        "hypervisor": told.hypervisor,
        "hypervisor_os": "linux",
        "uptime": uptime,
        "config_drive": config_drive,
        "num_cpus": told.cpus.len(),
        "num_nics": told.nics.len(),
        "num_disks": told.disks.len(),
        "cpu_details": cpus.collect::<Vec<_>>(),
        "disk_details": disks.collect::<Vec<_>>(),
        "nic_details": nics.collect::<Vec<_>>(),
        // In MiB.
        "memory_details": {"maximum": told.memory.maximum / 1_024, "used": told.memory.used / 1_024},
    })
}

fn by_device(told: &Diagnostics) -> Value {
    let mut shown = Map::new();
    let mut put = |name: String, value: Value| drop(shown.insert(name, value));
    for cpu in &told.cpus {
        put(format!("cpu{}_time", cpu.id), json!(cpu.time));
    }
    for disk in &told.disks {
        for (name, figure) in [
            ("read_req", disk.read_requests),
            ("read", disk.read_bytes),
            ("write_req", disk.write_requests),
            ("write", disk.write_bytes),
            ("errors", disk.errors),
        ] {
            put(format!("{}_{name}", disk.device), json!(figure));
        }
    }
    for nic in &told.nics {
        for (way, Traffic { bytes, packets, errors, drops }) in [("rx", nic.rx), ("tx", nic.tx)] {
            put(format!("{}_{way}", nic.device), json!(bytes));
            for (name, figure) in [("packets", packets), ("errors", errors), ("drop", drops)] {
                put(format!("{}_{way}_{name}", nic.device), json!(figure));
            }
        }
    }
    // In KiB.
    put("memory".into(), json!(told.memory.maximum));
    put("memory-actual".into(), json!(told.memory.used));
    if let Some(resident) = told.memory.resident {
        put("memory-rss".into(), json!(resident));
    }
    Value::Object(shown)
}
