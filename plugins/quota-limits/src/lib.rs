//! OpenStack's quota semantics: a limit per resource, −1 for none, and used + asked must not exceed it: of the
//! project, of the projects and the domain above it (keystone's strict two-level limits, at any depth), and of
//! the user where nova has one.

use canopy_sdk::quota::{Question, Rule, Verdict};

/// The rule.
pub struct Limits {
    unlisted: Unlisted,
}

/// What an operator may set.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For a resource that the project has no limit for.
    pub unlisted: Unlisted,
}

/// See [`Config::unlisted`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlisted {
    /// As if it were unlimited.
    #[default]
    Allow,
    /// As if its limit were 0.
    Deny,
}

impl Rule for Limits {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        Ok(Self { unlisted: config.unlisted })
    }

    fn check(&self, question: &Question<'_>) -> Verdict {
        question.over_limit(self.unlisted == Unlisted::Deny).map_or(Verdict::Allow, Verdict::Deny)
    }
}

canopy_sdk::export_rule!(Limits);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock::Project;

    /// Rows of the project: (resource, limit, used). One claim.
    fn ask(unlisted: Unlisted, rows: &[(&str, i64, i64)], charges: &[(&str, i64)]) -> Verdict {
        let project = rows.iter().fold(Project::new(), |project, row| project.row(row.0, row.1, row.2));
        let asked = charges.iter().fold(project, |project, charge| project.ask(charge.0, charge.1));
        asked.verdicts(&Limits { unlisted }).unwrap().remove(0)
    }

    fn denied(verdict: Verdict) -> (String, String) {
        match verdict {
            Verdict::Deny(denial) => (denial.resource, denial.reason),
            Verdict::Allow => panic!("allowed"),
        }
    }

    #[test]
    fn up_to_the_limit_and_no_further() {
        let rows = [("cores", 20, 18)];
        assert_eq!(ask(Unlisted::Allow, &rows, &[("cores", 2)]), Verdict::Allow);
        let (resource, reason) = denied(ask(Unlisted::Allow, &rows, &[("cores", 5)]));
        assert_eq!(resource, "cores");
        assert_eq!(reason, "Quota exceeded for cores: Requested 5, but already used 18 of 20 cores");
    }

    #[test]
    fn several_at_once_are_told_in_one_sentence_and_charges_add_up() {
        let rows = [("instances", 10, 9), ("cores", 20, 18), ("ram", 100, 0)];
        let charges = [("instances", 1), ("cores", 3), ("ram", 64), ("instances", 1)];
        let (resource, reason) = denied(ask(Unlisted::Allow, &rows, &charges));
        assert_eq!(resource, "instances");
        assert_eq!(
            reason,
            "Quota exceeded for instances, cores: Requested 2, 3, but already used 9, 18 of 10, 20 instances, cores"
        );
    }

    #[test]
    fn minus_one_is_no_limit_and_giving_back_is_always_allowed() {
        assert_eq!(ask(Unlisted::Deny, &[("ram", -1, i64::MAX)], &[("ram", i64::MAX)]), Verdict::Allow);
        assert_eq!(ask(Unlisted::Deny, &[("ram", 10, 50)], &[("ram", -1), ("ram", 0)]), Verdict::Allow);
    }

    #[test]
    fn sums_beyond_all_numbers_are_over_the_limit() {
        let full = [("ram", i64::MAX, i64::MAX)];
        denied(ask(Unlisted::Allow, &full, &[("ram", 1)]));
        denied(ask(Unlisted::Allow, &[("ram", i64::MAX, 0)], &[("ram", i64::MAX), ("ram", i64::MAX)]));
        // A usage below zero is the core's mistake, and must not make room without end.
        assert_eq!(ask(Unlisted::Allow, &[("ram", 10, i64::MIN)], &[("ram", 1)]), Verdict::Allow);
    }

    #[test]
    fn an_unlisted_resource_goes_by_the_setting() {
        assert_eq!(ask(Unlisted::Allow, &[], &[("widgets", 1)]), Verdict::Allow);
        assert_eq!(denied(ask(Unlisted::Deny, &[], &[("widgets", 1)])).0, "widgets");
    }

    #[test]
    fn a_reason_stays_within_its_bound() {
        let name = "x".repeat(300);
        assert!(denied(ask(Unlisted::Deny, &[], &[(&name, 1)])).1.len() <= 1024);
        let names: Vec<String> = (0..900).map(|i| format!("{i}-{name}")).collect();
        let charges: Vec<(&str, i64)> = names.iter().map(|n| (n.as_str(), i64::MAX)).collect();
        assert!(denied(ask(Unlisted::Deny, &[], &charges)).1.len() <= 1024);
    }
}
