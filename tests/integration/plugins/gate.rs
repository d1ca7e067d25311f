//! What scoring may cost, counted in instructions rather than time, so that the answer is the same on a busy machine;
//! and that the count would notice the two ways in which it usually gets slow.

use super::{SCHEDULERS, built, varied};
use crate::corpus;
use canopy_placement::spread::Spread;
use canopy_placement::{Columns, Fleet, Request, Scorer};
use canopy_plugin_host::PluginHost;
use serde_json::Value;
use std::path::Path;
use wit_parser::{Resolve, Type, TypeDefKind};

/// For 256 rows. The shipped schedulers take 9,000 to 12,000; built without SIMD they take 23,000 to 48,000.
const MOST: u64 = 17_000;

fn columns() -> Columns {
    let amounts = [("VCPU", 2), ("MEMORY_MB", 4096), ("DISK_GB", 10)];
    let amounts = amounts.map(|(class, amount)| (class.to_owned(), amount)).into();
    canopy_placement::decide::columns(
        &Fleet { signals: Vec::new(), ..varied(256) },
        &Request { amounts, ..Request::default() },
        (0..256).collect(),
    )
}

/// The scores and the instructions that they took.
fn count(folder: &Path) -> (Vec<f32>, u64) {
    let mut scorer = PluginHost::counting().unwrap().load_scorer(folder, Value::Null).unwrap();
    let columns = columns();
    // The second call: the first one also grows the guest's memory.
    scorer.score(&columns).unwrap();
    let scores = scorer.score(&columns).unwrap();
    (scores, scorer.instructions().unwrap())
}

#[test]
fn each_scheduler_scores_256_rows_in_a_bounded_number_of_instructions() {
    for name in SCHEDULERS {
        let (_, taken) = count(&built(name));
        assert!((1..=MOST).contains(&taken), "{name}: {taken} instructions for 256 rows");
    }
}

/// The least share of a class that is free: as `scheduler-spread` does it, class by class in two passes over the rows,
/// with a number an instruction. This is what its source becomes without SIMD.
const WITHOUT_SIMD: &str = "
  (local.set $shares (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $rows) (i32.const 4))))
  (local.set $bytes (i32.mul (local.get $rows) (i32.const 4)))
  (local.set $end (i32.add (local.get $list) (local.get $bytes)))
  (local.set $l (local.get $list))
  (loop $one
    (f32.store (local.get $l) (f32.const 1))
    (br_if $one (i32.lt_u (local.tee $l (i32.add (local.get $l) (i32.const 4))) (local.get $end))))
  (local.set $c (local.get $capacity))
  (local.set $f (local.get $free))
  (loop $class
    (local.set $want (f32.load (local.get $wants)))
    (local.set $s (local.get $shares))
    (local.set $end (i32.add (local.get $s) (local.get $bytes)))
    (loop $share
      (f32.store (local.get $s)
        (select
          (f32.div (f32.sub (f32.load (local.get $f)) (local.get $want)) (f32.load (local.get $c)))
          (f32.const nan)
          (f32.gt (f32.load (local.get $c)) (f32.const 0))))
      (local.set $c (i32.add (local.get $c) (i32.const 4)))
      (local.set $f (i32.add (local.get $f) (i32.const 4)))
      (br_if $share (i32.lt_u (local.tee $s (i32.add (local.get $s) (i32.const 4))) (local.get $end))))
    (local.set $s (local.get $shares))
    (local.set $l (local.get $list))
    (loop $least
      (local.set $x (f32.load (local.get $s)))
      (f32.store (local.get $l)
        (select (local.get $x) (f32.load (local.get $l)) (f32.lt (local.get $x) (f32.load (local.get $l)))))
      (local.set $l (i32.add (local.get $l) (i32.const 4)))
      (br_if $least (i32.lt_u (local.tee $s (i32.add (local.get $s) (i32.const 4))) (local.get $end))))
    (local.set $wants (i32.add (local.get $wants) (i32.const 4)))
    (br_if $class (local.tee $wants_len (i32.sub (local.get $wants_len) (i32.const 1)))))";

