//! The invariants: each with what it checks and how it is put right.

use super::{Finding, Invariant, Problem};
use crate::{App, image, network};
use canopy_store::fsck as rows;
use canopy_store::fsck::Off;
use canopy_store::quota::truth;
use canopy_store::{BoxFuture as StoreFuture, Conn, hosts};
use canopy_types::{Error, ProjectId, Result, ServerId};
use futures::FutureExt;
use std::str::FromStr;
use std::sync::Arc;

pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "usage",
        about: "A project's usage of a quota is what it has of it.",
        check: |app| numbers(app, "usage", |c| Box::pin(rows::usages(c))).boxed(),
        repair: |app, finding| usage(app, finding).boxed(),
    },
    Invariant {
        name: "inventory",
        about: "What is used of an inventory is the sum of the allocations on it.",
        check: |app| numbers(app, "inventory", |c| Box::pin(rows::inventories(c))).boxed(),
        repair: |app, finding| inventory(app, finding).boxed(),
    },
    Invariant {
        name: "group",
        about: "A server group's numbers, in all and by host, are those of its members.",
        check: |app| groups(app).boxed(),
        repair: |app, finding| group(app, finding).boxed(),
    },
    Invariant {
        name: "allocation",
        about: "Servers on a host hold resources of it, and servers that are gone hold none.",
        check: |app| allocations(app).boxed(),
        repair: |app, finding| allocation(app, finding).boxed(),
    },
    Invariant {
        name: "address",
        about: "Ports and addresses that were made with a server go with it; an address is of its port's network.",
        check: |app| addresses(app).boxed(),
        repair: |app, finding| address(app, finding).boxed(),
    },
    Invariant {
        name: "image",
        about: "The bytes of an image are there, all of them, and no others.",
        check: |app| images(app).boxed(),
        repair: |app, finding| blob(app, finding).boxed(),
    },
];

/// Images that are looked at with one query.
const PAGE: i64 = 1_000;

fn extra(invariant: &'static str, subject: String, detail: &str) -> Finding {
    let part = String::new();
    Finding { invariant, problem: Problem::Extra, subject, part, detail: detail.into(), repairable: true }
}

fn report(invariant: &'static str, problem: Problem, subject: String, detail: String) -> Finding {
    Finding { invariant, problem, subject, part: String::new(), detail, repairable: false }
}

fn number(invariant: &'static str, off: Off) -> Finding {
    let problem = match (off.kept, off.counted) {
        (0, _) => Problem::Missing,
        (_, 0) => Problem::Extra,
        _ => Problem::Changed,
    };
    let detail = format!("{} is written down, {} are there", off.kept, off.counted);
    Finding { invariant, problem, subject: off.whose, part: off.which, detail, repairable: true }
}

async fn numbers(
    app: &Arc<App>,
    name: &'static str,
    check: impl for<'c> FnOnce(&'c mut Conn) -> StoreFuture<'c, Vec<Off>>,
) -> Result<Vec<Finding>> {
    Ok(app.store.read(check).await?.into_iter().map(|off| number(name, off)).collect())
}

fn subject<T: FromStr>(finding: &Finding) -> Result<T> {
    let bad = |_| Error::internal("fsck.subject", format!("{:?} is no id", finding.subject));
    finding.subject.parse().map_err(bad)
}

async fn usage(app: &Arc<App>, finding: &Finding) -> Result<()> {
    let project = ProjectId(finding.subject.clone());
    app.store
        .write("fsck.usage", move |c| {
            let project = project.clone();
            Box::pin(async move { truth::recount(c, &project).await })
        })
        .await
}

async fn inventory(app: &Arc<App>, finding: &Finding) -> Result<()> {
    let (provider, class, now) = (subject(finding)?, finding.part.clone(), app.now());
    app.store
        .write("fsck.inventory", move |c| {
            let class = class.clone();
            Box::pin(async move { rows::repair_inventory(c, provider, &class, now).await })
        })
        .await
}

async fn groups(app: &Arc<App>) -> Result<Vec<Finding>> {
    let mut found = numbers(app, "group", |c| Box::pin(rows::group_members(c))).await?;
    found.extend(numbers(app, "group", |c| Box::pin(rows::group_hosts(c))).await?);
    Ok(found)
}

async fn group(app: &Arc<App>, finding: &Finding) -> Result<()> {
    let group = subject(finding)?;
    app.store.write("fsck.group", move |c| Box::pin(async move { rows::repair_group(c, group).await })).await
}

