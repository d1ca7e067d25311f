//! Hostile guests are core modules in text, wrapped as any guest is: what a language's tool chain would
//! never write is written by hand here.

use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const SCHEDULER: &str = include_str!("../../../../sdk/wit/scheduler/v1/scheduler.wit");
const QUOTA: &str = include_str!("../../../../sdk/wit/quota/v1/quota.wit");
const NETWORK: &str = include_str!("../../../../sdk/wit/network/v1/network.wit");

/// Memory, a table and an allocator that never frees. Address 16 is for results, 1024 for constants.
const FRAME: &str = r#"
  (memory (export "memory") 2)
  (table $table 1 funcref)
  (global $heap (mut i32) (i32.const 65536))
  (global $armed (mut i32) (i32.const 0))
  (func $spin (return_call $spin))
  (func $alloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.ne (i32.const -1)
        (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $new) (i32.const 16))))))
      unreachable)
    (local.get $at))
  (func $deep (param $n i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get $n))))
"#;

/// A scorer that prefers row 1, unless 13 of the first class are wanted: then it does `mischief`. The code
/// may use `$rows`, `$list` (the scores, allocated) and `$alloc`; `init` answers with `init`.
pub(super) fn scorer(init: &str, mischief: &str, explain: &str) -> Vec<u8> {
    component(SCHEDULER, "scorer", &scorer_text(init, mischief, explain))
}

/// A scorer that does `mischief` whatever is wanted.
#[allow(dead_code, reason = "the integration tests use it")]
pub(super) fn scorer_always(mischief: &str) -> Vec<u8> {
    let text = scorer_text("", mischief, "");
    let always = text.replacen("(f32.eq (f32.load (local.get $wants)) (f32.const 13))", "(i32.const 1)", 1);
    assert_ne!(always, text);
    component(SCHEDULER, "scorer", &always)
}

/// A scorer whose answer for a row depends on that row alone, as it must for decisions to come out again: the more
/// of the first class is used, the better.
#[allow(dead_code, reason = "the integration tests use it")]
pub(super) fn packer(mischief: &str) -> Vec<u8> {
    let text = scorer_text("", mischief, "");
    let used = "(f32.sub
        (f32.load (i32.add (local.get $capacity) (i32.mul (local.get $i) (i32.const 4))))
        (f32.load (i32.add (local.get $free) (i32.mul (local.get $i) (i32.const 4)))))";
    let packing =
        text.replacen("(select (f32.const 2) (f32.const 1) (i32.eq (local.get $i) (i32.const 1)))", used, 1);
    assert_ne!(packing, text);
    component(SCHEDULER, "scorer", &packing)
}

/// A healthy scorer with more in its module: what happens before `init`.
pub(super) fn scorer_with(fields: &str) -> Vec<u8> {
    let text = scorer_text("", "", "");
    component(SCHEDULER, "scorer", &text.replacen("(module", &format!("(module {fields}"), 1))
}

/// A healthy scorer, but for one piece of its text.
pub(super) fn scorer_but(from: &str, to: &str) -> Vec<u8> {
    let text = scorer_text("(global.set $armed (i32.const 1))", "", "");
    let other = text.replacen(from, to, 1);
    assert_ne!(other, text);
    component(SCHEDULER, "scorer", &other)
}

/// A healthy scorer that does `mischief` whenever it is asked for memory after `init`.
pub(super) fn scorer_without_memory(mischief: &str) -> Vec<u8> {
    scorer_but("(local $at i32)", &format!("(local $at i32) (if (global.get $armed) (then {mischief}))"))
}

/// A healthy scorer that does `mischief` when its answer has been read.
pub(super) fn scorer_afterwards(mischief: &str) -> Vec<u8> {
    let after = format!(
        r#"(module (func (export "cabi_post_canopy:scheduler/scoring@1.0.0#score") (param i32) {mischief})"#
    );
    scorer_but("(module", &after)
}

