//! From a [`DomainSpec`] to libvirt's domain XML. Pure: what had to be looked up comes in as [`Facts`].

use crate::xml::Xml;
use canopy_hypervisor::{Boot, DomainSpec, MAX_SOCKET_PATH, Nic};
use canopy_types::Error;
use std::path::Path;

/// The namespace of our metadata element; what carries it (with its own id) is ours.
pub const METADATA_URI: &str = "urn:canopy:instance:1";

/// One letter each after `vd`.
const MAX_DISKS: usize = 26;
/// Far more than a flavor asks for; libvirt adds PCI bridges where the slots of one bus do not do.
const MAX_NICS: usize = 16;
/// What QEMU's `pc` machine takes.
const MAX_VCPUS: i64 = 255;
/// 16 TiB: far above any host, and far below overflow anywhere.
const MAX_MEMORY_MIB: i64 = 16 * 1024 * 1024;
/// IFNAMSIZ less the terminator.
const MAX_INTERFACE_NAME: usize = 15;

/// What the builder cannot know by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kvm: bool,
    /// For each disk, in order: whether its file system takes `O_DIRECT`. Missing entries mean yes.
    pub direct_io: Vec<bool>,
}

/// The domain's XML, or `libvirt.bad_spec` for what libvirt would misread or refuse.
pub fn domain_xml(spec: &DomainSpec, facts: &Facts) -> Result<String, Error> {
    check(spec)?;
    let mut xml = Xml::default();
    xml.nest("domain", &[("type", if facts.kvm { "kvm" } else { "qemu" })], |xml| {
        identity(xml, spec);
        xml.text("memory", &[("unit", "MiB")], &spec.memory_mib.to_string());
        xml.text("vcpu", &[("placement", "static")], &spec.vcpus.to_string());
        boot(xml, spec);
        xml.nest("features", &[], |xml| {
            xml.empty("acpi", &[]);
            xml.empty("apic", &[]);
            if !facts.kvm {
                // Unset, QEMU's translation cache grows to 1 GiB per guest.
                xml.nest("tcg", &[], |xml| xml.text("tb-cache", &[("unit", "MiB")], "64"));
            }
        });
        if facts.kvm {
            xml.empty("cpu", &[("mode", "host-passthrough"), ("check", "none"), ("migratable", "on")]);
        }
        xml.nest("clock", &[("offset", "utc")], |xml| {
            xml.empty("timer", &[("name", "rtc"), ("tickpolicy", "catchup")]);
            xml.empty("timer", &[("name", "pit"), ("tickpolicy", "delay")]);
            xml.empty("timer", &[("name", "hpet"), ("present", "no")]);
        });
        xml.text("on_poweroff", &[], "destroy");
        xml.text("on_reboot", &[], "restart");
        xml.text("on_crash", &[], "destroy");
        xml.nest("devices", &[], |xml| devices(xml, spec, facts));
    });
    Ok(xml.finish())
}

fn identity(xml: &mut Xml, spec: &DomainSpec) {
    let id = spec.id.to_string();
    xml.text("name", &[], &spec.name);
    xml.text("uuid", &[], &id);
    // libvirt refuses line breaks here; the metadata below keeps the text as it is.
    xml.text("title", &[], &spec.title.replace(|c: char| c.is_control(), " "));
    xml.nest("metadata", &[], |xml| {
        let attributes =
            [("xmlns:canopy", METADATA_URI), ("id", &id), ("project", &spec.project_id)] as [(_, &str); 3];
        xml.nest("canopy:instance", &attributes, |xml| xml.text("canopy:title", &[], &spec.title));
    });
    xml.nest("sysinfo", &[("type", "smbios")], |xml| {
        xml.nest("system", &[], |xml| {
            let entries = [
                ("manufacturer", "Canopy"),
                // The very name cloud-init's ds-identify looks for.
                ("product", "OpenStack Compute"),
                ("serial", &id),
                ("uuid", &id),
                ("family", "Virtual Machine"),
            ];
            for (name, value) in entries {
                xml.text("entry", &[("name", name)], value);
            }
        });
    });
}

