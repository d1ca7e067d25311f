//! May this project have more: here, whatever its limits allow, but few servers at once.

use canopy_sdk::quota::{Denial, Question, Rule, Verdict};

/// What an operator may set; `plugin.toml` has the schema and the defaults.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Servers in one request.
    at_once: i64,
}

impl Rule for Plugin {
    type Config = Self;

    fn init(config: Self) -> Result<Self, String> {
        if config.at_once > 0 { Ok(config) } else { Err("`at_once` must be above 0".into()) }
    }

    fn check(&self, question: &Question<'_>) -> Verdict {
        for (resource, asked) in question.asked() {
            // `None`: more than any number that there is.
            if resource == "instances" && asked.is_none_or(|asked| asked > self.at_once) {
                let reason = format!("At most {} servers may be created at once", self.at_once);
                return Verdict::Deny(Denial { resource: resource.into(), reason });
            }
        }
        // What limits mean in OpenStack: the project's, those above it, the user's.
        question.over_limit(false).map_or(Verdict::Allow, Verdict::Deny)
    }
}

canopy_sdk::export_rule!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock::{self, Project};

    #[test]
    fn limits_hold_and_few_servers_come_at_once() {
        let rule: Plugin = mock::rule(r#"{"at_once": 3}"#).unwrap();
        let project = Project::new().row("instances", 10, 2).row("cores", 20, 18);
        let allowed = |asked: Project| asked.allowed(&rule).unwrap();
        assert_eq!(allowed(project.clone().ask("instances", 3).ask("cores", 2)), [true]);
        assert_eq!(allowed(project.clone().ask("instances", 4)), [false]);
        assert_eq!(allowed(project.ask("cores", 3)), [false]);
        assert!(mock::rule::<Plugin>(r#"{"at_once": 0}"#).is_err());
    }
}