/// `component` with so many (fewer than 128) more instances of an empty module in it.
pub(super) fn crowded(component: &[u8], instances: u8) -> Vec<u8> {
    let empty = b"\0asm\x01\0\0\0";
    let mut bytes = component.to_vec();
    // An embedded module, the second: the first is the guest. Then its instances, without arguments.
    bytes.extend([1, 8]);
    bytes.extend(empty);
    let body: Vec<u8> = std::iter::once(instances).chain((0..instances).flat_map(|_| [0, 1, 0])).collect();
    let length = u32::try_from(body.len()).unwrap();
    bytes.extend([2, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    bytes.extend(body);
    bytes
}

/// A scorer that computes in its own way: `score` is the body of that function, with the parameters by the names of the
/// contract, and gives the address of the answer's list of `$rows` numbers. `locals` are declared before it.
#[allow(dead_code, reason = "the integration tests use it")]
pub(super) fn scorer_by(locals: &str, score: &str) -> Vec<u8> {
    let body = format!(
        "(local $list i32) {locals}
         (local.set $list (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $rows) (i32.const 4))))
         {score}
         (i32.store (i32.const 16) (local.get $list))
         (i32.store (i32.const 20) (local.get $rows))
         (i32.const 16)"
    );
    component(SCHEDULER, "scorer", &scorer_module("", &body, "unreachable"))
}

/// A placer that answers host 1 to every request, and when one wants 13 of the first class does `mischief`, whose
/// code may use `$list` (the answers, allocated, `$n` of them), `$epoch` and `$alloc`.
#[allow(dead_code, reason = "not every user of this file asks for it")]
pub(super) fn placer(init: &str, mischief: &str) -> Vec<u8> {
    let rows = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)";
    let text = format!(
        r#"(module {FRAME}
          (global $bad (mut i32) (i32.const -1))
          (func (export "canopy:scheduler/placing@1.0.0#init")
            (param i32 i32 i32 i32 i32 i32) (param $hosts i32) (result i32)
            (i32.store8 (i32.const 16) (i32.const 0)) {init} (i32.const 16))
          (func (export "canopy:scheduler/placing@1.0.0#upsert-hosts") {rows})
          (func (export "canopy:scheduler/placing@1.0.0#upsert-classes") (param $first i32) (param $at i32) (param $n i32)
            (block $done (loop $next
              (br_if $done (i32.eqz (local.get $n)))
              (if (i64.eq (i64.load (i32.load (local.get $at))) (i64.const 13))
                (then (global.set $bad (local.get $first))))
              (local.set $first (i32.add (local.get $first) (i32.const 1)))
              (local.set $at (i32.add (local.get $at) (i32.const 32)))
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br $next))))
          (func (export "canopy:scheduler/placing@1.0.0#decide") (param $epoch i64) {rows}
            (param $classes i32) (param $n i32) (param i32 i32) (result i32)
            (local $list i32) (local $i i32) (local $hit i32)
            (local.set $list (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $n) (i32.const 4))))
            (block $done (loop $next
              (br_if $done (i32.eq (local.get $i) (local.get $n)))
              (i32.store (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 4))) (i32.const 1))
              (local.set $hit (i32.or (local.get $hit) (i32.eq (global.get $bad)
                (i32.load (i32.add (local.get $classes) (i32.mul (local.get $i) (i32.const 4)))))))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br $next)))
            (i32.store (i32.const 16) (local.get $list))
            (i32.store (i32.const 20) (local.get $n))
            (if (local.get $hit) (then {mischief}))
            (i32.const 16)))"#
    );
    component(SCHEDULER, "placer", &text)
}

fn scorer_text(init: &str, mischief: &str, explain: &str) -> String {
    let score = format!(
        "(local $list i32) (local $i i32)
            (local.set $list (call $alloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $rows) (i32.const 4))))
            (block $done (loop $next
              (br_if $done (i32.eq (local.get $i) (local.get $rows)))
              (f32.store (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 4)))
                (select (f32.const 2) (f32.const 1) (i32.eq (local.get $i) (i32.const 1))))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br $next)))
            (i32.store (i32.const 16) (local.get $list))
            (i32.store (i32.const 20) (local.get $rows))
            (if (f32.eq (f32.load (local.get $wants)) (f32.const 13)) (then {mischief}))
            (i32.const 16)"
    );
    scorer_module(init, &score, explain)
}

