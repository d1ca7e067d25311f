//! The book of one call: claims are decided in order, and what is allowed counts for those after it.

use super::{Book, Claims, HolderKind, Question, Row, Rule, Verdict};

/// What is used, what may be, and what is asked for.
pub struct Ledger {
    book: Book,
    claims: Claims,
}

/// An index of the wire; what does not fit is out of every bound.
fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Ledger {
    /// A book with the claims on it. For tests too: fill the columns as the contract says.
    pub fn new(book: Book, claims: Claims) -> Self {
        Self { book, claims }
    }

    /// The verdict on each claim. What is allowed is used from then on.
    pub fn decide<R: Rule>(mut self, rule: &R) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(self.claims.users.len());
        for claim in 0..self.claims.users.len() {
            let verdict = rule.check(&Question { ledger: &self, claim });
            if matches!(verdict, Verdict::Allow) {
                self.add(claim);
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Positions of the claim in an ascending column of claims.
    fn span(column: &[u32], claim: usize) -> std::ops::Range<usize> {
        let start = column.partition_point(|at| index(*at) < claim);
        start..column.partition_point(|at| index(*at) <= claim)
    }

    /// (resource, amount) of a claim, as they came.
    fn charges(&self, claim: usize) -> impl Iterator<Item = (u32, i64)> + '_ {
        let span = Self::span(&self.claims.charge_claims, claim);
        let (resources, amounts) = (&self.claims.charge_resources, &self.claims.charge_amounts);
        span.filter_map(move |at| Some((*resources.get(at)?, *amounts.get(at)?)))
    }

    /// Whether a holder is one that the claim adds to.
    fn concerns(&self, holder: usize, claim: usize) -> bool {
        self.book.holders.get(holder).is_some_and(|holder| {
            let mine = holder.kind != HolderKind::User || self.claims.users.get(claim) == Some(&holder.id);
            mine && (holder.zone.is_empty() || self.claims.zones.get(claim) == Some(&holder.zone))
        })
    }

    fn add(&mut self, claim: usize) {
        let charges: Vec<(u32, i64)> = self.charges(claim).collect();
        for (resource, amount) in charges {
            if self.book.resources.get(index(resource)).is_none_or(|resource| resource.per_claim) {
                continue;
            }
            for row in 0..self.book.row_resources.len() {
                let holder = self.book.row_holders.get(row).map_or(usize::MAX, |holder| index(*holder));
                if self.book.row_resources[row] == resource
                    && self.concerns(holder, claim)
                    && let Some(used) = self.book.used.get_mut(row)
                {
                    *used = used.saturating_add(amount);
                }
            }
        }
    }

    fn name(&self, resource: u32) -> &str {
        self.book.resources.get(index(resource)).map_or("", |resource| resource.name.as_str())
    }

    /// Rows of a resource that concern the claim, with the zone they are about.
    fn rows<'a>(&'a self, name: &'a str, claim: usize) -> impl Iterator<Item = (Row<'a>, &'a str)> + 'a {
        let resources = self.book.row_resources.iter().zip(&self.book.row_holders);
        let numbers = self.book.limits.iter().zip(&self.book.used);
        resources.zip(numbers).filter_map(move |((resource, holder), (limit, used))| {
            if self.name(*resource) != name || !self.concerns(index(*holder), claim) {
                return None;
            }
            let holder = self.book.holders.get(index(*holder))?;
            let row = Row { kind: holder.kind, id: &holder.id, limit: *limit, used: *used };
            Some((row, holder.zone.as_str()))
        })
    }
}

impl<'a> Question<'a> {
    /// The project that asks; `user:<id>` for key pairs.
    pub fn project(&self) -> &'a str {
        let mut holders = self.ledger.book.holders.iter();
        holders.find(|holder| holder.kind == HolderKind::Project).map_or("", |holder| holder.id.as_str())
    }

    /// The user that asks.
    pub fn user(&self) -> &'a str {
        self.ledger.claims.users.get(self.claim).map_or("", String::as_str)
    }

    /// The availability zone of what is wanted; empty when it has none.
    pub fn zone(&self) -> &'a str {
        self.ledger.claims.zones.get(self.claim).map_or("", String::as_str)
    }

    /// What is asked of each resource in total, in the order of first mention; `None` where the sum leaves
    /// the range of an `i64`.
    pub fn asked(&self) -> Vec<(&'a str, Option<i64>)> {
        let mut totals: Vec<(u32, Option<i64>)> = Vec::new();
        for (resource, amount) in self.ledger.charges(self.claim) {
            match totals.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, total)) => *total = total.and_then(|t| t.checked_add(amount)),
                None => totals.push((resource, Some(amount))),
            }
        }
        totals.into_iter().map(|(resource, total)| (self.ledger.name(resource), total)).collect()
    }

    /// The rows that bound a resource for this claim: the project first, then those above it, then the user.
    /// Limits are about all zones together.
    pub fn bounds(&self, resource: &'a str) -> impl Iterator<Item = Row<'a>> + 'a {
        self.ledger.rows(resource, self.claim).filter(|(_, zone)| zone.is_empty()).map(|(row, _)| row)
    }

    /// The project's own row of a resource, if it has one.
    pub fn row(&self, resource: &'a str) -> Option<Row<'a>> {
        self.bounds(resource).find(|row| row.kind == HolderKind::Project)
    }

    /// What the project, or this user in it, holds of a resource in the zone that is asked for.
    pub fn held_in_zone(&self, kind: HolderKind, resource: &'a str) -> i64 {
        let zone = self.zone();
        let mut rows = self.ledger.rows(resource, self.claim);
        rows.find(|(row, of)| row.kind == kind && *of == zone).map_or(0, |(row, _)| row.used)
    }

    /// The first value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let claims = &self.ledger.claims;
        let mut span = Ledger::span(&claims.attribute_claims, self.claim);
        let at = span.find(|at| claims.attribute_names.get(*at).is_some_and(|known| known == name))?;
        claims.attribute_values.get(at).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Countable, Denial, Holder};
    use super::*;

    /// Denies what is above the limit of any row, and remembers nothing.
    struct Strict;

    impl Rule for Strict {
        type Config = ();

        fn init((): ()) -> Result<Self, String> {
            Ok(Self)
        }

        fn check(&self, question: &Question<'_>) -> Verdict {
            for (resource, asked) in question.asked() {
                if question.bounds(resource).any(|row| row.used + asked.unwrap_or(i64::MAX) > row.limit) {
                    return Verdict::Deny(Denial { resource: resource.into(), reason: "no".into() });
                }
            }
            Verdict::Allow
        }
    }

    fn book() -> Book {
        let holder = |kind, id: &str, zone: &str| Holder { kind, id: id.into(), zone: zone.into() };
        Book {
            resources: vec![
                Countable { name: "cores".into(), per_claim: false },
                Countable { name: "items".into(), per_claim: true },
            ],
            holders: vec![
                holder(HolderKind::Project, "p", ""),
                holder(HolderKind::User, "u", ""),
                holder(HolderKind::User, "u", "a"),
            ],
            row_holders: vec![0, 1, 2, 0],
            row_resources: vec![0, 0, 0, 1],
            limits: vec![5, 3, -1, 2],
            used: vec![1, 1, 1, 0],
        }
    }

    fn claims(users: &[&str], charges: &[(u32, u32, i64)]) -> Claims {
        Claims {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            zones: users.iter().map(|_| "a".to_owned()).collect(),
            charge_claims: charges.iter().map(|charge| charge.0).collect(),
            charge_resources: charges.iter().map(|charge| charge.1).collect(),
            charge_amounts: charges.iter().map(|charge| charge.2).collect(),
            attribute_claims: vec![0, 1],
            attribute_names: vec!["flavor".into(), "flavor".into()],
            attribute_values: vec!["small".into(), "large".into()],
        }
    }

    #[test]
    fn what_is_allowed_counts_for_the_next_and_what_is_denied_does_not() {
        let charges = [(0, 0, 1), (0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 2), (3, 0, 2), (4, 0, 1)];
        let verdicts = Ledger::new(book(), claims(&["u", "u", "u", "v", "v"], &charges)).decide(&Strict);
        let allowed: Vec<bool> = verdicts.iter().map(|v| matches!(v, Verdict::Allow)).collect();
        // `u` may have 3: one was there. Of 5 the project has 3 then, and `v` takes the rest.
        assert_eq!(allowed, [true, false, true, true, false]);
    }

    #[test]
    fn charges_of_one_resource_add_up_and_overflow_is_seen() {
        let charges = [(0, 0, 1), (0, 1, i64::MAX), (0, 0, 2), (0, 1, 1), (1, 0, 9)];
        let ledger = Ledger::new(book(), claims(&["u", "w"], &charges));
        let first = Question { ledger: &ledger, claim: 0 };
        assert_eq!(first.asked(), [("cores", Some(3)), ("items", None)]);
        assert_eq!((first.project(), first.user(), first.zone()), ("p", "u", "a"));
        assert_eq!(first.attribute("flavor"), Some("small"));
        assert_eq!(first.held_in_zone(HolderKind::User, "cores"), 1);
        let second = Question { ledger: &ledger, claim: 1 };
        assert_eq!(second.attribute("flavor"), Some("large"));
        assert_eq!(second.held_in_zone(HolderKind::User, "cores"), 0);
        assert_eq!(second.bounds("cores").count(), 1);
        assert_eq!(second.row("ram"), None);
    }

    #[test]
    fn columns_that_do_not_fit_are_no_panic() {
        let mut odd = book();
        odd.used.truncate(1);
        odd.row_holders = vec![9, 0];
        let _ = Ledger::new(odd, claims(&["u"], &[(0, 7, 1), (9, 0, 1)])).decide(&Strict);
    }
}
