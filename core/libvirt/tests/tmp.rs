#[path = "../../../tests/integration/libvirt.rs"]
mod libvirt;
