//! The built-in limit check: the answer when no rule is loaded, and when one fails. The meaning of
//! `quota-limits` with its default configuration; a test holds the two together.

use super::{Claim, Holder, HolderKind, QuotaQuestion, Row, Verdict};

/// Denies when used + asked exceeds a limit of the project, of one above it, or of the user; −1 is none, and
/// a resource without a row has none. What is allowed counts for the claims after it.
pub(super) fn check(question: &QuotaQuestion) -> Vec<Verdict> {
    let mut rows = question.book.rows.clone();
    question
        .claims
        .iter()
        .map(|claim| {
            let verdict = decide(question, &rows, claim);
            if verdict == Verdict::Allow {
                add(question, &mut rows, claim);
            }
            verdict
        })
        .collect()
}

/// A row that bounds a claim, and what the claim asks of it.
struct Over<'a> {
    name: &'a str,
    row: Row,
    holder: Option<&'a Holder>,
    asked: Option<i64>,
}

fn decide(question: &QuotaQuestion, rows: &[Row], claim: &Claim) -> Verdict {
    let mut asked: Vec<(u32, Option<i64>)> = Vec::with_capacity(claim.charges.len());
    for charge in &claim.charges {
        match asked.iter_mut().find(|(resource, _)| *resource == charge.resource) {
            Some((_, total)) => *total = total.and_then(|t| t.checked_add(charge.amount)),
            None => asked.push((charge.resource, Some(charge.amount))),
        }
    }
    let mut over = Vec::new();
    for (resource, asked) in asked {
        let first = rows
            .iter()
            .find(|row| row.resource == resource && bounds(question, **row, claim) && exceeds(**row, asked));
        if let Some(row) = first {
            let name = name(question, resource);
            over.push(Over { name, row: *row, holder: holder(question, *row), asked });
        }
    }
    match over.first() {
        None => Verdict::Allow,
        Some(first) => Verdict::Deny { resource: first.name.to_owned(), reason: reason(&over) },
    }
}

fn holder(question: &QuotaQuestion, row: Row) -> Option<&Holder> {
    question.book.holders.get(usize::try_from(row.holder).ok()?)
}

fn name(question: &QuotaQuestion, resource: u32) -> &str {
    let index = usize::try_from(resource).unwrap_or(usize::MAX);
    question.book.resources.get(index).map_or("", |resource| resource.name.as_str())
}

/// Whether the row is about something that the claim would add to.
fn concerns(question: &QuotaQuestion, row: Row, claim: &Claim) -> bool {
    holder(question, row).is_some_and(|holder| {
        let mine = holder.kind != HolderKind::User || holder.id == claim.user_id.as_str();
        mine && (holder.zone.is_empty() || holder.zone == claim.zone)
    })
}

/// Limits are about all zones together.
fn bounds(question: &QuotaQuestion, row: Row, claim: &Claim) -> bool {
    concerns(question, row, claim) && holder(question, row).is_some_and(|holder| holder.zone.is_empty())
}

fn add(question: &QuotaQuestion, rows: &mut [Row], claim: &Claim) {
    for charge in &claim.charges {
        let index = usize::try_from(charge.resource).unwrap_or(usize::MAX);
        if question.book.resources.get(index).is_none_or(|resource| resource.per_claim) {
            continue;
        }
        for row in rows.iter_mut().filter(|row| row.resource == charge.resource) {
            if concerns(question, *row, claim) {
                row.used = row.used.saturating_add(charge.amount);
            }
        }
    }
}

/// Giving back never exceeds, even over the limit; a sum outside of `i64` always does.
fn exceeds(row: Row, asked: Option<i64>) -> bool {
    match asked {
        _ if row.limit < 0 => false,
        Some(amount) if amount <= 0 => false,
        Some(amount) => row.used.checked_add(amount).is_none_or(|total| total > row.limit),
        None => true,
    }
}

