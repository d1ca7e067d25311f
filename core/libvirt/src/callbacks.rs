//! libvirt's event loop and the two callbacks we need: a domain's lifecycle and a lost connection.
//!
//! The safe wrapper has the loop but not the registration, so this module calls the C functions itself;
//! one of the few that may contain `unsafe`. Callbacks run on the loop's one thread, which
//! serves every connection of the process: they must not block, panic or call libvirt, so all they do is
//! hand the fact to a [`Sink`].
#![expect(unsafe_code, reason = "event registration exists only as C functions taking C callbacks")]

use std::ffi::{c_int, c_void};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use uuid::Uuid;
use virt::connect::Connect;
use virt::error::Error;
use virt_sys as sys;

/// Where events go. Called on the event loop's thread: must neither block nor panic.
pub trait Sink: Send + Sync + 'static {
    fn changed(&self, domain: Uuid);
    fn closed(&self);
}

/// What a libvirt callback carries as its opaque pointer.
type Opaque = Arc<dyn Sink>;

/// What [`unsubscribe`] needs.
#[derive(Debug)]
pub struct Subscription {
    lifecycle: c_int,
    close: bool,
}

/// Registers and starts the process's event loop; does nothing after the first time. To be called
/// before a connection is opened, or that connection has no events and no keepalive.
pub fn start_event_loop() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // Errors are returned to us; libvirt need not print them on stderr as well.
            virt::error::clear_error_callback();
            virt::event::event_register_default_impl()?;
            let run = || {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::error!(%error, "libvirt's event loop failed; running it again");
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name("libvirt-events".into()).spawn(run) {
                tracing::error!(%error, "no thread for libvirt's events: the driver relies on listing");
            }
            Ok(())
        })
        .clone()
}

/// Sends the connection's events to `sink` until [`unsubscribe`] or the end of the connection.
pub fn subscribe(conn: &Connect, sink: Arc<dyn Sink>) -> Result<Subscription, Error> {
    // libvirt has one registration function for callbacks of many shapes and documents this cast.
    // SAFETY: both are C function pointers, and libvirt calls this one with the lifecycle event's
    // arguments because it is registered for that event's id.
    let generic = unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int,
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void),
        >(on_lifecycle)
    };
    let opaque = leak(Arc::clone(&sink));
    // SAFETY: the connection is alive as `conn` borrows it; `opaque` lives until libvirt calls `free`.
    let lifecycle = unsafe {
        sys::virConnectDomainEventRegisterAny(
            conn.as_ptr(),
            std::ptr::null_mut(),
            sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE as c_int,
            Some(generic),
            opaque,
            Some(free),
        )
    };
    if lifecycle < 0 {
        let error = Error::last_error();
        // SAFETY: a failed registration has not taken ownership of `opaque`.
        unsafe { free(opaque) };
        return Err(error);
    }
    let opaque = leak(sink);
    // SAFETY: as above.
    let close =
        unsafe { sys::virConnectRegisterCloseCallback(conn.as_ptr(), Some(on_close), opaque, Some(free)) }
            == 0;
    if !close {
        // Only keepalive and failing calls will tell then.
        tracing::warn!(error = %Error::last_error(), "libvirt will not tell when the connection closes");
        // SAFETY: as above.
        unsafe { free(opaque) };
    }
    Ok(Subscription { lifecycle, close })
}

/// Ends the subscription, so that the connection can be closed. May block as any call.
pub fn unsubscribe(conn: &Connect, subscription: &Subscription) {
    // Failures are of no interest: on a dead connection there is nothing left to end.
    // SAFETY: the connection is alive as `conn` borrows it, and the callback is the registered one.
    unsafe {
        sys::virConnectDomainEventDeregisterAny(conn.as_ptr(), subscription.lifecycle);
        if subscription.close {
            sys::virConnectUnregisterCloseCallback(conn.as_ptr(), Some(on_close));
        }
    }
}

fn leak(sink: Opaque) -> *mut c_void {
    Box::into_raw(Box::new(sink)).cast()
}

/// SAFETY: to be called once with what [`leak`] returned.
unsafe extern "C" fn free(opaque: *mut c_void) {
    // SAFETY: by contract this is the box made in `leak`, and libvirt frees it once.
    drop(unsafe { Box::from_raw(opaque.cast::<Opaque>()) });
}

/// SAFETY: to be called by libvirt with a valid domain and what [`leak`] returned.
unsafe extern "C" fn on_lifecycle(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let mut uuid = [0u8; 16];
    // SAFETY: the domain is valid during the callback, and libvirt writes VIR_UUID_BUFLEN = 16 bytes.
    if unsafe { sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) } == 0 {
        // SAFETY: `opaque` is the leaked sink, which lives until `free`.
        let sink = unsafe { &*opaque.cast::<Opaque>() };
        sink.changed(Uuid::from_bytes(uuid));
    }
    0
}

/// SAFETY: to be called by libvirt with what [`leak`] returned.
unsafe extern "C" fn on_close(_conn: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: `opaque` is the leaked sink, which lives until `free`.
    let sink = unsafe { &*opaque.cast::<Opaque>() };
    sink.closed();
}
