//! Three hosts alike, and a scheduler that decides among them.

use super::guests::install;
use crate::{PluginHost, SchedulerPlugin};
use canopy_placement::{Decision, Fleet, Host, Request, ResourceColumn};
use canopy_types::{DecisionId, Error, HostId};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn fleet(classes: &[&str]) -> Arc<Fleet> {
    let host = |i: usize| Host::new(HostId::random(), format!("host-{i}"), "nova");
    let column = |class: &&str| ResourceColumn::new(*class, vec![64; 3], vec![0; 3]);
    Arc::new(Fleet {
        revision: 1,
        hosts: (0..3).map(host).collect(),
        resources: classes.iter().map(column).collect(),
        ..Fleet::default()
    })
}

pub(super) async fn decide(plugin: &SchedulerPlugin, vcpus: i64) -> Decision {
    let request = Request { amounts: [("VCPU".to_owned(), vcpus)].into(), ..Request::default() };
    plugin.decide(DecisionId::random(), fleet(&["VCPU"]), request).await
}

pub(super) fn load(host: &PluginHost, component: &[u8]) -> Result<SchedulerPlugin, Error> {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "scheduler", component, "");
    host.load_scheduler(dir.path(), Value::Null)
}