fn boot(xml: &mut Xml, spec: &DomainSpec) {
    xml.nest("os", &[], |xml| {
        xml.text("type", &[("arch", "x86_64"), ("machine", "pc")], "hvm");
        match &spec.boot {
            Boot::Disk => xml.empty("boot", &[("dev", "hd")]),
            Boot::Kernel { kernel, initrd, cmdline } => {
                xml.text("kernel", &[], text(kernel));
                if let Some(initrd) = initrd {
                    xml.text("initrd", &[], text(initrd));
                }
                xml.text("cmdline", &[], cmdline);
            }
        }
        xml.empty("smbios", &[("mode", "sysinfo")]);
    });
}

fn devices(xml: &mut Xml, spec: &DomainSpec, facts: &Facts) {
    for (index, disk) in spec.disks.iter().enumerate() {
        let direct = facts.direct_io.get(index).copied().unwrap_or(true);
        let target = format!("vd{}", letter(index));
        xml.nest("disk", &[("type", "file"), ("device", "disk")], |xml| {
            let cache = if direct { "none" } else { "writeback" };
            let driver =
                [("name", "qemu"), ("type", disk.format.as_str()), ("cache", cache), ("discard", "unmap")];
            xml.empty("driver", &driver);
            xml.empty("source", &[("file", text(&disk.path))]);
            xml.empty("target", &[("dev", &target), ("bus", "virtio")]);
        });
    }
    if let Some(path) = &spec.config_drive {
        // IDE, since kernels made for clouds leave out AHCI and so would not see a SATA drive.
        xml.nest("disk", &[("type", "file"), ("device", "cdrom")], |xml| {
            xml.empty("driver", &[("name", "qemu"), ("type", "raw")]);
            xml.empty("source", &[("file", text(path))]);
            xml.empty("target", &[("dev", "hda"), ("bus", "ide")]);
            xml.empty("readonly", &[]);
        });
    }
    xml.empty("controller", &[("type", "usb"), ("model", "none")]);
    xml.empty("controller", &[("type", "virtio-serial"), ("index", "0")]);
    for nic in &spec.nics {
        interface(xml, nic);
    }
    let socket = spec.console_socket.as_deref();
    let kind = [("type", if socket.is_some() { "unix" } else { "pty" })];
    let source = |xml: &mut Xml| {
        if let Some(socket) = socket {
            xml.empty("source", &[("mode", "bind"), ("path", text(socket))]);
        }
    };
    xml.nest("serial", &kind, |xml| {
        source(xml);
        xml.empty("log", &[("file", text(&spec.console_log)), ("append", "on")]);
        xml.empty("target", &[("port", "0")]);
    });
    xml.nest("console", &kind, |xml| {
        source(xml);
        xml.empty("target", &[("type", "serial"), ("port", "0")]);
    });
    xml.nest("channel", &[("type", "unix")], |xml| {
        xml.empty("target", &[("type", "virtio"), ("name", "org.qemu.guest_agent.0")]);
    });
    // Without a path libvirt makes one in a folder of the domain's own, which no other user may enter.
    xml.nest("graphics", &[("type", "vnc")], |xml| xml.empty("listen", &[("type", "socket")]));
    xml.nest("video", &[], |xml| xml.empty("model", &[("type", "vga"), ("vram", "16384"), ("heads", "1")]));
    xml.nest("rng", &[("model", "virtio")], |xml| {
        xml.text("backend", &[("model", "random")], "/dev/urandom");
    });
    xml.nest("memballoon", &[("model", "virtio")], |xml| xml.empty("stats", &[("period", "10")]));
}

/// A network device, in a domain or by itself.
pub fn interface(xml: &mut Xml, nic: &Nic) {
    xml.nest("interface", &[("type", "bridge")], |xml| {
        xml.empty("mac", &[("address", &nic.mac)]);
        xml.empty("source", &[("bridge", &nic.bridge)]);
        xml.empty("target", &[("dev", &nic.tap)]);
        xml.empty("model", &[("type", "virtio")]);
        xml.empty("mtu", &[("size", &nic.mtu.to_string())]);
        xml.empty("rom", &[("enabled", "no")]);
    });
}