fn scorer_module(init: &str, score: &str, explain: &str) -> String {
    let params = "(param $wants i32) (param $wants_len i32) (param $want_traits i32) (param $want_traits_len i32)
        (param $rows i32) (param $capacity i32) (param $capacity_len i32) (param $free i32) (param $free_len i32)
        (param $traits i32) (param $traits_len i32) (param $signals i32) (param $signals_len i32) (result i32)";
    format!(
        r#"(module {FRAME}
          (data (i32.const 1024) "this configuration is not for me")
          (func (export "canopy:scheduler/scoring@1.0.0#init")
            (param $config i32) (param $config_len i32) (param $resources i32) (param $resources_len i32)
            (param $traits i32) (param $traits_len i32) (param $signals i32) (param $signals_len i32) (result i32)
            (i32.store8 (i32.const 16) (i32.const 0))
            {init}
            (i32.const 16))
          (func (export "canopy:scheduler/scoring@1.0.0#score") {params} {score})
          (func (export "canopy:scheduler/scoring@1.0.0#explain") {params}
            {explain}
            (i32.const 16)))"#
    )
}

/// A quota rule with one verdict, which is at address 64 when `check` is done.
pub(super) fn rule(check: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {FRAME}
          (data (i32.const 1024) "coresno")
          (func (export "canopy:quota/limits@1.0.0#init") (param i32 i32) (result i32)
            (i32.store8 (i32.const 16) (i32.const 0)) (i32.const 16))
          (func (export "canopy:quota/limits@1.0.0#check") (param i32) (result i32)
            (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))
            {check} (i32.const 16)))"#
    );
    component(QUOTA, "rule", &text)
}

/// A network backend whose plan is at address 16 when `plan` is done.
pub(super) fn backend(plan: &str) -> Vec<u8> {
    component(NETWORK, "backend", &backend_text(plan, ""))
}

/// The same, whose places of networks are at address 16 when `places` is done, and which does `mischief` when asked
/// whether it can.
pub(super) fn cluster_backend(mischief: &str, places: &str) -> Vec<u8> {
    let placing = format!(
        r#"(data (i32.const 2048) "segment@1{{\22physical_network\22:\22x\22}}{{\22physical_network\22:7}}")
          (func (export "canopy:network/placing@1.0.0#plan-cluster") (param i32 i32) (result i32)
            {places} (i32.const 16))"#
    );
    let text = backend_text("", &placing);
    let validate = r#"validate") (param i32 i32) (result i32)"#;
    let mischievous = text.replacen(validate, &format!("{validate} {mischief}"), 1);
    component(NETWORK, "cluster-backend", &mischievous)
}

fn backend_text(plan: &str, more: &str) -> String {
    format!(
        r#"(module {FRAME}
          (data (i32.const 1024) "bridge@1{{}}11111111-2222-4333-8444-555555555555{{\22mtu\22:1500,\22name\22:\22cnb1\22}}")
          {more}
          (func (export "canopy:network/planning@1.0.0#init") (param i32 i32 i32 i32) (result i32)
            (i32.store8 (i32.const 16) (i32.const 0)) (i32.const 16))
          (func (export "canopy:network/planning@1.0.0#validate") (param i32 i32) (result i32)
            (i32.store8 (i32.const 16) (i32.const 0)) (i32.const 16))
          (func (export "canopy:network/planning@1.0.0#plan-host") (param i32 i32) (result i32)
            {plan} (i32.const 16)))"#
    )
}

fn component(wit: &str, world: &str, text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// Writes a plugin's folder, with the tightest limits that a healthy test guest keeps.
pub(super) fn install(dir: &Path, kind: &str, component: &[u8], more: &str) {
    let manifest = format!(
        "name = \"hostile\"\nversion = \"0\"\nkind = \"{kind}\"\nsdk = \"1.0\"\ncomponent = \"hostile.wasm\"\n{more}\n\
         [limits]\nmemory_mib = 16\ndeadline_ms = 100\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    std::fs::write(dir.join("hostile.wasm"), component).unwrap();
}
