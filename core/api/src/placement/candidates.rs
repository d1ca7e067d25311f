//! `GET /allocation_candidates`. Answers may name thousands of providers, so they are written as they are
//! walked, without a tree of values in between, and a provider's summary is kept as it was written.

use super::query;
use super::reply::{accepts_json, dated, shape};
use super::shape::Shape;
use crate::request::{Reply, ReplyBody, Req};
use canopy_app::placement::candidates;
use canopy_app::placement::supply::Snapshot;
use canopy_candidates::{Candidate, Found, Request, World};
use canopy_types::{Error, Result};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::collections::BTreeSet;

pub async fn list(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let shape = shape(&req);
    let request = query::candidates(&req, shape)?;
    let answered = candidates::list(&req.app, req.ctx()?, request.clone()).await?;
    tokio::task::spawn_blocking(move || {
        let body = Body { shape, request: &request, snapshot: &answered.snapshot, found: &answered.found };
        let bytes = body.render().map_err(|e| Error::internal("placement.render", e))?;
        let reply = Reply { body: ReplyBody::Json(bytes.into()), ..Reply::empty(200) };
        Ok(dated(&req, reply, None))
    })
    .await
    .map_err(|e| Error::internal("placement.render", e))?
}

struct Body<'a> {
    shape: Shape,
    request: &'a Request,
    snapshot: &'a Snapshot,
    found: &'a Found,
}

impl Body<'_> {
    fn render(&self) -> serde_json::Result<Vec<u8>> {
        let world = &self.snapshot.world;
        let requests = Each(|| {
            self.found.candidates.iter().map(|candidate| Allocations {
                shape: self.shape,
                request: self.request,
                world,
                candidate,
            })
        });
        let mut out = br#"{"allocation_requests":"#.to_vec();
        serde_json::to_writer(&mut out, &requests)?;
        out.extend_from_slice(br#","provider_summaries":{"#);
        // Callers that know trees see all of them; the others only whom they may take from.
        let trees = |root| world.tree(root);
        let shown: Vec<u32> = if self.shape.nested {
            self.found.trees(world).into_iter().flat_map(trees).collect()
        } else {
            self.found.providers().into_iter().collect()
        };
        let asked: BTreeSet<u32> = self
            .request
            .groups
            .iter()
            .flat_map(|group| &group.resources)
            .filter_map(|(name, _)| world.class_names.get(name))
            .collect();
        for (at, provider) in shown.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, &world.id(provider))?;
            out.push(b':');
            self.summary(&mut out, provider, &asked)?;
        }
        out.extend_from_slice(b"}}");
        Ok(out)
    }

    fn summary(&self, out: &mut Vec<u8>, at: u32, asked: &BTreeSet<u32>) -> serde_json::Result<()> {
        let (shape, world) = (self.shape, &self.snapshot.world);
        let summary = Summary { shape, world, at, asked: (!shape.all_classes).then_some(asked) };
        // From the version that knows trees on, a summary says the same whatever was asked.
        let held = self.snapshot.rows.get(at as usize).filter(|_| shape.nested);
        let Some(held) = held else { return serde_json::to_writer(out, &summary) };
        if let Some(kept) = held.shown.get() {
            out.extend_from_slice(kept.as_bytes());
            return Ok(());
        }
        let text = serde_json::to_string(&summary)?;
        out.extend_from_slice(text.as_bytes());
        // Another request may have kept the same meanwhile.
        let _ = held.shown.set(text);
        Ok(())
    }
}

/// A list made while it is written.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

struct Allocations<'a> {
    shape: Shape,
    request: &'a Request,
    world: &'a World,
    candidate: &'a Candidate,
}

impl Serialize for Allocations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let by_provider: Vec<&[(u32, u32, i64)]> =
            self.candidate.allocations.chunk_by(|a, b| a.0 == b.0).collect();
        let mut map = serializer.serialize_map(None)?;
        if self.shape.keyed_allocations {
            map.serialize_entry("allocations", &Keyed(self.world, &by_provider))?;
        } else {
            let list = Each(|| by_provider.iter().map(|rows| Listed(self.world, rows)));
            map.serialize_entry("allocations", &list)?;
        }
        if self.shape.mappings {
            map.serialize_entry("mappings", &Mappings(self))?;
        }
        map.end()
    }
}

/// Allocations by provider's id.
struct Keyed<'a>(&'a World, &'a [&'a [(u32, u32, i64)]]);

impl Serialize for Keyed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.1.iter().filter_map(|rows| {
            let first = rows.first()?;
            Some((self.0.id(first.0), OneKey("resources", Amounts(self.0, rows))))
        }))
    }
}

/// Before 1.12: an entry of a list.
struct Listed<'a>(&'a World, &'a [(u32, u32, i64)]);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        let id = self.1.first().map(|row| self.0.id(row.0));
        map.serialize_entry("resource_provider", &OneKey("uuid", id))?;
        map.serialize_entry("resources", &Amounts(self.0, self.1))?;
        map.end()
    }
}

struct OneKey<T>(&'static str, T);

impl<T: Serialize> Serialize for OneKey<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

struct Amounts<'a>(&'a World, &'a [(u32, u32, i64)]);

impl Serialize for Amounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(self.1.iter().map(|(_, class, amount)| (self.0.class_names.name(*class), amount)))
    }
}

struct Mappings<'a>(&'a Allocations<'a>);

impl Serialize for Mappings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Allocations { request, world, candidate, .. } = self.0;
        serializer.collect_map(request.groups.iter().zip(&candidate.mappings).map(|(group, providers)| {
            (group.suffix.as_str(), Each(move || providers.iter().map(|provider| world.id(*provider))))
        }))
    }
}

struct Summary<'a> {
    shape: Shape,
    world: &'a World,
    at: u32,
    /// Only these classes.
    asked: Option<&'a BTreeSet<u32>>,
}

#[derive(Serialize)]
struct Stock {
    capacity: i64,
    used: i64,
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { shape, world, at, asked } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("resources", &Resources { world, at: *at, asked: *asked })?;
        if shape.summary_traits {
            let traits = Each(|| world.traits(*at).iter().map(|t| world.trait_names.name(*t)));
            map.serialize_entry("traits", &traits)?;
        }
        if shape.nested {
            map.serialize_entry("parent_provider_uuid", &world.parent(*at).map(|parent| world.id(parent)))?;
            map.serialize_entry("root_provider_uuid", &world.id(world.root(*at)))?;
        }
        map.end()
    }
}

struct Resources<'a> {
    world: &'a World,
    at: u32,
    asked: Option<&'a BTreeSet<u32>>,
}

impl Serialize for Resources<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.world.stock(self.at).iter();
        serializer.collect_map(
            rows.filter(|(class, _)| self.asked.is_none_or(|asked| asked.contains(class))).map(
                |(class, inventory)| {
                    let stock = Stock { capacity: inventory.capacity, used: inventory.used };
                    (self.world.class_names.name(*class), stock)
                },
            ),
        )
    }
}
