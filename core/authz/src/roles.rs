//! Which roles imply which: admin > manager > member > reader. Expanded before Cedar is asked, so that a
//! policy names the least role that suffices.

/// The roles that every cloud has, strongest first. `service` stands apart and implies nothing.
pub const BUILT_IN: [&str; 5] = ["admin", "manager", "member", "reader", "service"];

/// The role that `name` implies directly.
pub fn implied(name: &str) -> Option<&'static str> {
    match name {
        "admin" => Some("manager"),
        "manager" => Some("member"),
        "member" => Some("reader"),
        _ => None,
    }
}

/// `held` and everything it implies: sorted, without repetition.
pub fn expand<'a>(held: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all = std::collections::BTreeSet::new();
    for name in held {
        let mut next = Some(name);
        while let Some(name) = next {
            all.insert(name.to_owned());
            next = implied(name);
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_brings_the_weaker_ones_and_nothing_else() {
        assert_eq!(expand(["admin"]), ["admin", "manager", "member", "reader"]);
        assert_eq!(expand(["member", "reader"]), ["member", "reader"]);
        assert_eq!(expand(["service"]), ["service"]);
        assert_eq!(expand(["Admin", "auditor"]), ["Admin", "auditor"]);
        assert!(expand([]).is_empty());
    }
}
