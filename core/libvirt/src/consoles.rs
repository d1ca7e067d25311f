//! Where a running guest's consoles are joined, from the definition that it was started with.

use crate::calls::Result;
use canopy_hypervisor::Console;
use canopy_types::ConsoleKind;
use std::path::PathBuf;
use virt::domain::Domain;

pub fn console(domain: &Domain, kind: ConsoleKind) -> Result<Console> {
    if !domain.is_active()? {
        return Ok(Console::Off);
    }
    Ok(socket(&domain.get_xml_desc(0)?, kind).map_or(Console::Outdated, Console::At))
}

/// In libvirt's own spelling, like [`crate::compare`].
fn socket(xml: &str, kind: ConsoleKind) -> Option<PathBuf> {
    let (device, end, path) = match kind {
        ConsoleKind::Novnc => ("<graphics type='vnc'", "</graphics>", "<listen type='socket' socket='"),
        ConsoleKind::Serial => ("<serial type='unix'", "</serial>", "<source mode='bind' path='"),
    };
    let (device, _) = xml.split_once(device)?.1.split_once(end)?;
    let (path, _) = device.split_once(path)?.1.split_once('\'')?;
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&apos;", "'"), ("&quot;", "\""), ("&amp;", "&")] as [(_, _); 5];
    let path = entities.iter().fold(path.to_owned(), |path, (entity, meant)| path.replace(entity, meant));
    Some(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `virsh dumpxml` of libvirt 9 prints it, shortened.
    const SHOWN: &str = "<domain type='qemu' id='7'>
  <title>&lt;serial type=&apos;unix&apos;</title>
  <devices>
    <serial type='unix'>
      <source mode='bind' path='/state/a&amp;b/console.sock'/>
      <log file='/state/console.log' append='on'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='unix'>
      <source mode='bind' path='/state/a&amp;b/console.sock'/>
      <target type='serial' port='0'/>
    </console>
    <channel type='unix'>
      <source mode='bind' path='/run/libvirt/agent.0'/>
    </channel>
    <graphics type='vnc' socket='/lib/domain-7-i/vnc.sock'>
      <listen type='socket' socket='/lib/domain-7-i/vnc.sock'/>
    </graphics>
  </devices>
</domain>";

    #[test]
    fn each_console_is_found_where_libvirt_shows_it() {
        assert_eq!(socket(SHOWN, ConsoleKind::Serial).unwrap(), PathBuf::from("/state/a&b/console.sock"));
        assert_eq!(socket(SHOWN, ConsoleKind::Novnc).unwrap(), PathBuf::from("/lib/domain-7-i/vnc.sock"));
    }

    #[test]
    fn what_listens_elsewhere_has_no_socket() {
        let old = SHOWN
            .replace("<serial type='unix'>", "<serial type='pty'>")
            .replace("<listen type='socket' socket='/lib/domain-7-i/vnc.sock'/>", "<listen type='address'/>");
        assert_eq!(ConsoleKind::ALL.map(|kind| socket(&old, kind)), [None, None]);
    }
}
