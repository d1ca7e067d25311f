//! What clients attach beyond the fields there are (keystone's "extra"): kept, shown, and read by nothing here.

use super::rows;
use crate::App;
use canopy_store::Conn;
use canopy_types::{Error, Result};
use serde_json::{Map, Value};

/// Names and values as the client gave them.
pub type Extra = Map<String, Value>;

/// Names of one resource.
const MAX_NAMES: usize = 64;
/// Bytes of all of them, as JSON.
const MAX_BYTES: usize = 16 << 10;

/// What is attached, as the view has it.
pub fn extra(app: &App, kind: &str, id: &str) -> Extra {
    app.identity.view().directory.extra(kind, id).cloned().unwrap_or_default()
}

/// Adds to what is attached; a name given again gets its new value. For the transaction of the resource's own
/// write.
pub(super) async fn attach(conn: &mut Conn, kind: &str, id: &str, more: &Extra) -> Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let mut all = rows::extras::get(conn, kind, id).await?;
    all.extend(more.clone());
    if all.len() > MAX_NAMES || Value::Object(all.clone()).to_string().len() > MAX_BYTES {
        let text = format!(
            "A {kind} may have at most {MAX_NAMES} properties of its own, {MAX_BYTES} bytes together."
        );
        return Err(Error::bad_request("identity.extra", text));
    }
    rows::extras::put(conn, kind, id, &all).await
}
