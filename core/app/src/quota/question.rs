//! From what is stored to what the plugin is asked.

use super::Ask;
use crate::Settings;
use canopy_plugin_host::{Book as Asked, Charge, Claim, Countable, Holder, HolderKind, QuotaQuestion, Row};
use canopy_store::quota::Book;
use canopy_types::quota;
use std::collections::BTreeSet;

/// The project's own limit, else the default; −1 is no limit.
pub fn limit(settings: &Settings, book: &Book, resource: &str) -> i64 {
    book.limits.get(resource).copied().unwrap_or_else(|| default_limit(settings, book, resource))
}

/// What a project has that has no limit of its own.
pub fn default_limit(settings: &Settings, book: &Book, resource: &str) -> i64 {
    let set = book.defaults.get(resource).or_else(|| settings.quota_defaults.get(resource));
    set.copied().unwrap_or(-1)
}

/// What these claims ask for, with all usage and limits that may matter to them.
pub fn question(settings: &Settings, book: &Book, asks: &[&Ask]) -> QuotaQuestion {
    let names: Vec<&str> = asks
        .iter()
        .flat_map(|ask| ask.charges.keys().map(String::as_str))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut rows = Rows { asked: Asked::default(), names: &names };
    rows.asked.resources = names
        .iter()
        .map(|name| Countable { name: (*name).to_owned(), per_claim: quota::per_claim(name) })
        .collect();
    let project = asks.first().map(|ask| ask.project_id.to_string()).unwrap_or_default();
    let used = |name: &str| {
        let counted = book.used.get(name).copied().unwrap_or(0);
        if quota::per_claim(name) { 0 } else { counted }
    };
    rows.holder(HolderKind::Project, &project, "", |name| Some((limit(settings, book, name), used(name))));
    for above in &book.above {
        rows.holder(HolderKind::Ancestor, &above.id, "", |name| {
            Some((*above.limits.get(name)?, above.used.get(name).copied().unwrap_or(0)))
        });
    }
    let people: BTreeSet<(&str, &str)> =
        asks.iter().map(|ask| (ask.user_id.as_str(), ask.zone.as_str())).collect();
    let users: BTreeSet<&str> = people.iter().map(|(user, _)| *user).collect();
    for user in users {
        rows.holder(HolderKind::User, user, "", |name| {
            let held = book.held.iter().filter(|((u, _, r), _)| u == user && r == name);
            let limit = book.user_limits.get(&(user.to_owned(), name.to_owned())).copied().unwrap_or(-1);
            quota::by_user(name).then(|| (limit, held.map(|(_, n)| n).sum()))
        });
    }
    for (user, zone) in people.into_iter().filter(|(_, zone)| !zone.is_empty()) {
        rows.holder(HolderKind::User, user, zone, |name| {
            let key = (user.to_owned(), zone.to_owned(), name.to_owned());
            quota::by_user(name).then(|| (-1, book.held.get(&key).copied().unwrap_or(0)))
        });
    }
    let claims = asks.iter().map(|ask| claim(ask, &names)).collect();
    QuotaQuestion { book: rows.asked, claims }
}

struct Rows<'a> {
    asked: Asked,
    names: &'a [&'a str],
}

impl Rows<'_> {
    /// Adds a holder with the rows that it has.
    fn holder(&mut self, kind: HolderKind, id: &str, zone: &str, row: impl Fn(&str) -> Option<(i64, i64)>) {
        let holder = u32::try_from(self.asked.holders.len()).unwrap_or(u32::MAX);
        let before = self.asked.rows.len();
        for (resource, name) in (0..).zip(self.names) {
            if let Some((limit, used)) = row(name) {
                self.asked.rows.push(Row { holder, resource, limit, used });
            }
        }
        if self.asked.rows.len() > before || kind == HolderKind::Project {
            self.asked.holders.push(Holder { kind, id: id.to_owned(), zone: zone.to_owned() });
        }
    }
}

fn claim(ask: &Ask, names: &[&str]) -> Claim {
    let charge = |(name, amount): (&String, &i64)| {
        let at = names.binary_search(&name.as_str()).ok()?;
        Some(Charge { resource: u32::try_from(at).ok()?, amount: *amount })
    };
    Claim {
        user_id: ask.user_id.clone(),
        zone: ask.zone.clone(),
        charges: ask.charges.iter().filter_map(charge).collect(),
        attributes: ask.attributes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_store::quota::Above;
    use std::path::PathBuf;

    fn ask(user: &str, charges: &[(&str, i64)]) -> Ask {
        let charges = charges.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        Ask { zone: "z".into(), charges, ..Ask::new(&"p".into(), &user.into(), "", 0) }
    }

    #[test]
    fn rows_are_those_of_the_project_of_limits_above_and_of_the_users_that_ask() {
        let settings = Settings::new(PathBuf::new());
        let named = |pairs: &[(&str, i64)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let book = Book {
            used: named(&[("cores", 7)]),
            limits: named(&[("cores", 8)]),
            defaults: named(&[("networks", 3)]),
            above: vec![Above {
                id: "d".into(),
                limits: named(&[("networks", 9)]),
                used: named(&[("networks", 5)]),
            }],
            held: [
                (("u".into(), "z".into(), "cores".into()), 2),
                (("u".into(), "y".into(), "cores".into()), 3),
            ]
            .into(),
            user_limits: [(("u".into(), "cores".into()), 6)].into(),
            ..Book::default()
        };
        let (a, b) = (ask("u", &[("cores", 1), ("networks", 1)]), ask("v", &[("cores", 2)]));
        let question = question(&settings, &book, &[&a, &b]);
        let row = |kind, id: &str, zone: &str, name: &str| {
            let holder = Holder { kind, id: id.into(), zone: zone.into() };
            let asked = &question.book;
            let holder = asked.holders.iter().position(|h| *h == holder)? as u32;
            let resource = asked.resources.iter().position(|r| r.name == name)? as u32;
            let row = asked.rows.iter().find(|row| (row.holder, row.resource) == (holder, resource))?;
            Some((row.limit, row.used))
        };
        assert_eq!(row(HolderKind::Project, "p", "", "cores"), Some((8, 7)));
        assert_eq!(row(HolderKind::Project, "p", "", "networks"), Some((3, 0)));
        assert_eq!(row(HolderKind::Ancestor, "d", "", "networks"), Some((9, 5)));
        assert_eq!(row(HolderKind::Ancestor, "d", "", "cores"), None);
        assert_eq!(row(HolderKind::User, "u", "", "cores"), Some((6, 5)));
        assert_eq!(row(HolderKind::User, "u", "z", "cores"), Some((-1, 2)));
        assert_eq!(row(HolderKind::User, "v", "", "cores"), Some((-1, 0)));
        assert_eq!(row(HolderKind::User, "u", "", "networks"), None);
        assert_eq!(question.claims[1].charges, [Charge { resource: 0, amount: 2 }]);
    }
}
