//! Limits as ever, and no more than so many GPUs of one user in one availability zone.

use canopy_sdk::quota::{Denial, HolderKind, Question, Rule, Verdict};

/// The rule, which is its settings.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuCap {
    /// GPUs that one user may hold in one zone.
    most: i64,
    /// Resource classes that are GPUs.
    classes: Vec<String>,
    /// Projects that this is not for.
    exempt: Vec<String>,
}

impl Rule for GpuCap {
    type Config = Self;

    fn init(config: Self) -> Result<Self, String> {
        if config.classes.is_empty() { Err("name at least one of `classes`".into()) } else { Ok(config) }
    }

    fn check(&self, question: &Question<'_>) -> Verdict {
        match question.over_limit(false).or_else(|| self.too_many(question)) {
            Some(denial) => Verdict::Deny(denial),
            None => Verdict::Allow,
        }
    }
}

impl GpuCap {
    fn too_many(&self, question: &Question<'_>) -> Option<Denial> {
        if self.exempt.iter().any(|project| project == question.project()) {
            return None;
        }
        // Of all kinds together: a user does not get around it with another kind of card.
        let (mut held, mut asked) = (0_i64, 0_i64);
        let mut first = None;
        for name in self.classes.iter().map(|class| format!("class:{class}")) {
            held = held.saturating_add(question.held_in_zone(HolderKind::User, &name));
            for (resource, amount) in question.asked().into_iter().filter(|(resource, _)| *resource == name) {
                first.get_or_insert(resource);
                asked = asked.saturating_add(amount.unwrap_or(i64::MAX));
            }
        }
        let resource = first.filter(|_| asked > 0 && held.saturating_add(asked) > self.most)?;
        let zone = question.zone();
        let reason = format!(
            "At most {} GPUs in zone {zone} for one user: Requested {asked}, but already used {held}. \
             Delete servers with GPUs there, or ask for another zone.",
            self.most
        );
        Some(Denial { resource: resource.to_owned(), reason })
    }
}

canopy_sdk::export_rule!(GpuCap);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock::Project;

    /// The user `u` holds so many cards of each class in zone `a`; each claim asks for cards of one class there.
    fn ask(project: &str, zone: &str, held: [i64; 2], claims: &[(&str, i64)]) -> Vec<bool> {
        let project = Project::of(project)
            .row("cores", 5, 0)
            .held("u", "a", CUSTOM, held[0])
            .held("u", "a", VGPU, held[1]);
        let asked = claims
            .iter()
            .fold(project, |project, (resource, amount)| project.claim("u", zone).ask(resource, *amount));
        let rule = GpuCap {
            most: 4,
            classes: vec!["VGPU".into(), "CUSTOM_GPU".into()],
            exempt: vec!["free".into()],
        };
        asked.allowed(&rule).unwrap()
    }

    const CUSTOM: &str = "class:CUSTOM_GPU";
    const VGPU: &str = "class:VGPU";

    #[test]
    fn cards_of_all_kinds_count_together_in_their_zone() {
        assert_eq!(ask("p", "a", [2, 1], &[(CUSTOM, 1)]), [true]);
        assert_eq!(ask("p", "a", [2, 1], &[(CUSTOM, 2)]), [false]);
        assert_eq!(ask("p", "a", [2, 1], &[(VGPU, 1), (CUSTOM, 1)]), [true, false]);
        assert_eq!(ask("p", "b", [2, 2], &[(CUSTOM, 4)]), [true]);
        assert_eq!(ask("p", "a", [0, 0], &[(CUSTOM, i64::MAX)]), [false]);
    }

    #[test]
    fn exempt_projects_have_their_limits_only_and_others_have_both() {
        assert_eq!(ask("free", "a", [2, 2], &[(CUSTOM, 9), ("cores", 6)]), [true, false]);
        assert_eq!(ask("p", "a", [4, 4], &[("cores", 5), ("cores", 1)]), [true, false]);
    }

    #[test]
    fn without_classes_it_is_no_rule() {
        assert!(GpuCap::init(GpuCap { most: 1, classes: vec![], exempt: vec![] }).is_err());
    }
}
