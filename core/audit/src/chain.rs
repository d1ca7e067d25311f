//! The chain: each line names the hash of the line before it and its own.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the first line of a process names as the hash before it.
pub const START: &str = "";

/// The event as a line without its newline, and its hash.
pub fn seal(mut event: Value, process: &str, sequence: u64, previous: &str) -> (String, String) {
    event["chain"] = json!({"process": process, "sequence": sequence, "previous": previous});
    let hash = hash(&event);
    event["chain"]["hash"] = Value::String(hash.clone());
    (event.to_string(), hash)
}

/// What a line says of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub process: String,
    pub sequence: u64,
    pub previous: String,
    pub hash: String,
    /// The last line of a process that ended in order.
    pub end: bool,
}

/// The line's link, if the line is what its hash says.
pub fn open(line: &str) -> Result<(Value, Link), String> {
    let event: Value = serde_json::from_str(line).map_err(|e| format!("is not JSON ({e})"))?;
    let text = event.to_string();
    if text != line {
        return Err("is not written as this program writes it".into());
    }
    let chain = &event["chain"];
    let text = |name: &str| chain[name].as_str().map(str::to_owned);
    let link = (|| {
        Some(Link {
            process: text("process")?,
            sequence: chain["sequence"].as_u64()?,
            previous: text("previous")?,
            hash: text("hash")?,
            end: event["action"] == END,
        })
    })()
    .ok_or("has no place in a chain")?;
    let mut bare = event.clone();
    if let Some(chain) = bare["chain"].as_object_mut() {
        chain.remove("hash");
    }
    if hash(&bare) == link.hash { Ok((event, link)) } else { Err("was changed: its hash is another".into()) }
}

/// The action of a line before whole files are removed; `heads` are the hashes of their last lines.
pub const REMOVED: &str = "audit/removed";

/// The action of the line that ends a chain.
pub const END: &str = "audit/end";

/// Keys are sorted by `serde_json`, so a value has one text.
fn hash(event: &Value) -> String {
    canopy_types::hex(Sha256::digest(event.to_string()))
}
