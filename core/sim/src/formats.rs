//! Reading traces. The format is told by the first line; `.gz` is unpacked.
//!
//! | first line begins | what it is |
//! |---|---|
//! | `arrive_s,end_s,vcpus,memory_mb` | our own: `disk_gb` and `zone` may follow; an empty `end_s` stays |
//! | `arrive_s,batch,flavor,life_bin,censored` | Azure 2017; `flavors.csv` and `life_bins.csv` lie beside it |
//! | `name,cpu_milli,memory_mib,num_gpu` | Alibaba openb; `openb_node_list_all_node.csv` lies beside it. VCPU counts thousandths of a CPU, CUSTOM_GPU_MILLI of a GPU |

use crate::trace::{Arrival, Trace};
use canopy_placement::{Host, NameSet, Request};
use canopy_types::HostId;
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use std::io::Read;
use std::path::Path;

/// Bytes of a trace, unpacked.
const MOST: u64 = 1 << 30;
pub const GPU: &str = "CUSTOM_GPU_MILLI";

/// Reads a trace; the error names the file and the line.
pub fn read(path: &Path) -> Result<Trace, String> {
    let text = text(path)?;
    let first = text.lines().next().unwrap_or_default();
    let beside = |name: &str| {
        let plain = path.with_file_name(name);
        self::text(&plain)
    };
    let parsed = if first.starts_with("arrive_s,batch,flavor,life_bin,censored") {
        azure(&text, &beside("flavors.csv")?, &beside("life_bins.csv")?)
    } else if first.starts_with("name,cpu_milli,memory_mib,num_gpu") {
        openb(&text, &beside("openb_node_list_all_node.csv")?)
    } else if first.starts_with("arrive_s,end_s,vcpus,memory_mb") {
        plain(&text)
    } else {
        Err("line 1: it is none of the known formats".to_owned())
    };
    let mut trace = parsed.map_err(|why| format!("{}: {why}", path.display()))?;
    // Stable: who comes at the same time keeps the file's order.
    trace.arrivals.sort_by_key(|arrival| arrival.at);
    Ok(trace)
}

fn text(path: &Path) -> Result<String, String> {
    let wrong = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
    let file = std::fs::File::open(path).map_err(wrong)?;
    let mut text = String::new();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let source: Box<dyn Read> =
        if packed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    source.take(MOST).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

/// The lines after the first, cut at commas, with what is said of them when they are wrong.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| (number + 1, line.trim_end().split(',').collect()))
}

fn number<T: std::str::FromStr>(row: &(usize, Vec<&str>), at: usize) -> Result<T, String> {
    let field = row.1.get(at).copied().unwrap_or_default();
    field
        .trim()
        .parse()
        .map_err(|_| format!("line {}: `{field}` is not the number of column {}", row.0, at + 1))
}

fn asks(amounts: &[(&str, i64)]) -> Request {
    let amounts = amounts.iter().filter(|(_, amount)| *amount != 0);
    Request {
        amounts: amounts.map(|(class, amount)| ((*class).to_owned(), *amount)).collect(),
        ..Request::default()
    }
}

fn plain(text: &str) -> Result<Trace, String> {
    let mut trace = Trace::default();
    for row in rows(text) {
        let disk = if row.1.get(4).is_none_or(|field| field.is_empty()) { 0 } else { number(&row, 4)? };
        let mut request = asks(&[(VCPU, number(&row, 2)?), (MEMORY_MB, number(&row, 3)?), (DISK_GB, disk)]);
        request.zone = row.1.get(5).filter(|zone| !zone.is_empty()).map(|zone| (*zone).to_owned());
        let until =
            if row.1.get(1).is_none_or(|field| field.is_empty()) { None } else { Some(number(&row, 1)?) };
        let request = trace.request(request);
        trace.arrivals.push(Arrival { at: number(&row, 0)?, until, request });
    }
    Ok(trace)
}

/// Lifetimes are known to their bin: its middle is taken. Who was still there at the end stays.
fn azure(text: &str, flavors: &str, bins: &str) -> Result<Trace, String> {
    let mut trace = Trace::default();
    let mut names = Vec::new();
    for row in rows(flavors) {
        let memory: f64 = number(&row, 2)?;
        let request = asks(&[(VCPU, number(&row, 1)?), (MEMORY_MB, (memory * 1024.0) as i64)]);
        names.push((row.1[0], trace.request(request)));
    }
    let mut lives: Vec<i64> = Vec::new();
    for row in rows(bins) {
        lives.push((number::<i64>(&row, 1)? + number::<i64>(&row, 2)?) / 2);
    }
    for row in rows(text) {
        let flavor = names.iter().find(|(name, _)| Some(name) == row.1.get(2));
        let (_, request) = *flavor.ok_or_else(|| format!("line {}: an unknown flavor", row.0))?;
        let at: i64 = number(&row, 0)?;
        let life =
            lives.get(number::<usize>(&row, 3)?).ok_or_else(|| format!("line {}: an unknown bin", row.0))?;
        let until = (number::<u8>(&row, 4)? == 0).then_some(at + life);
        trace.arrivals.push(Arrival { at, until, request });
    }
    Ok(trace)
}

fn openb(pods: &str, nodes: &str) -> Result<Trace, String> {
    let mut trace = Trace::default();
    for row in rows(nodes) {
        let model = row.1.get(4).copied().unwrap_or_default();
        let mut host = Host::new(HostId(uuid::Uuid::from_u64_pair(0xC, row.0 as u64)), row.1[0], "nova");
        if !model.is_empty() {
            host.aggregates = NameSet::from_iter([model]);
        }
        let gpus: i64 = number(&row, 3)?;
        let has = [(VCPU, number(&row, 1)?), (MEMORY_MB, number(&row, 2)?), (GPU, gpus * 1000)];
        trace.hosts.push((host, has.map(|(class, amount)| (class.to_owned(), amount)).to_vec()));
    }
    for row in rows(pods) {
        let gpus = number::<i64>(&row, 3)?.saturating_mul(number(&row, 4)?);
        let mut request = asks(&[(VCPU, number(&row, 1)?), (MEMORY_MB, number(&row, 2)?), (GPU, gpus)]);
        // "V100M16|V100M32": one of these models.
        if let Some(models) = row.1.get(5).filter(|models| !models.is_empty()) {
            request.member_of = vec![NameSet::from_iter(models.split('|'))];
        }
        let request = trace.request(request);
        let until = number::<f64>(&row, 9).ok().map(|until| until as i64);
        trace.arrivals.push(Arrival { at: number(&row, 8)?, until, request });
    }
    Ok(trace)
}
