//! The edge: each step of [`crate::decide`] done to the world, every effect with its crash point.

use crate::decide::{Step, is_on};
use crate::mends::Mend;
use crate::record::Record;
use crate::worker::{Target, Worker};
use crate::{config_drive, disk, domain, files};
use canopy_hypervisor::DomainState;
use canopy_types::effect::effect;
use canopy_types::{Error, ImageId};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// Does one step. Every step may be repeated.
pub async fn act(
    worker: &mut Worker,
    step: Step,
    target: Option<&Target>,
    state: Option<DomainState>,
) -> Result<(), Error> {
    match (step, target) {
        (Step::Remove, _) => remove(worker).await,
        (Step::GiveBack, _) => give_back(worker).await,
        (Step::Destroy, _) => {
            effect("agent.domain.destroy", worker.shared.hypervisor.destroy(worker.id)).await
        }
        (Step::Shutdown, _) => shutdown(worker).await,
        (Step::Pause, _) => effect("agent.domain.pause", worker.shared.hypervisor.pause(worker.id)).await,
        (Step::Suspend, _) => {
            effect("agent.domain.suspend", worker.shared.hypervisor.suspend(worker.id)).await
        }
        (Step::DiscardMemory, _) => {
            let discarded = worker.shared.hypervisor.discard_memory(worker.id);
            effect("agent.domain.discard_memory", discarded).await
        }
        (Step::Cycled, Some(target)) => {
            let record = as_cycled(worker, target);
            worker.note(record).await;
            Ok(())
        }
        (Step::Wipe, Some(target)) => {
            worker.dir.clear().await?;
            // To be kept: what is wiped once more has been written to since.
            let record = as_cycled(worker, target);
            worker.save(record).await
        }
        (Step::KeepDisk, Some(target)) => match target.spec.kept_n {
            Some(n) => disk::keep(&worker.dir, n).await,
            None => Ok(()),
        },
        (Step::PutBack, Some(target)) => match target.spec.kept_n {
            Some(n) => disk::put_back(&worker.dir, n).await,
            None => Ok(()),
        },
        (Step::Snapshot, Some(target)) => snapshot(worker, target, state).await,
        (Step::Rewire, Some(target)) => rewire(worker, target, state).await,
        (Step::DropKept, _) => worker.dir.drop_kept().await,
        (Step::GrowDisk, Some(target)) => {
            let _permit = permit(worker).await?;
            disk::grow(&target.spec, &worker.dir, &worker.shared.images).await
        }
        (Step::DropRescue, Some(target)) => {
            disk::drop_rescue(&worker.dir).await?;
            let record = as_cycled(worker, target);
            worker.save(record).await
        }
        (Step::MakeRescueDisk, Some(target)) => {
            let _permit = permit(worker).await?;
            disk::make_rescue(&target.spec, &worker.dir, &worker.shared.images).await
        }
        (Step::Adopt, _) => {
            let disk = worker.dir.disk();
            let disk = files::blocking(move || disk.try_exists().map_err(|e| files::error("read", &disk, e)))
                .await?;
            let new = Record::new(worker.id, &worker.shared.boot_id);
            worker.save(Record { found: disk || state.is_some(), ..new }).await
        }
        (Step::PrepareNetwork, Some(target)) => {
            let deadline = worker.shared.config.network_deadline;
            worker.shared.wiring.wait(target.revision, &target.network_ids(), deadline).await
        }
        (Step::FetchImages, Some(target)) => {
            for blob in domain::blobs(&target.spec) {
                worker.shared.images.ensure(blob).await?;
            }
            Ok(())
        }
        (Step::MakeDisk, Some(target)) => {
            let _permit = permit(worker).await?;
            disk::make(&target.spec, &worker.dir, &worker.shared.images).await
        }
        (Step::WriteConfigDrive, Some(target)) => {
            config_drive::write(&target.spec, &target.networks, &worker.dir, &worker.shared.images).await
        }
        (Step::Define, Some(target)) => define(worker, target).await,
        (Step::Start, Some(target)) => start(worker, target).await,
        (Step::Satisfy, Some(target)) => {
            satisfied(worker, target, is_on(state)).await;
            Ok(())
        }
        // Not steps to do, or nothing to do them for.
        (Step::Nothing | Step::Forget, _) | (_, None) => Ok(()),
    }
}

/// Does a repair that an inspection has asked for.
pub async fn mend(worker: &mut Worker, target: &Target, mend: Mend) -> Result<(), Error> {
    match mend {
        Mend::Define => define(worker, target).await,
        Mend::WriteConfigDrive => {
            config_drive::write(&target.spec, &target.networks, &worker.dir, &worker.shared.images).await
        }
        Mend::RemoveConfigDrive => {
            let path = worker.dir.config_drive();
            effect("agent.config_drive.remove", files::blocking(move || files::remove(&path))).await
        }
    }
}

async fn permit(worker: &Worker) -> Result<SemaphorePermit<'_>, Error> {
    worker.shared.builds.acquire().await.map_err(|e| Error::internal("agent.builds", e))
}

