//! What limits mean in OpenStack, for rules that want that and something more.

use super::{Denial, HolderKind, Question, Row};

impl Question<'_> {
    /// What denies the claim when limits mean what they mean in OpenStack: −1 is none, and used + asked must not
    /// exceed any that bounds it: the project's, one above it, or the user's. A resource without a row of the
    /// project's is as if unlimited, or with `strict` as if its limit were 0.
    pub fn over_limit(&self, strict: bool) -> Option<Denial> {
        let mut over: Vec<Over<'_>> = Vec::new();
        for (resource, asked) in self.asked() {
            let missing = strict && self.row(resource).is_none();
            let none = Row { kind: HolderKind::Project, id: "", limit: 0, used: 0 };
            let mut rows = missing.then_some(none).into_iter().chain(self.bounds(resource));
            if let Some(row) = rows.find(|row| exceeds(*row, asked)) {
                over.push(Over { resource, asked, row });
            }
        }
        let first = over.first()?;
        Some(Denial { resource: first.resource.to_owned(), reason: reason(&over) })
    }
}

struct Over<'a> {
    resource: &'a str,
    asked: Option<i64>,
    row: Row<'a>,
}

/// Giving back never exceeds, even over the limit; a sum outside of `i64` always does.
fn exceeds(row: Row<'_>, asked: Option<i64>) -> bool {
    match asked {
        _ if row.limit < 0 => false,
        Some(amount) if amount <= 0 => false,
        Some(amount) => row.used.checked_add(amount).is_none_or(|total| total > row.limit),
        None => true,
    }
}

/// The sentence that nova's clients know, and whose limit it is when it is not the project's own.
fn reason(over: &[Over<'_>]) -> String {
    // A denial has at most 1,024 bytes; the first ones tell enough.
    let list = |field: fn(&Over<'_>) -> String| over.iter().take(8).map(field).collect::<Vec<_>>().join(", ");
    let names = list(|o| o.resource.chars().take(64).collect());
    let asked = list(|o| o.asked.map_or_else(|| "too many".to_owned(), |amount| amount.to_string()));
    let used = list(|o| o.row.used.to_string());
    let limits = list(|o| o.row.limit.to_string());
    let mut text =
        format!("Quota exceeded for {names}: Requested {asked}, but already used {used} of {limits} {names}");
    match over.first().map(|over| over.row) {
        Some(Row { kind: HolderKind::Ancestor, id, .. }) => {
            let id: String = id.chars().take(64).collect();
            text.push_str(&format!(" of all projects under {id}"));
        }
        Some(Row { kind: HolderKind::User, .. }) => text.push_str(" of this user"),
        _ => {}
    }
    if text.len() <= 1024 { text } else { format!("Quota exceeded for {} resources", over.len()) }
}
