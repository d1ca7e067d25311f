//! Written and read back: what a scene holds, what a restart, a torn line and the bound on size do to it.

mod placer;

use crate::{Bound, Limits, Reader, Report, Round, Subject, Writer, decide, replay, takes};
use canopy_placement::spread::Spread;
use canopy_placement::{Change, Engine, Fleet, Host, PluginUse, Request, ResourceColumn, Scorer};
use canopy_types::{DecisionId, HostId, Kind, Result, ServerId, Timestamp};
use std::path::Path;
use std::sync::Arc;

fn fleet() -> Fleet {
    let host = |i: usize| Host::new(HostId::random(), format!("h{i}"), "nova");
    Fleet {
        hosts: (0..3).map(host).collect(),
        resources: vec![ResourceColumn::new("VCPU", vec![8; 3], vec![0; 3])],
        ..Fleet::default()
    }
}

/// Decides as a controller does: a round a request, and every fourth server ends again.
struct Desk {
    engine: Engine,
    writer: Writer,
    placed: Vec<(ServerId, HostId, Request)>,
    clock: i64,
}

impl Desk {
    fn open(dir: &Path, limits: Limits, fleet: Fleet) -> Self {
        let writer = Writer::open(dir, limits).unwrap();
        Self { engine: Engine::new(fleet), writer, placed: Vec::new(), clock: 0 }
    }

    fn ask(&mut self, vcpus: i64) -> (i64, DecisionId) {
        self.clock += 1_000_000;
        let mut round = Round { at: Timestamp(self.clock), ..Round::default() };
        if self.placed.len() == 4 {
            let (server, host, request) = self.placed.remove(0);
            round.changes.push(takes(host, &request, -1));
            round.changes.push(Change::Revision { revision: self.clock });
            round.gone.push(server);
        }
        round.changes.iter().for_each(|change| self.engine.apply(change));
        if self.writer.behind() {
            self.writer.begin(self.engine.fleet().clone(), 0, round.at);
            self.writer.plugin(Spread.identity(), None);
            round.changes.clear();
        }
        let request = Request { amounts: [("VCPU".to_owned(), vcpus)].into(), ..Request::default() };
        let batch = [(DecisionId::random(), ServerId::random(), Arc::new(request.clone()))];
        let each = |engine: &mut Engine, _| engine.decide(batch[0].0, &request, &mut Spread);
        let decided = decide(&mut self.engine, &batch, true, each);
        decided.takes.iter().for_each(|change| self.engine.apply(change));
        if let Some(host) = decided.decisions[0].winner {
            self.placed.push((batch[0].1, host, request.clone()));
        }
        round.asked.push(decided.asked);
        let number = self.writer.next();
        self.writer.round(round);
        (number, batch[0].0)
    }
}

fn again(dir: &Path, from: Option<Bound>, to: Option<Bound>) -> Report {
    let mut load = |_: &PluginUse, _: Option<&Path>| -> Result<Box<dyn Scorer>> { Ok(Box::new(Spread)) };
    replay(&Reader::new(dir), from, to, &mut Subject::Recorded(&mut load)).unwrap()
}

#[test]
fn what_was_written_is_read_back_and_comes_out_again_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(dir.path(), Limits::default(), fleet());
    let first: Vec<_> = (0..20).map(|n| desk.ask(1 + n % 5)).collect();
    desk.writer.flusher().flush();
    let (number, id) = first[7];
    let scene = Reader::new(dir.path()).scene(number).unwrap();
    assert_eq!(scene.asked.decisions[0].id, id);
    assert_eq!(scene.plugin, Spread.identity());
    let report = again(dir.path(), None, None);
    assert_eq!((report.decisions, report.equal, report.gaps), (20, 20, 0), "{report:?}");

    let id = desk.writer.id().to_owned();
    let mut moved = desk.engine.fleet().clone();
    moved.hosts[0].closed = Some("while it was away".into());
    drop(desk);
    let mut desk = Desk::open(dir.path(), Limits::default(), moved);
    assert_eq!((desk.writer.id(), desk.writer.next()), (id.as_str(), 21), "the same journal goes on");
    desk.clock = 100_000_000;
    for _ in 0..5 {
        desk.ask(1);
    }
    desk.writer.flusher().flush();
    let report = again(dir.path(), None, None);
    assert_eq!((report.decisions, report.equal, report.gaps), (25, 25, 1), "{report:?}");
    let part = again(dir.path(), Some(Bound::Number(5)), Some(Bound::Number(9)));
    assert_eq!((part.decisions, part.equal), (4, 4), "{part:?}");
    let late = again(dir.path(), Some(Bound::Time(Timestamp(90_000_000))), None);
    assert_eq!((late.decisions, late.equal), (5, 5), "{late:?}");
}

#[test]
fn a_torn_line_ends_its_segment_and_a_candidate_is_told_from_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(dir.path(), Limits::default(), fleet());
    for _ in 0..10 {
        desk.ask(2);
    }
    desk.writer.flusher().flush();
    struct Last;
    impl Scorer for Last {
        fn identity(&self) -> PluginUse {
            PluginUse { name: "last".into(), ..PluginUse::default() }
        }
        fn score(&mut self, columns: &canopy_placement::Columns) -> std::result::Result<Vec<f32>, String> {
            Ok(columns.hosts.iter().map(|host| *host as f32).collect())
        }
        fn explain(
            &mut self,
            _: &canopy_placement::Columns,
        ) -> std::result::Result<Vec<Vec<canopy_placement::Reason>>, String> {
            Ok(Vec::new())
        }
    }
    let mut candidate = Subject::Candidate(Box::new(Last));
    let report = replay(&Reader::new(dir.path()), None, None, &mut candidate).unwrap();
    assert_eq!((report.decisions, report.refused, report.fitted), (10, 0, 0), "{report:?}");
    assert!(report.moved > 0 && report.equal + report.moved == 10, "{report:?}");
    assert_eq!(report.fragmentation.request["VCPU"], 2);

    let segment = crate::reader::segments(dir.path()).unwrap().pop().unwrap().path;
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 3).unwrap();
    let report = again(dir.path(), None, None);
    assert_eq!((report.decisions, report.equal), (9, 9), "{report:?}");
    assert_eq!(Reader::new(dir.path()).scene(10).err().unwrap().kind, Kind::Gone);
}

#[test]
fn the_oldest_segments_go_beyond_the_limit_and_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(dir.path(), Limits { bytes: 20_000, segment: 4_000 }, fleet());
    let flusher = desk.writer.flusher();
    for n in 0..200 {
        desk.ask(1 + n % 3);
        // Slower than the disk, or the queue would drop some.
        if n % 50 == 0 {
            flusher.flush();
        }
    }
    flusher.flush();
    let segments = crate::reader::segments(dir.path()).unwrap();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    assert!(bytes <= 20_000 + 5_000, "{bytes} bytes");
    let reader = Reader::new(dir.path());
    assert_eq!(reader.scene(1).err().unwrap().kind, Kind::Gone);
    assert!(reader.scene(200).is_ok());
    assert_eq!(reader.scene(201).err().unwrap().kind, Kind::Gone);
    let report = again(dir.path(), None, None);
    assert!(report.is_equal() && report.decisions > 10 && report.gaps == 0, "{report:?}");
}