fn reason(over: &[Over<'_>]) -> String {
    // A denial has at most 1,024 bytes; the first ones tell enough.
    let list = |field: fn(&Over<'_>) -> String| over.iter().take(8).map(field).collect::<Vec<_>>().join(", ");
    let names = list(|o| o.name.chars().take(64).collect());
    let asked = list(|o| o.asked.map_or_else(|| "too many".to_owned(), |amount| amount.to_string()));
    let used = list(|o| o.row.used.to_string());
    let limits = list(|o| o.row.limit.to_string());
    let mut text =
        format!("Quota exceeded for {names}: Requested {asked}, but already used {used} of {limits} {names}");
    match over.first().and_then(|over| over.holder) {
        Some(holder) if holder.kind == HolderKind::Ancestor => {
            let id: String = holder.id.chars().take(64).collect();
            text.push_str(&format!(" of all projects under {id}"));
        }
        Some(holder) if holder.kind == HolderKind::User => text.push_str(" of this user"),
        _ => {}
    }
    if text.len() <= super::REASON { text } else { format!("Quota exceeded for {} resources", over.len()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Book, Charge, Countable};
    use super::*;
    use canopy_types::UserId;

    fn holder(kind: HolderKind, id: &str, zone: &str) -> Holder {
        Holder { kind, id: id.into(), zone: zone.into() }
    }

    /// Rows of the project, of a project above, and of the user `u`: (holder, limit, used) of `cores`.
    fn book(rows: &[(u32, i64, i64)]) -> Book {
        Book {
            resources: vec![
                Countable { name: "cores".into(), per_claim: false },
                Countable { name: "metadata_items".into(), per_claim: true },
            ],
            holders: vec![
                holder(HolderKind::Project, "p", ""),
                holder(HolderKind::Ancestor, "above", ""),
                holder(HolderKind::User, "u", ""),
                holder(HolderKind::User, "u", "z"),
            ],
            rows: rows
                .iter()
                .map(|(holder, limit, used)| Row { holder: *holder, resource: 0, limit: *limit, used: *used })
                .collect(),
        }
    }

    fn claim(user: &str, amounts: &[i64]) -> Claim {
        Claim {
            user_id: UserId::from(user),
            zone: "z".into(),
            charges: amounts.iter().map(|amount| Charge { resource: 0, amount: *amount }).collect(),
            attributes: Vec::new(),
        }
    }

    fn ask(rows: &[(u32, i64, i64)], claims: Vec<Claim>) -> Vec<bool> {
        check(&QuotaQuestion { book: book(rows), claims }).into_iter().map(|v| v == Verdict::Allow).collect()
    }

    #[test]
    fn up_to_the_limit_and_no_further_and_claims_add_up() {
        assert_eq!(ask(&[(0, 20, 18)], vec![claim("u", &[2])]), [true]);
        let two = vec![claim("u", &[1]), claim("u", &[2]), claim("u", &[1])];
        assert_eq!(ask(&[(0, 20, 18)], two), [true, false, true]);
        let question = QuotaQuestion { book: book(&[(0, 20, 18)]), claims: vec![claim("u", &[2, 3])] };
        let reason = "Quota exceeded for cores: Requested 5, but already used 18 of 20 cores";
        let denied = Verdict::Deny { resource: "cores".into(), reason: reason.into() };
        assert_eq!(check(&question), [denied]);
    }

    #[test]
    fn the_tree_above_and_the_user_bound_it_too() {
        assert_eq!(ask(&[(0, -1, 0), (1, 10, 10)], vec![claim("u", &[1])]), [false]);
        assert_eq!(ask(&[(0, 9, 0), (2, 1, 1)], vec![claim("u", &[1]), claim("v", &[1])]), [false, true]);
        // What is held in a zone is for rules to know; limits are about all zones.
        assert_eq!(ask(&[(3, 0, 7)], vec![claim("u", &[1])]), [true]);
    }

    #[test]
    fn what_is_per_claim_does_not_add_up() {
        let mut book = book(&[]);
        book.rows = vec![Row { holder: 0, resource: 1, limit: 5, used: 0 }];
        let items = |amount| Claim { charges: vec![Charge { resource: 1, amount }], ..claim("u", &[]) };
        let verdicts = check(&QuotaQuestion { book, claims: vec![items(5), items(5), items(6)] });
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Allow).count(), 2);
    }

    #[test]
    fn no_limit_no_row_and_giving_back_are_allowed_and_overflow_is_not() {
        assert_eq!(ask(&[(0, -1, i64::MAX)], vec![claim("u", &[i64::MAX, i64::MAX])]), [true]);
        assert_eq!(ask(&[], vec![claim("u", &[1])]), [true]);
        assert_eq!(ask(&[(0, 1, 5)], vec![claim("u", &[-1])]), [true]);
        assert_eq!(ask(&[(0, i64::MAX, i64::MAX)], vec![claim("u", &[1])]), [false]);
        assert_eq!(ask(&[(0, i64::MAX, 0)], vec![claim("u", &[i64::MAX, 1])]), [false]);
    }
}
