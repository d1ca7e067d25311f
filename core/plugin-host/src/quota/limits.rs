//! The built-in limit check: the answer when no rule is loaded, and when one fails. The meaning of
//! `quota-limits` with its default configuration; a test holds the two together.

use super::{QuotaQuestion, Usage, Verdict};

/// Denies when used + asked exceeds a limit; −1 is none, and a resource without a row has none.
pub(super) fn check(question: &QuotaQuestion) -> Verdict {
    let mut asked: Vec<(&str, Option<i64>)> = Vec::with_capacity(question.charges.len());
    for charge in &question.charges {
        match asked.iter_mut().find(|(name, _)| *name == charge.resource) {
            Some((_, total)) => *total = total.and_then(|t| t.checked_add(charge.amount)),
            None => asked.push((&charge.resource, Some(charge.amount))),
        }
    }
    let over: Vec<(&Usage, Option<i64>)> = asked
        .into_iter()
        .filter_map(|(name, amount)| Some((question.usage.iter().find(|row| row.resource == name)?, amount)))
        .filter(|(row, amount)| exceeds(row, *amount))
        .collect();
    match over.first() {
        None => Verdict::Allow,
        Some((first, _)) => Verdict::Deny { resource: first.resource.clone(), reason: reason(&over) },
    }
}

/// Giving back never exceeds, even over the limit; a sum outside of `i64` always does.
fn exceeds(row: &Usage, asked: Option<i64>) -> bool {
    match asked {
        _ if row.limit < 0 => false,
        Some(amount) if amount <= 0 => false,
        Some(amount) => row.used.checked_add(amount).is_none_or(|total| total > row.limit),
        None => true,
    }
}

fn reason(over: &[(&Usage, Option<i64>)]) -> String {
    let list = |field: fn(&(&Usage, Option<i64>)) -> String| {
        over.iter().take(8).map(field).collect::<Vec<_>>().join(", ")
    };
    let names = list(|(row, _)| row.resource.chars().take(64).collect());
    let asked = list(|(_, amount)| amount.map_or_else(|| "too many".to_owned(), |amount| amount.to_string()));
    let used = list(|(row, _)| row.used.to_string());
    let limits = list(|(row, _)| row.limit.to_string());
    format!("Quota exceeded for {names}: Requested {asked}, but already used {used} of {limits} {names}")
}

#[cfg(test)]
mod tests {
    use super::super::Charge;
    use super::*;
    use canopy_types::{ProjectId, UserId};

    fn ask(rows: &[(&str, i64, i64)], charges: &[(&str, i64)]) -> Verdict {
        let row = |(resource, limit, used): &(&str, i64, i64)| Usage {
            resource: (*resource).into(),
            limit: *limit,
            used: *used,
        };
        let charge =
            |(resource, amount): &(&str, i64)| Charge { resource: (*resource).into(), amount: *amount };
        check(&QuotaQuestion {
            project_id: ProjectId::random(),
            user_id: UserId::random(),
            usage: rows.iter().map(row).collect(),
            charges: charges.iter().map(charge).collect(),
            attributes: vec![],
        })
    }

    #[test]
    fn up_to_the_limit_and_no_further() {
        assert_eq!(ask(&[("cores", 20, 18)], &[("cores", 2)]), Verdict::Allow);
        let reason = "Quota exceeded for cores: Requested 5, but already used 18 of 20 cores";
        let denied = Verdict::Deny { resource: "cores".into(), reason: reason.into() };
        assert_eq!(ask(&[("cores", 20, 18)], &[("cores", 2), ("cores", 3)]), denied);
    }

    #[test]
    fn no_limit_no_row_and_giving_back_are_allowed_and_overflow_is_not() {
        assert_eq!(ask(&[("ram", -1, i64::MAX)], &[("ram", i64::MAX), ("ram", i64::MAX)]), Verdict::Allow);
        assert_eq!(ask(&[], &[("ram", 1)]), Verdict::Allow);
        assert_eq!(ask(&[("ram", 1, 5)], &[("ram", -1)]), Verdict::Allow);
        assert_ne!(ask(&[("ram", i64::MAX, i64::MAX)], &[("ram", 1)]), Verdict::Allow);
        assert_ne!(ask(&[("ram", i64::MAX, 0)], &[("ram", i64::MAX), ("ram", 1)]), Verdict::Allow);
    }
}
