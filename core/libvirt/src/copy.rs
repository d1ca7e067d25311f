//! Copies of a running guest's disk, by a block job of QEMU's.
//!
//! The job mirrors the disk into a new file until the two are the same; ended then, it leaves a copy of that very
//! moment. The safe wrapper lacks the three functions, so this module calls them itself.
#![expect(unsafe_code, reason = "block jobs exist only as C functions")]

use crate::errors::CallError;
use crate::xml::Xml;
use std::ffi::{CStr, CString};
use std::path::Path;
use virt::domain::Domain;
use virt::error::Error as VirtError;
use virt_sys as sys;

/// The root disk of every guest that is not being rescued.
const DISK: &CStr = c"vda";

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// There is none.
    Absent,
    Going,
    /// Both are the same from now on.
    Ready,
}

/// Begins to copy into `to`, which must not exist.
pub fn begin(domain: &Domain, to: &Path) -> Result<(), CallError> {
    let mut xml = Xml::default();
    xml.nest("disk", &[("type", "file")], |xml| {
        xml.empty("source", &[("file", to.to_str().unwrap_or_default())]);
        xml.empty("driver", &[("type", "qcow2")]);
    });
    let xml = CString::new(xml.finish()).map_err(|e| canopy_types::Error::internal("libvirt.copy", e))?;
    // A persistent guest's job ends with it: libvirt wants to hear that this is understood.
    let flags = sys::VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
    // SAFETY: the domain is alive as `domain` borrows it; both texts end with NUL and outlive the call, which takes
    // no parameters beside them.
    let begun = unsafe {
        sys::virDomainBlockCopy(domain.as_ptr(), DISK.as_ptr(), xml.as_ptr(), std::ptr::null_mut(), 0, flags)
    };
    if begun < 0 { Err(VirtError::last_error().into()) } else { Ok(()) }
}

pub fn job(domain: &Domain) -> Result<Job, CallError> {
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: as above; `info` is written to during the call only.
    let found = unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), DISK.as_ptr(), &raw mut info, 0) };
    match found {
        0 => Ok(Job::Absent),
        // libvirt keeps the two apart until the job is ready.
        1 if info.end > 0 && info.cur == info.end => Ok(Job::Ready),
        1 => Ok(Job::Going),
        _ => Err(VirtError::last_error().into()),
    }
}

/// Ends the job and waits until it has let go of the copy. No error when there is none.
pub fn end(domain: &Domain) -> Result<(), CallError> {
    if job(domain)? == Job::Absent {
        return Ok(());
    }
    // SAFETY: as above.
    let ended = unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), DISK.as_ptr(), 0) };
    if ended == 0 || job(domain)? == Job::Absent { Ok(()) } else { Err(VirtError::last_error().into()) }
}
