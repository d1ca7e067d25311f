//! What a running guest uses: processors, memory, disks, network devices.
//!
//! Which devices there are is read from libvirt's own description, in its own spelling, as in `compare`. The safe
//! wrapper lacks the times of single processors, so this module asks for them itself.
#![expect(unsafe_code, reason = "the times of processors exist only as a C function")]

use crate::errors::CallError;
use canopy_types::diagnostics::{CpuFigures, Diagnostics, DiskFigures, MemoryFigures, NicFigures, Traffic};
use virt::domain::Domain;
use virt::error::Error as VirtError;
use virt_sys as sys;

/// A domain has no more, whatever libvirt says.
const MOST_CPUS: u32 = 255;

pub fn figures(domain: &Domain) -> Result<Diagnostics, CallError> {
    let xml = domain.get_xml_desc(0)?;
    let info = domain.get_info()?;
    // Not of every guest; the rest is worth having without it.
    let stats = domain.memory_stats(0).unwrap_or_default();
    let resident = stats.iter().find(|stat| stat.tag == sys::VIR_DOMAIN_MEMORY_STAT_RSS).map(|stat| stat.val);
    Ok(Diagnostics {
        paused: info.state == sys::VIR_DOMAIN_PAUSED,
        hypervisor: between(&xml, "<domain type='", "'").unwrap_or("qemu").to_owned(),
        cpus: cpus(domain, info.nr_virt_cpu)?,
        memory: MemoryFigures { maximum: info.max_mem, used: info.memory, resident },
        disks: targets(&xml, "<disk ", "</disk>").map(|(_, device)| disk(domain, device)).collect(),
        nics: targets(&xml, "<interface ", "</interface>").map(|(one, tap)| nic(domain, one, tap)).collect(),
    })
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}

/// Each element with the name of its target.
fn targets<'a>(xml: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    xml.split(start).skip(1).filter_map(move |rest| {
        let one = rest.split(end).next()?;
        Some((one, between(one, "<target dev='", "'")?))
    })
}

fn cpus(domain: &Domain, count: u32) -> Result<Vec<CpuFigures>, CallError> {
    let count = count.min(MOST_CPUS);
    let mut info: Vec<sys::virVcpuInfo> =
        (0..count).map(|_| sys::virVcpuInfo { number: 0, state: 0, cpuTime: 0, cpu: 0 }).collect();
    let most = i32::try_from(count).unwrap_or_default();
    // SAFETY: the domain is alive as `domain` borrows it; `info` has room for as many as are asked for, and no map of
    // processors is asked for.
    let found =
        unsafe { sys::virDomainGetVcpus(domain.as_ptr(), info.as_mut_ptr(), most, std::ptr::null_mut(), 0) };
    let found = usize::try_from(found).map_err(|_| VirtError::last_error())?;
    info.truncate(found);
    Ok(info.iter().map(|cpu| CpuFigures { id: cpu.number, time: cpu.cpuTime }).collect())
}

/// A device that went meanwhile has no figures.
fn disk(domain: &Domain, device: &str) -> DiskFigures {
    let device = device.to_owned();
    match domain.get_block_stats(&device) {
        Ok(stats) => DiskFigures {
            device,
            read_bytes: stats.rd_bytes,
            read_requests: stats.rd_req,
            write_bytes: stats.wr_bytes,
            write_requests: stats.wr_req,
            errors: stats.errs,
        },
        Err(_) => DiskFigures {
            device,
            read_bytes: -1,
            read_requests: -1,
            write_bytes: -1,
            write_requests: -1,
            errors: -1,
        },
    }
}

fn nic(domain: &Domain, element: &str, tap: &str) -> NicFigures {
    const UNKNOWN: Traffic = Traffic { bytes: -1, packets: -1, errors: -1, drops: -1 };
    let stats = domain.interface_stats(tap).ok();
    let of = |bytes, packets, errors, drops| Traffic { bytes, packets, errors, drops };
    NicFigures {
        device: tap.to_owned(),
        mac: between(element, "<mac address='", "'").unwrap_or_default().to_owned(),
        rx: stats.as_ref().map_or(UNKNOWN, |s| of(s.rx_bytes, s.rx_packets, s.rx_errs, s.rx_drop)),
        tx: stats.as_ref().map_or(UNKNOWN, |s| of(s.tx_bytes, s.tx_packets, s.tx_errs, s.tx_drop)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_targets() {
        let xml = "<domain type='kvm' id='3'><devices>\
            <disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>\
            <disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk>\
            <interface type='bridge'><mac address='fa:16:3e:00:00:01'/><target dev='cnt1'/></interface>\
            <serial type='pty'><target port='0'/></serial></devices></domain>";
        let disks: Vec<_> = targets(xml, "<disk ", "</disk>").map(|(_, device)| device).collect();
        assert_eq!(disks, ["vda", "hda"]);
        let nics: Vec<_> = targets(xml, "<interface ", "</interface>").collect();
        assert_eq!(nics.len(), 1);
        assert_eq!(
            (nics[0].1, between(nics[0].0, "<mac address='", "'")),
            ("cnt1", Some("fa:16:3e:00:00:01"))
        );
        assert_eq!(between(xml, "<domain type='", "'"), Some("kvm"));
    }
}
