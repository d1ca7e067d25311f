//! Servers: a file per verb.

mod change;
mod create;
mod delete;
mod diagnostics;
mod endings;
mod exact;
mod fixed_ips;
mod groups;
mod history;
mod interfaces;
mod list;
mod matching;
mod notes;
mod observe;
mod once;
mod password;
pub mod power;
mod rebuild;
mod reclaim;
mod rescue;
mod resize;
mod scene;
mod snapshot;
mod specs;
mod wants;

pub use canopy_store::ports::ServerAddress;
pub use canopy_store::servers::{Backup, Direction, Filter, ServerRow, Sort, TagFilter};
pub use create::{Create, Networks, create};
pub use delete::{delete, force_delete};
pub use diagnostics::diagnostics;
pub use exact::NO_CANDIDATE;
pub use fixed_ips::{add_fixed_ip, not_on, remove_fixed_ip};
pub use groups::{add_group, groups, known_group, remove_group};
pub use history::{ServerAction, Span, Told, history, history_of};
pub use interfaces::{attach, detach, inject_network_info, interface, interfaces};
pub use list::{Health, Listed, absent, addresses, find, list, may_see_topology, rows, show};
pub use matching::{Exact, Matching, Text};
pub use notes::{
    MAX_METADATA, MAX_TAGS, Metadata, Update, add_tag, delete_metadata, has_tag, metadata, metadata_item,
    remove_tag, set_metadata, set_tags, tags, update,
};
pub use observe::observe;
pub use once::{KEPT_SECONDS, Once};
pub use password::change_password;
pub use rebuild::{Rebuild, rebuild};
pub use reclaim::overdue;
pub use rescue::{rescue, unrescue};
pub use resize::{confirm_resize, resize, revert_resize};
pub use snapshot::{awaited, create_backup, create_image};
pub use wants::Hints;

use canopy_authz::Target;
use canopy_types::resources::{Amounts, DISK_GB, MEMORY_MB, VCPU};

/// As policies see it.
pub fn target(server: &ServerRow) -> Target {
    Target {
        metadata: server.metadata.clone(),
        ..Target::in_project(&server.project_id).id(server.id).owner(&server.user_id)
    }
}

/// What a server holds of the project's quota from its creation to the end of its deletion.
pub(crate) use canopy_store::quota::backfill::{charges, held};

/// What a server takes of a host.
pub(crate) fn amounts(vcpus: i64, memory_mib: i64, disk_gib: i64) -> Amounts {
    [(VCPU, vcpus), (MEMORY_MB, memory_mib), (DISK_GB, disk_gib)].map(|(name, n)| (name.to_owned(), n)).into()
}