async fn allocations(app: &Arc<App>) -> Result<Vec<Finding>> {
    let (held, bare) = app
        .store
        .read(|c| {
            Box::pin(async move { Ok((rows::allocated_to_nobody(c).await?, rows::unallocated(c).await?)) })
        })
        .await?;
    let held = held.into_iter().map(|id| extra("allocation", id, "the server is gone and holds resources"));
    // Whether there still is room for it, and where it really is, is for a person to find out.
    let detail = "the server is on a host and holds nothing of it: its resources may be given away";
    let bare = bare.into_iter().map(|id| report("allocation", Problem::Missing, id, detail.into()));
    Ok(held.chain(bare).collect())
}

async fn allocation(app: &Arc<App>, finding: &Finding) -> Result<()> {
    let (server, now): (ServerId, _) = (subject(finding)?, app.now());
    app.store
        .write("fsck.allocation", move |c| {
            Box::pin(async move {
                if rows::gone(c, server).await? { hosts::release(c, &[server], now).await } else { Ok(()) }
            })
        })
        .await
}

async fn addresses(app: &Arc<App>) -> Result<Vec<Finding>> {
    let (left, strayed) = app
        .store
        .read(|c| {
            Box::pin(async move { Ok((rows::ports_of_nobody(c).await?, rows::strayed_addresses(c).await?)) })
        })
        .await?;
    let left = left.into_iter().map(|id| match id.parse::<ServerId>() {
        Ok(_) => extra("address", id, "the server is gone and its ports hold addresses"),
        Err(_) => report("address", Problem::Extra, id, "ports were made with what is no server".into()),
    });
    let detail = "the port has an address of another network's subnet";
    let strayed = strayed.into_iter().map(|id| report("address", Problem::Changed, id, detail.into()));
    Ok(left.chain(strayed).collect())
}

async fn address(app: &Arc<App>, finding: &Finding) -> Result<()> {
    let (server, now): (ServerId, _) = (subject(finding)?, app.now());
    app.store
        .write("fsck.address", move |c| {
            Box::pin(async move {
                if rows::gone(c, server).await? {
                    network::release_server_ports(c, &[server], now).await
                } else {
                    Ok(())
                }
            })
        })
        .await
}

async fn images(app: &Arc<App>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let from = after.clone();
        let page =
            app.store.read(move |c| Box::pin(async move { rows::contents(c, &from, PAGE).await })).await?;
        let Some((last, _, _)) = page.last() else { break };
        after.clone_from(last);
        let blobs = app.blobs.clone();
        let sizes = blocking(move || {
            let sizes = page.into_iter().map(|(id, digest, size)| {
                let there = blobs.find(&digest).map(|blob| blob.size);
                (id, digest, size, there)
            });
            Ok(sizes.collect::<Vec<_>>())
        })
        .await?;
        for (id, digest, size, there) in sizes {
            let wanted = u64::try_from(size).unwrap_or(0);
            match there {
                Some(bytes) if bytes == wanted => {}
                Some(bytes) => found.push(report(
                    "image",
                    Problem::Changed,
                    id,
                    format!("blob {digest} has {bytes} bytes of {wanted}: restore it from a backup"),
                )),
                // Deleted since it was read, or lost.
                None if image_is_gone(app, &id).await? => {}
                None => found.push(report(
                    "image",
                    Problem::Missing,
                    id,
                    format!("blob {digest} is not there: restore it from a backup"),
                )),
            }
        }
    }
    let unused = image::unused(app, image::GRACE_SECONDS).await?;
    let detail = "no image and no server needs the blob";
    found.extend(unused.into_iter().map(|blob| extra("image", blob.digest, detail)));
    Ok(found)
}

async fn image_is_gone(app: &Arc<App>, id: &str) -> Result<bool> {
    let id = id.parse().map_err(|_| Error::internal("fsck.subject", format!("{id:?} is no id")))?;
    let image =
        app.store.read(move |c| Box::pin(async move { canopy_store::images::get(c, id).await })).await?;
    Ok(image.is_none_or(|image| image.content.is_none()))
}

async fn blob(app: &Arc<App>, finding: &Finding) -> Result<()> {
    image::collect_one(app, finding.subject.clone()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("fsck.blocking", e))?
}

/// So that a name stands for one invariant.
#[cfg(test)]
#[test]
fn names_are_unique() {
    let names: std::collections::BTreeSet<&str> = INVARIANTS.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), INVARIANTS.len());
}
