//! `GET /allocation_candidates`. Answers may name thousands of providers, so they are written as they are walked,
//! without a tree of values in between. What is the same in many places is written once and copied: what is taken of
//! a provider as long as the next gives the same, a provider's summary for as long as its row does not change.

use super::query;
use super::reply::{accepts_json, dated, shape};
use super::shape::Shape;
use crate::request::{Reply, ReplyBody, Req};
use canopy_app::placement::candidates;
use canopy_app::placement::supply::Snapshot;
use canopy_candidates::{Candidate, Found, Request, World};
use canopy_types::{Error, ProviderId, Result};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::collections::BTreeSet;

/// Bytes of one candidate in most answers, and of one summary.
const USUAL: usize = 256;

pub async fn list(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let shape = shape(&req);
    let request = query::candidates(&req, shape)?;
    let render = move |request: &Request, snapshot: &Snapshot, found: &Found| {
        Body { shape, request, snapshot, found }.render()
    };
    let written = candidates::list(&req.app, req.ctx()?, request, render).await?;
    let bytes = written.map_err(|e| Error::internal("placement.render", e))?;
    let reply = Reply { body: ReplyBody::Json(bytes.into()), ..Reply::empty(200) };
    Ok(dated(&req, reply, None))
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
        // Callers that know trees see all of them; the others only whom they may take from.
        let shown: Vec<u32> = if self.shape.nested {
            self.found.trees(world).into_iter().flat_map(|root| world.tree(root)).collect()
        } else {
            self.found.providers()
        };
        let mut out = Vec::with_capacity((self.found.len() + shown.len() + 1) * USUAL);
        out.extend_from_slice(br#"{"allocation_requests":["#);
        let mut requests = Requests::new(self.shape, self.request, world)?;
        separated(&mut out, self.found.candidates(), |out, one| requests.write(out, one))?;
        out.extend_from_slice(br#"],"provider_summaries":{"#);
        let asked: BTreeSet<u32> = self
            .request
            .groups
            .iter()
            .flat_map(|group| &group.resources)
            .filter_map(|(name, _)| world.class_names.get(name))
            .collect();
        separated(&mut out, shown, |out, provider| self.summary(out, provider, &asked))?;
        out.extend_from_slice(b"}}");
        Ok(out)
    }

    fn summary(&self, out: &mut Vec<u8>, at: u32, asked: &BTreeSet<u32>) -> serde_json::Result<()> {
        let (shape, world) = (self.shape, &self.snapshot.world);
        let summary = Summary { shape, world, at, asked: (!shape.all_classes).then_some(asked) };
        quoted(out, world.id(at));
        out.push(b':');
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

/// Writes each, with commas between them.
fn separated<T>(
    out: &mut Vec<u8>,
    all: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    for (at, one) in all.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, one)?;
    }
    Ok(())
}

/// An id as a JSON string.
fn quoted(out: &mut Vec<u8>, id: ProviderId) {
    let mut text = [b'"'; 38];
    id.0.as_hyphenated().encode_lower(&mut text[1..37]);
    out.extend_from_slice(&text);
}

/// Writes candidates, one after the other.
struct Requests<'a> {
    shape: Shape,
    world: &'a World,
    /// The groups' suffixes, as keys of mappings.
    suffixes: Vec<String>,
    /// What a provider gave last, and how that was written.
    last: (Vec<(u32, i64)>, Vec<u8>),
    /// Room for what one candidate takes, and for who serves one group.
    rows: Vec<(u32, u32, i64)>,
    serving: Vec<u32>,
}

impl<'a> Requests<'a> {
    fn new(shape: Shape, request: &Request, world: &'a World) -> serde_json::Result<Self> {
        let suffixes = request.groups.iter().map(|group| serde_json::to_string(&group.suffix));
        let suffixes = suffixes.collect::<serde_json::Result<_>>()?;
        let last = (Vec::new(), b"{}".to_vec());
        Ok(Self { shape, world, suffixes, last, rows: Vec::new(), serving: Vec::new() })
    }

    fn write(&mut self, out: &mut Vec<u8>, candidate: Candidate<'_>) -> serde_json::Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        candidate.allocations(&mut rows);
        let (keyed, by_provider) = (self.shape.keyed_allocations, rows.chunk_by(|a, b| a.0 == b.0));
        out.extend_from_slice(if keyed { br#"{"allocations":{"# } else { br#"{"allocations":["# });
        separated(out, by_provider, |out, rows| {
            out.extend_from_slice(if keyed { b"" } else { br#"{"resource_provider":{"uuid":"# });
            quoted(out, self.world.id(rows[0].0));
            out.extend_from_slice(if keyed { br#":{"resources":"# } else { br#"},"resources":"# });
            self.amounts(out, rows)?;
            out.push(b'}');
            Ok(())
        })?;
        self.rows = rows;
        out.push(if keyed { b'}' } else { b']' });
        if self.shape.mappings {
            self.mappings(out, candidate)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// What one provider gives.
    fn amounts(&mut self, out: &mut Vec<u8>, rows: &[(u32, u32, i64)]) -> serde_json::Result<()> {
        let given = rows.iter().map(|(_, class, amount)| (*class, *amount));
        let (last, text) = &mut self.last;
        if !given.clone().eq(last.iter().copied()) {
            last.clear();
            last.extend(given);
            text.clear();
            let named = last.iter().map(|(class, amount)| (self.world.class_names.name(*class), amount));
            serde_json::Serializer::new(&mut *text).collect_map(named)?;
        }
        out.extend_from_slice(text);
        Ok(())
    }

    fn mappings(&mut self, out: &mut Vec<u8>, candidate: Candidate<'_>) -> serde_json::Result<()> {
        out.extend_from_slice(br#","mappings":{"#);
        separated(out, self.suffixes.iter().enumerate(), |out, (group, suffix)| {
            out.extend_from_slice(suffix.as_bytes());
            out.extend_from_slice(b":[");
            candidate.mapping(group, &mut self.serving);
            separated(out, &self.serving, |out, provider| {
                quoted(out, self.world.id(*provider));
                Ok(())
            })?;
            out.push(b']');
            Ok(())
        })?;
        out.push(b'}');
        Ok(())
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
            let names = world.traits(*at).iter().map(|t| world.trait_names.name(*t));
            map.serialize_entry("traits", &names.collect::<Vec<_>>())?;
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
        let rows = self.world.stock(self.at);
        let rows = rows.filter(|(class, _)| self.asked.is_none_or(|asked| asked.contains(class)));
        serializer.collect_map(rows.map(|(class, inventory)| {
            let stock = Stock { capacity: inventory.capacity, used: inventory.used };
            (self.world.class_names.name(class), stock)
        }))
    }
}
