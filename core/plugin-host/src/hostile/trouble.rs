//! Trouble that takes its time: at the n-th call, beside another plugin, over and over; and made at random.

use super::ground::{decide, load};
use super::guests::{backend, install, rule, scorer, scorer_always};
use crate::{PluginHost, Verdict};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_trap_at_each_third_call_costs_each_third_decision() {
    let count = "(i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.const 1)))
        (if (i32.eq (i32.load (i32.const 48)) (i32.const 3)) (then unreachable))";
    let plugin = load(&PluginHost::new().unwrap(), &scorer_always(count)).unwrap();
    for n in 1..=12 {
        let decision = decide(&plugin, 1).await;
        assert_eq!(decision.plugin.fault.is_some(), n % 3 == 0, "call {n}: {:?}", decision.plugin.fault);
        assert!(decision.winner.is_some());
    }
    let stats = plugin.stats().unwrap();
    assert_eq!((stats.calls(), stats.faults()), (12, vec![("trap", 4)]));
}

#[tokio::test]
async fn no_other_plugin_notices() {
    let host = PluginHost::new().unwrap();
    let (loops, bomb, healthy) = (
        load(&host, &scorer("", "(loop $ever (br $ever))", "")).unwrap(),
        load(&host, &scorer("", "(drop (memory.grow (i32.const 65000))) unreachable", "")).unwrap(),
        load(&host, &scorer("", "", "")).unwrap(),
    );
    let since = Instant::now();
    let busy = tokio::spawn(async move { (decide(&loops, 13).await, decide(&bomb, 13).await) });
    for _ in 0..50 {
        let decision = decide(&healthy, 1).await;
        assert_eq!(decision.plugin.fault, None);
    }
    assert!(since.elapsed() < Duration::from_secs(30));
    let (loops, bomb) = busy.await.unwrap();
    assert!(loops.plugin.fault.unwrap().starts_with("deadline"));
    assert!(bomb.plugin.fault.unwrap().starts_with("memory"));
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn nothing_stays_resident() {
    let host = PluginHost::new().unwrap();
    // Takes all it may and fills it, then ends in a trap; its limit is 16 MiB.
    let fill = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
        (memory.fill (i32.const 65536) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
        unreachable";
    let plugin = load(&host, &scorer("", fill, "")).unwrap();
    for _ in 0..5 {
        assert!(decide(&plugin, 13).await.plugin.fault.unwrap().starts_with("memory"));
    }
    let before = resident();
    for _ in 0..50 {
        assert!(decide(&plugin, 13).await.plugin.fault.is_some());
    }
    let grown = resident().saturating_sub(before);
    // Fifty times 16 MiB went by.
    assert!(grown < 64 << 20, "{} MiB stayed", grown >> 20);
    let stats = plugin.stats().unwrap();
    assert!((15 << 20..=16 << 20).contains(&stats.memory_peak()), "{}", stats.memory_peak());
}

/// Xorshift: the seed is in every message.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most.max(1) as u64).unwrap_or(0)
    }
}

fn seed() -> u64 {
    let seed = std::env::var("CANOPY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| canopy_types::Clock::now(&canopy_types::SystemClock).0.unsigned_abs());
    println!("CANOPY_TEST_SEED={seed}");
    seed | 1
}

/// How long each of the random tests may go on.
const FUZZ: Duration = Duration::from_secs(5);

/// Loads, and asks what loads. Whatever the bytes are, the host refuses them or falls back; it never panics.
async fn survive(host: &PluginHost, bytes: &[u8], what: &str) {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "scheduler", bytes, "");
    match host.load_scheduler(dir.path(), Value::Null) {
        Err(error) => assert!(error.code.starts_with("plugin."), "{what}: {}", error.chain()),
        Ok(plugin) => assert!(decide(&plugin, 1).await.hosts_considered == 3, "{what}"),
    }
}

#[tokio::test]
async fn the_kept_corpus_is_survived() {
    let host = PluginHost::new().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let path = entry.unwrap().path();
        survive(&host, &std::fs::read(&path).unwrap(), &path.display().to_string()).await;
        seen += 1;
    }
    assert!(seen > 3, "{seen} files");
}