/// Below [`MAX_DISKS`], which [`check`] has made sure of.
fn letter(index: usize) -> char {
    char::from(b'a' + u8::try_from(index % MAX_DISKS).unwrap_or(0))
}

/// UTF-8, which [`check`] has made sure of.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn bad(what: &str) -> Result<(), Error> {
    let message = format!("The guest cannot be described to the hypervisor: {what}.");
    Err(Error::bad_request("libvirt.bad_spec", message))
}

fn check(spec: &DomainSpec) -> Result<(), Error> {
    if !domain_name(&spec.name) {
        return bad("its name must have 1 to 250 characters, none of them a slash or a control character");
    }
    if !(1..=MAX_VCPUS).contains(&spec.vcpus) {
        return bad("it must have 1 to 255 vCPUs");
    }
    if !(1..=MAX_MEMORY_MIB).contains(&spec.memory_mib) {
        return bad("it must have 1 MiB to 16 TiB of memory");
    }
    if spec.disks.len() > MAX_DISKS {
        return bad("it can have 26 disks at most");
    }
    if spec.nics.len() > MAX_NICS {
        return bad("it can have 16 network interfaces at most");
    }
    if spec.disks.iter().any(|disk| !matches!(disk.format.as_str(), "qcow2" | "raw")) {
        return bad("the format of a disk must be qcow2 or raw");
    }
    let (kernel, initrd, cmdline) = match &spec.boot {
        Boot::Disk => (None, None, ""),
        Boot::Kernel { kernel, initrd, cmdline } => (Some(kernel), initrd.as_ref(), cmdline.as_str()),
    };
    let disks = spec.disks.iter().map(|disk| &disk.path);
    let consoles = spec.console_socket.iter().chain([&spec.console_log]);
    let mut paths = disks.chain(&spec.config_drive).chain(kernel).chain(initrd).chain(consoles);
    if !paths.all(|path| path.is_absolute() && path.to_str().is_some_and(plain)) {
        return bad("every file must have an absolute path in UTF-8 without control characters");
    }
    if spec.console_socket.as_ref().is_some_and(|path| path.as_os_str().len() > MAX_SOCKET_PATH) {
        return bad("the path of the console's socket may have 107 bytes at most");
    }
    if !plain(cmdline) {
        return bad("the kernel's command line must be one line without control characters");
    }
    spec.nics.iter().try_for_each(check_nic)
}

/// `libvirt.bad_spec` for a network device that libvirt would misread or refuse.
pub fn check_nic(nic: &Nic) -> Result<(), Error> {
    if !mac_address(&nic.mac) {
        return bad("a MAC address must be six pairs of hex digits and not a multicast address");
    }
    if !interface_name(&nic.bridge) || !interface_name(&nic.tap) {
        return bad("a bridge or tap name must have 1 to 15 letters, digits, '-', '_' or '.'");
    }
    if nic.tap.starts_with("vnet") {
        // libvirt takes the prefix for itself and would silently choose another name.
        return bad("a tap name must not begin with 'vnet'");
    }
    if !(68..=65535).contains(&nic.mtu) {
        return bad("an MTU must be 68 to 65535 bytes");
    }
    Ok(())
}

fn domain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 250 && plain(name) && !name.contains('/') && !name.trim().is_empty()
}

fn plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !matches!(name, "." | "..")
}

fn mac_address(mac: &str) -> bool {
    let mut bytes = mac.split(':').map(|pair| match pair.len() {
        2 if pair.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(pair, 16).ok(),
        _ => None,
    });
    let first_ok = bytes.next().flatten().is_some_and(|first| first & 1 == 0);
    first_ok && mac.len() == 17 && bytes.all(|byte| byte.is_some())
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