async fn define(worker: &mut Worker, target: &Target) -> Result<(), Error> {
    let (images, scope) = (&worker.shared.images, &worker.shared.config.network_scope);
    let spec = domain::build(&target.spec, &target.networks, &worker.dir, images, scope)?;
    let definition = domain::hash(&spec)?;
    {
        let _permit = permit(worker).await?;
        effect("agent.domain.define", worker.shared.hypervisor.define(&spec)).await?;
    }
    let record = Record { definition: Some(definition), ..record(worker) };
    worker.save(record).await
}

/// A start that returned is a satisfied intent, even if the guest powers off at once: starting it again
/// would be against its own will.
async fn start(worker: &mut Worker, target: &Target) -> Result<(), Error> {
    {
        let _permit = permit(worker).await?;
        effect("agent.domain.start", worker.shared.hypervisor.start(worker.id)).await?;
    }
    satisfied(worker, target, true).await;
    Ok(())
}

/// The intent has what it wants, whether or not that can be written down.
async fn satisfied(worker: &mut Worker, target: &Target, on: bool) {
    worker.shutdown_asked = None;
    let known = record(worker);
    let mut record = Record { power_n: known.power_n.max(target.spec.power.n), failed: None, ..known };
    // Else what is remembered of its power stays: after a reboot of the host it may still have to be brought up.
    if !target.spec.power.how.leaves_power() {
        record = Record { was_running: on, boot_id: worker.shared.boot_id.clone(), ..record };
    }
    worker.note(record).await;
}

/// A copy without a backing file, made beside the running guest or of the resting disk, then sent. The guest
/// goes on meanwhile; the copy is of the moment at which it was complete.
async fn snapshot(worker: &mut Worker, target: &Target, state: Option<DomainState>) -> Result<(), Error> {
    if let Some(image) = target.spec.snapshot {
        let made = copy_and_send(worker, target, image, is_on(state)).await;
        // Whatever became of it, the next one begins anew.
        let copy = worker.dir.snapshot();
        files::blocking(move || files::remove(&copy)).await?;
        made?;
    }
    satisfied(worker, target, is_on(state)).await;
    Ok(())
}

/// The definition first, so that the next start has what is wanted whatever becomes of the guest meanwhile. A guest
/// that is on then loses what leaves and gets what it lacks.
async fn rewire(worker: &mut Worker, target: &Target, state: Option<DomainState>) -> Result<(), Error> {
    let deadline = worker.shared.config.network_deadline;
    worker.shared.wiring.wait(target.revision, &target.network_ids(), deadline).await?;
    if state.is_some() {
        define(worker, target).await?;
    }
    if is_on(state) {
        let leaving = domain::nics(&target.spec.leaving, &target.networks)?;
        for nic in &leaving {
            effect("agent.domain.unplug", worker.shared.hypervisor.unplug(worker.id, nic)).await?;
        }
        for nic in &domain::nics(&target.spec.ports, &target.networks)? {
            effect("agent.domain.plug", worker.shared.hypervisor.plug(worker.id, nic)).await?;
        }
    }
    satisfied(worker, target, is_on(state)).await;
    Ok(())
}

async fn copy_and_send(worker: &Worker, target: &Target, image: ImageId, on: bool) -> Result<(), Error> {
    let host = *worker.shared.host.borrow();
    let host = host.ok_or_else(|| {
        Error::unavailable("agent.unregistered", "The host has not reached its controller yet.")
    })?;
    let _permit = worker.shared.copies.acquire().await.map_err(|e| Error::internal("agent.copies", e))?;
    let copy = worker.dir.snapshot();
    disk::room_for_copy(&target.spec, &worker.dir, &worker.shared.images).await?;
    let stale = copy.clone();
    files::blocking(move || files::remove(&stale)).await?;
    if on {
        effect("agent.disk.copy", worker.shared.hypervisor.copy_disk(worker.id, &copy)).await?;
    } else {
        disk::flatten(&worker.dir.disk(), &copy).await?;
    }
    let sent = worker.shared.controller.store_image(host, worker.id, image, &copy);
    effect("agent.image.send", sent).await
}

fn as_cycled(worker: &mut Worker, target: &Target) -> Record {
    worker.shutdown_asked = None;
    Record { cycled_n: target.spec.power.n, ..record(worker) }
}

async fn shutdown(worker: &mut Worker) -> Result<(), Error> {
    let asked = effect("agent.domain.shutdown", worker.shared.hypervisor.shutdown(worker.id)).await;
    // Also when asking failed: the deadline must run, or a guest that cannot be asked would never stop.
    worker.shutdown_asked.get_or_insert_with(Instant::now);
    asked
}

async fn give_back(worker: &mut Worker) -> Result<(), Error> {
    effect("agent.domain.undefine", worker.shared.hypervisor.undefine(worker.id)).await?;
    worker.dir.clear().await?;
    let record = Record { definition: None, ..record(worker) };
    worker.save(record).await
}

/// The domain first: its files are in use until then. The record goes last, inside.
async fn remove(worker: &mut Worker) -> Result<(), Error> {
    effect("agent.domain.destroy", worker.shared.hypervisor.destroy(worker.id)).await?;
    effect("agent.domain.undefine", worker.shared.hypervisor.undefine(worker.id)).await?;
    worker.dir.remove().await?;
    worker.record = None;
    worker.shutdown_asked = None;
    Ok(())
}

fn record(worker: &Worker) -> Record {
    worker.record.clone().unwrap_or_else(|| Record::new(worker.id, &worker.shared.boot_id))
}
