//! What measuring programs print: a row per result, with its target where it has one.

use serde_json::{Value, json};

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn at_least(name: &str, params: Value, value: f64, unit: &str, target: Option<f64>) -> Value {
    json!({"name": name, "params": params, "value": value, "unit": unit, "target": target, "ok": target.is_none_or(|t| value >= t)})
}

pub fn at_most(name: &str, params: Value, value: f64, unit: &str, target: Option<f64>) -> Value {
    json!({"name": name, "params": params, "value": value, "unit": unit, "target": target, "ok": target.is_none_or(|t| value <= t)})
}

/// One JSON document, or a line a result. The commit is what `CANOPY_BENCH_COMMIT` says.
pub fn print(bench: &str, results: &[Value], json: bool) {
    let commit = std::env::var("CANOPY_BENCH_COMMIT").unwrap_or_default();
    if json {
        let document = json!({"bench": bench, "commit": commit, "machine": machine(), "results": results});
        println!("{document:#}");
    } else {
        table(results);
    }
}

fn machine() -> Value {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    json!({
        "cpu": model.map(|(_, name)| name.trim()).unwrap_or_default(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load": file("/proc/loadavg").split(' ').next().unwrap_or_default(),
    })
}

fn table(results: &[Value]) {
    for result in results {
        let target = result["target"].as_f64().map_or(String::new(), |target| {
            format!("  (target {target}: {})", if result["ok"] == true { "met" } else { "MISSED" })
        });
        let value = result["value"].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:<32} {value:>12.2} {}{target}  {}",
            text(&result["name"]),
            text(&result["unit"]),
            result["params"]
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
