//! A password set within the guest, by its own agent.
#![expect(unsafe_code, reason = "the deadline of a guest's agent exists only as a C function")]

use crate::calls::Result;
use canopy_hypervisor::PasswordOutcome;
use std::ffi::{c_int, c_uint};
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt_sys as sys;

/// Seconds for each of the agent's two answers. Otherwise libvirt waits for ever, and the guest is the tenant's.
const PATIENCE: c_int = 3;

unsafe extern "C" {
    fn virDomainAgentSetResponseTimeout(domain: sys::virDomainPtr, timeout: c_int, flags: c_uint) -> c_int;
}

pub fn set(domain: &Domain, user: &str, password: &str) -> Result<PasswordOutcome> {
    if !domain.is_active()? {
        return Ok(PasswordOutcome::Off);
    }
    // The wrapper would panic.
    if [user, password].iter().any(|text| text.contains('\0')) {
        return Ok(PasswordOutcome::Refused);
    }
    // SAFETY: the domain is alive as `domain` borrows it, and the function keeps nothing of it.
    if unsafe { virDomainAgentSetResponseTimeout(domain.as_ptr(), PATIENCE, 0) } < 0 {
        return outcome(VirtError::last_error());
    }
    match domain.set_user_password(user, password, 0) {
        Ok(_) => Ok(PasswordOutcome::Set),
        Err(error) => outcome(error),
    }
}

fn outcome(error: VirtError) -> Result<PasswordOutcome> {
    match error.code() {
        ErrorNumber::AgentUnresponsive | ErrorNumber::AgentCommandTimeout | ErrorNumber::AgentUnsynced => {
            Ok(PasswordOutcome::Silent)
        }
        // What it says is the guest's own text, and not about what was sent.
        ErrorNumber::InternalError | ErrorNumber::AgentCommandFailed | ErrorNumber::ArgumentUnsupported => {
            tracing::info!(code = ?error.code(), "a guest's agent does not set a password");
            Ok(PasswordOutcome::Refused)
        }
        _ => Err(error.into()),
    }
}
