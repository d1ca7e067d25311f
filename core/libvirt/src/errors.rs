//! From libvirt's errors to Canopy's: a stable code, a sentence fit for a server's fault, and libvirt's
//! own words (which name host files) as the source, for the log only.

use crate::pool::Failure;
use canopy_types::{Error, Kind, ServerId};
use std::time::Duration;
use virt::error::{Error as VirtError, ErrorNumber};

/// What was asked for, in a form for the log (`name`) and one for a sentence (`phrase`).
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub name: &'static str,
    pub phrase: &'static str,
}

/// Why a blocking call failed, before it is put into words.
#[derive(Debug)]
pub enum CallError {
    Libvirt(VirtError),
    Canopy(Error),
}

impl From<VirtError> for CallError {
    fn from(error: VirtError) -> Self {
        Self::Libvirt(error)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Canopy(error)
    }
}

/// The domain is not there (any more).
pub fn is_gone(error: &VirtError) -> bool {
    error.code() == ErrorNumber::NoDomain
}

/// libvirt refused or failed, with the connection alive.
pub fn failed(asked: Asked, error: VirtError) -> Error {
    let (kind, code, why) = match error.code() {
        ErrorNumber::OperationTimeout | ErrorNumber::AgentUnresponsive => {
            (Kind::Unavailable, "libvirt.timeout", "it is still busy with an earlier request")
        }
        ErrorNumber::NoMemory => (Kind::Unavailable, "libvirt.failed", "the host is out of memory"),
        ErrorNumber::AuthFailed | ErrorNumber::AccessDenied => {
            (Kind::Internal, "libvirt.denied", "it does not trust this service")
        }
        ErrorNumber::ConfigUnsupported | ErrorNumber::XmlError | ErrorNumber::XmlDetail => {
            (Kind::Internal, "libvirt.failed", "it does not support the guest's configuration")
        }
        ErrorNumber::NoDomain => (Kind::NotFound, "libvirt.domain_not_found", "it has no such guest"),
        _ => (Kind::Internal, "libvirt.failed", "the host's log has its reason"),
    };
    let message = format!("The hypervisor could not {}: {why}.", asked.phrase);
    Error::new(kind, code, message).with_source(error)
}

/// The call's thread, not libvirt, is why there is no result.
pub fn no_answer(asked: Asked, failure: Failure, deadline: Duration) -> Error {
    let phrase = asked.phrase;
    match failure {
        Failure::Busy => Error::unavailable(
            "libvirt.busy",
            format!("The hypervisor has too many requests waiting to {phrase}. Try again shortly."),
        ),
        Failure::Unresponsive => Error::unavailable(
            "libvirt.unresponsive",
            format!("The hypervisor could not {phrase}: an earlier request for this guest still hangs."),
        ),
        Failure::Timeout | Failure::Queued => Error::unavailable(
            "libvirt.timeout",
            format!("The hypervisor did not {phrase} within {} seconds.", deadline.as_secs_f32()),
        ),
        Failure::Gone => Error::unavailable(
            "libvirt.unavailable",
            format!("The connection to the hypervisor was closed before it could {phrase}. Try again."),
        ),
    }
}

/// There is no connection; the driver is making a new one.
pub fn unavailable(asked: Asked) -> Error {
    let message = format!(
        "The hypervisor could not {}: libvirt on the host cannot be reached. It is tried again by itself.",
        asked.phrase
    );
    Error::unavailable("libvirt.unavailable", message)
}

/// The first connection failed: said to the operator, who has to do something.
pub fn cannot_connect(uri: &str, error: Option<VirtError>) -> Error {
    let denied = error.as_ref().is_some_and(|error| {
        matches!(error.code(), ErrorNumber::AuthFailed | ErrorNumber::AuthUnavailable)
            || error.message().contains("Permission denied")
    });
    let advice = if denied {
        "This user may not use it: run as root or add the user to the group `libvirt`"
    } else {
        "Install and start it (`systemctl enable --now libvirtd virtlogd`), and check the URI with \
         `virsh -c URI list`"
    };
    let message = format!("libvirt cannot be reached at {uri}. {advice}.");
    let unavailable = Error::unavailable("libvirt.unavailable", message);
    match error {
        Some(error) => unavailable.with_source(error),
        None => unavailable,
    }
}

pub fn domain_not_found(id: ServerId) -> Error {
    Error::not_found("libvirt.domain_not_found", format!("The host has no guest for server {id}."))
}

pub fn foreign() -> Error {
    Error::conflict(
        "libvirt.foreign_domain",
        "The host has a guest of this name or id that Canopy did not make. Rename or remove it by hand.",
    )
}

pub fn name_taken() -> Error {
    Error::conflict(
        "libvirt.name_taken",
        "Another cloud has a guest of this name on the host. Give each a network_scope of its own in [agent].",
    )
}

pub fn not_running() -> Error {
    Error::conflict("libvirt.not_running", "The guest does not run.")
}