#[tokio::test]
async fn random_damage_to_a_component_is_survived() {
    let (seed, host, whole) = (seed(), PluginHost::new().unwrap(), scorer("", "", ""));
    let mut random = Random(seed);
    let (since, mut cases) = (Instant::now(), 0);
    while since.elapsed() < FUZZ {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => bytes.truncate(at.max(8)),
                3 => {
                    let to = (at + random.below(40)).min(bytes.len());
                    bytes.drain(at..to);
                }
                _ => {
                    let from = random.below(bytes.len());
                    let piece = bytes[from..(from + random.below(40)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        survive(&host, &bytes, &format!("seed {seed}, case {cases}")).await;
        cases += 1;
    }
    assert!(cases > 0, "{cases} cases");
}

/// What the words of a scorer's answer may be: where its list is, how long, and what is in it.
#[tokio::test]
async fn random_scores_are_taken_or_fallen_back_from() {
    let (seed, host) = (seed(), PluginHost::new().unwrap());
    let mut random = Random(seed);
    let (since, mut cases, mut taken) = (Instant::now(), 0, 0);
    while since.elapsed() < FUZZ {
        let word = match random.below(4) {
            0 => random.next() as i32,
            1 => 65_536 + 4 * random.below(64) as i32,
            _ => random.below(8) as i32,
        };
        let place = ["(i32.const 16)", "(i32.const 20)", "(local.get $list)"][random.below(3)];
        let mischief = format!("(i32.store {place} (i32.const {word}))");
        let what = format!("seed {seed}, case {cases}: {mischief}");
        let plugin = load(&host, &scorer("", &mischief, "")).unwrap();
        let decision = decide(&plugin, 13).await;
        let winner = decision.winner_name.clone().unwrap_or_default();
        match &decision.plugin.fault {
            Some(_) => assert_eq!(winner, "host-0", "{what}"),
            None => {
                assert!(["host-0", "host-1", "host-2"].contains(&winner.as_str()), "{what}: {winner}");
                assert!(decision.top.iter().all(|host| !host.score.is_nan()), "{what}");
                taken += 1;
            }
        }
        cases += 1;
    }
    assert!(taken > 0 && taken < cases, "{taken} of {cases} taken");
}

const MANIFEST: &str = "name = \"q\"\nversion = \"1.0\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"q.wasm\"\n\
    [limits]\nmemory_mib = 8\ndeadline_ms = 100\n[config.schema]\ntype = \"object\"\n\
    properties.most = { type = \"integer\", minimum = 0, pattern = \"^a+$\" }\n[config.defaults]\nmost = 3\n";

const MARKS: &[u8] = b" \n\"'[]{}=.,-0123456789aez\\$";

#[test]
fn random_damage_to_a_manifest_is_survived() {
    let seed = seed();
    let mut random = Random(seed);
    let (since, mut cases, mut good) = (Instant::now(), 0_u64, 0_u64);
    while since.elapsed() < FUZZ / 2 {
        let mut bytes = MANIFEST.as_bytes().to_vec();
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = MARKS[random.below(MARKS.len())],
                1 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len()))),
                _ => {
                    let piece = bytes[at..(at + random.below(20)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        let known = ["plugin.manifest", "plugin.config"];
        match crate::Manifest::parse(&text).and_then(|manifest| manifest.configure(json!({"most": 1}))) {
            Ok(_) => good += 1,
            Err(error) => {
                assert!(known.contains(&error.code), "seed {seed}, case {cases}: {text}: {}", error.chain());
            }
        }
        cases += 1;
    }
    assert!(good > 0 && good < cases, "{good} of {cases}");
}

#[tokio::test]
async fn random_answers_are_taken_or_fallen_back_from() {
    let (seed, host) = (seed(), PluginHost::new().unwrap());
    let mut random = Random(seed);
    let since = Instant::now();
    let mut cases = 0;
    while since.elapsed() < FUZZ {
        let mut word = || match random.below(4) {
            0 => i64::from(random.next() as u32),
            1 => random.below(8) as i64,
            2 => 1024 + random.below(64) as i64,
            _ => random.below(131_072) as i64,
        };
        let words: String = (0..8)
            .map(|i| format!("(i32.store (i32.const {}) (i32.const {}))", 16 + 4 * i, word() as i32))
            .collect();
        let what = format!("seed {seed}, case {cases}: {words}");
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), "quota", &rule(&words), "");
        // On a busy machine `init` may miss its deadline: that is another test's affair.
        let Ok(plugin) = host.load_quota(dir.path(), Value::Null) else { continue };
        let verdicts = plugin.check(crate::inspect::question(1)).await;
        assert_eq!(verdicts.len(), 1, "{what}");
        if let Verdict::Deny { resource, reason } = &verdicts[0] {
            assert!(["instances", "cores", "ram"].contains(&resource.as_str()), "{what}");
            assert!((1..=1024).contains(&reason.len()) && !reason.chars().any(char::is_control), "{what}");
        }
        install(dir.path(), "network", &backend(&words), "");
        let Ok(plugin) = host.load_network(dir.path(), Value::Null) else { continue };
        let network = json!({"id": "11111111-2222-4333-8444-555555555555", "project_id": "0".repeat(32),
            "segment": 1, "mtu": 1500, "dns_domain": "", "subnets": [], "ports": []});
        match plugin.plan_host(vec![serde_json::from_value(network).unwrap()]).await {
            Ok(plan) => assert!(plan.iter().all(|item| item.key.starts_with("1111")), "{what}"),
            Err(error) => assert!(["plugin.fault", "network.refused"].contains(&error.code), "{what}"),
        }
        cases += 1;
    }
    assert!(cases > 0, "{cases} cases");
}
