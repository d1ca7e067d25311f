//! The libvirt/QEMU driver: [`Libvirt`] implements `canopy_hypervisor::Hypervisor`.
//!
//! libvirt's calls block and may hang, its daemon may be restarted at any time, and the host may carry
//! guests that are not ours. So: calls run on a few threads with deadlines (`pool`), the connection is
//! replaced when it is lost (`driver`, `session`), and only domains with our metadata are listed or
//! touched (`calls`). `domain` builds the XML and `accel` chooses KVM or TCG. `callbacks`, `copy`, `figures` and `password` call
//! C functions that the safe wrapper lacks; they are the only modules here with `unsafe` code.

mod accel;
mod callbacks;
mod calls;
mod compare;
mod consoles;
mod copy;
mod domain;
mod driver;
mod errors;
mod figures;
mod password;
mod pool;
mod probe_code;
mod session;
mod wires;
mod xml;

pub use accel::Accel;
pub use domain::{Facts, METADATA_URI, domain_xml};
pub use driver::{Health, Libvirt, Options};
