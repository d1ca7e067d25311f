//! Placement decisions beside the servers that they are about.

use crate::App;
use crate::compute::placement::Placed;
use canopy_placement::Decision;
use canopy_store::Conn;
use canopy_store::decisions::{self, DecisionRow};
use canopy_store::servers::ServerRow;
use canopy_types::{Error, Result, Timestamp};
use serde_json::Value;

/// Where what was decided on is kept: which journal, where in it, and at which controller.
#[derive(Clone)]
pub(super) struct Scene {
    journal: String,
    position: i64,
    controller: String,
}

impl Scene {
    pub fn of(app: &App, made: &Placed) -> Self {
        Self {
            journal: made.journal.clone(),
            position: made.number,
            controller: app.settings.controller.clone(),
        }
    }

    /// Stores the decision, in the transaction of what came of it. `note` is what it says beside.
    pub async fn keep(
        &self,
        conn: &mut Conn,
        server: &ServerRow,
        decision: &Decision,
        note: Option<&Value>,
        now: Timestamp,
    ) -> Result<()> {
        let mut document =
            serde_json::to_value(decision).map_err(|e| Error::internal("placement.serialise", e))?;
        document["controller"] = self.controller.as_str().into();
        if let Some(note) = note {
            document["candidates"] = note.clone();
        }
        let row = DecisionRow {
            id: decision.id,
            project_id: server.project_id.clone(),
            server_id: server.id,
            at: now,
            document: document.to_string(),
            journal: self.journal.clone(),
            position: self.position,
        };
        decisions::insert(conn, &row).await
    }
}
