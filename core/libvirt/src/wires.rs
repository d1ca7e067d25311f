//! Network devices of a guest that is on: they come at once, and go when the guest lets go of them.

use crate::domain::interface;
use crate::errors::CallError;
use crate::xml::Xml;
use canopy_hypervisor::Nic;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt_sys as sys;

/// Whether the guest has it now.
pub fn has(domain: &Domain, nic: &Nic) -> Result<bool, CallError> {
    Ok(domain.get_xml_desc(0)?.contains(&format!("<mac address='{}'", nic.mac.to_lowercase())))
}

pub fn plug(domain: &Domain, nic: &Nic) -> Result<(), CallError> {
    if has(domain, nic)? {
        return Ok(());
    }
    domain.attach_device_flags(&described(nic), sys::VIR_DOMAIN_AFFECT_LIVE)?;
    Ok(())
}

/// Asks the guest to let it go; whether there is nothing to wait for.
pub fn unplug(domain: &Domain, nic: &Nic) -> Result<bool, CallError> {
    if !has(domain, nic)? {
        return Ok(true);
    }
    match domain.detach_device_flags(&described(nic), sys::VIR_DOMAIN_AFFECT_LIVE) {
        Ok(_) => Ok(!has(domain, nic)?),
        // Gone meanwhile.
        Err(error) if error.code() == ErrorNumber::DeviceMissing => Ok(true),
        // Asked before, and the guest has not answered yet: it may still do.
        Err(error) if error.message().contains("in the process of unplug") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn described(nic: &Nic) -> String {
    let mut xml = Xml::default();
    interface(&mut xml, nic);
    xml.finish()
}