/// The same from a list of hosts, each a record with a list of what it has and one of what is free: the columns are
/// turned into that first, as bindings would.
const RECORDS: &str = "
  (local.set $bytes (i32.mul (local.get $rows) (i32.const 4)))
  (loop $row
    (local.set $c (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $wants_len) (i32.const 4))))
    (local.set $f (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $wants_len) (i32.const 4))))
    (local.set $shares (i32.const 0))
    (loop $copy
      (local.set $s (i32.add (i32.mul (local.get $shares) (local.get $bytes)) (i32.mul (local.get $l) (i32.const 4))))
      (f32.store (i32.add (local.get $c) (i32.mul (local.get $shares) (i32.const 4)))
        (f32.load (i32.add (local.get $capacity) (local.get $s))))
      (f32.store (i32.add (local.get $f) (i32.mul (local.get $shares) (i32.const 4)))
        (f32.load (i32.add (local.get $free) (local.get $s))))
      (br_if $copy (i32.lt_u (local.tee $shares (i32.add (local.get $shares) (i32.const 1))) (local.get $wants_len))))
    (local.set $x (f32.const 1))
    (local.set $shares (i32.const 0))
    (loop $least
      (local.set $s (i32.mul (local.get $shares) (i32.const 4)))
      (local.set $want (f32.div
        (f32.sub (f32.load (i32.add (local.get $f) (local.get $s))) (f32.load (i32.add (local.get $wants) (local.get $s))))
        (f32.load (i32.add (local.get $c) (local.get $s)))))
      (local.set $x (select (local.get $want) (local.get $x) (f32.lt (local.get $want) (local.get $x))))
      (br_if $least (i32.lt_u (local.tee $shares (i32.add (local.get $shares) (i32.const 1))) (local.get $wants_len))))
    (f32.store (i32.add (local.get $list) (i32.mul (local.get $l) (i32.const 4))) (local.get $x))
    (br_if $row (i32.lt_u (local.tee $l (i32.add (local.get $l) (i32.const 1))) (local.get $rows))))";

#[test]
fn a_guest_without_simd_or_one_that_goes_by_records_is_over_the_bound() {
    let locals =
        "(local $shares i32) (local $bytes i32) (local $end i32) (local $c i32) (local $f i32) (local $s i32)
        (local $l i32) (local $want f32) (local $x f32)";
    // What it is to say; so neither does more than it must.
    let expected = Spread.rank(&columns());
    let (shipped, least) = count(&built("scheduler-spread"));
    assert_eq!(shipped, expected);
    for (what, body) in [("without SIMD", WITHOUT_SIMD), ("records", RECORDS)] {
        let folder = tempfile::tempdir().unwrap();
        corpus::install(folder.path(), "scheduler", &corpus::scorer_by(locals, body), "");
        let (scores, taken) = count(folder.path());
        assert_eq!(scores, expected, "{what}");
        assert!(taken > MOST && taken > 2 * least, "{what}: {taken} instructions, {least} as shipped");
    }
}

/// Lists of records cost per field of each, on both sides of the boundary, and the side of the core is not counted
/// above.
#[test]
fn what_a_scorer_is_asked_for_every_decision_is_lists_of_numbers() {
    let mut resolve = Resolve::default();
    let text = include_str!("../../../sdk/wit/scheduler/v1/scheduler.wit");
    let package = resolve.push_str("scheduler.wit", text).unwrap();
    let interface = resolve.packages[package].interfaces["scoring"];
    let lists = |function: &str| -> Vec<bool> {
        let function = &resolve.interfaces[interface].functions[function];
        let types = function.params.iter().map(|param| param.ty).chain(function.result);
        types.flat_map(|ty| elements(&resolve, ty)).collect()
    };
    assert!(lists("score").len() >= 7 && lists("score").into_iter().all(|number| number));
    assert!(!lists("explain").into_iter().all(|number| number), "reasons are records: the check sees them");
}

/// For each list in a type, whether it is one of numbers.
fn elements(resolve: &Resolve, ty: Type) -> Vec<bool> {
    let Type::Id(id) = ty else { return Vec::new() };
    match &resolve.types[id].kind {
        TypeDefKind::List(of) => vec![matches!(of, Type::U8 | Type::U32 | Type::F32 | Type::F64)],
        TypeDefKind::Record(record) => {
            record.fields.iter().flat_map(|field| elements(resolve, field.ty)).collect()
        }
        TypeDefKind::Type(of) => elements(resolve, *of),
        _ => vec![false],
    }
}
