//! A project with limits, usage and claims for a rule, and its verdicts held to the rules.

use crate::quota::{Book, Claims, Countable, Holder, HolderKind, Ledger, Rule, Verdict};

/// Who asks when nobody is named.
const PROJECT: &str = "00000000000000000000000000000000";
const USER: &str = "11111111111111111111111111111111";

/// A project with limits and usage, and what is asked for.
#[derive(Clone, Debug)]
pub struct Project {
    book: Book,
    claims: Claims,
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// Without limits, usage or claims.
    pub fn new() -> Self {
        Self::of(PROJECT)
    }

    /// A project with this id.
    pub fn of(id: &str) -> Self {
        let project = Holder { kind: HolderKind::Project, id: id.into(), zone: String::new() };
        let book = Book {
            resources: vec![],
            holders: vec![project],
            row_holders: vec![],
            row_resources: vec![],
            limits: vec![],
            used: vec![],
        };
        let claims = Claims {
            users: vec![],
            zones: vec![],
            charge_claims: vec![],
            charge_resources: vec![],
            charge_amounts: vec![],
            attribute_claims: vec![],
            attribute_names: vec![],
            attribute_values: vec![],
        };
        Self { book, claims }
    }

    /// Limit and usage of the project; −1 is no limit.
    #[must_use]
    pub fn row(mut self, resource: &str, limit: i64, used: i64) -> Self {
        self.write(0, resource, limit, used);
        self
    }

    /// Limit of a project or domain above it, and the usage of all that is below that.
    #[must_use]
    pub fn above(self, id: &str, resource: &str, limit: i64, used: i64) -> Self {
        self.holder(HolderKind::Ancestor, id, "", resource, limit, used)
    }

    /// Limit and usage of one user of the project.
    #[must_use]
    pub fn user(self, id: &str, resource: &str, limit: i64, used: i64) -> Self {
        self.holder(HolderKind::User, id, "", resource, limit, used)
    }

    /// What one user of the project holds in one zone.
    #[must_use]
    pub fn held(self, user: &str, zone: &str, resource: &str, used: i64) -> Self {
        self.holder(HolderKind::User, user, zone, resource, -1, used)
    }

    /// Each claim on this resource stands alone, and nothing is counted.
    #[must_use]
    pub fn per_claim(mut self, resource: &str) -> Self {
        let at = self.resource(resource) as usize;
        self.book.resources[at].per_claim = true;
        self
    }

    /// One more claim, of this user in this zone; what is asked for next belongs to it.
    #[must_use]
    pub fn claim(mut self, user: &str, zone: &str) -> Self {
        self.claims.users.push(user.into());
        self.claims.zones.push(zone.into());
        self
    }

    /// One more thing that the last claim would take.
    #[must_use]
    pub fn ask(self, resource: &str, amount: i64) -> Self {
        let (mut this, claim) = self.last();
        let at = this.resource(resource);
        this.claims.charge_claims.push(claim);
        this.claims.charge_resources.push(at);
        this.claims.charge_amounts.push(amount);
        this
    }

    /// What the last claim says of itself: `flavor`, `image`, `network` and so on.
    #[must_use]
    pub fn attribute(self, name: &str, value: &str) -> Self {
        let (mut this, claim) = self.last();
        this.claims.attribute_claims.push(claim);
        this.claims.attribute_names.push(name.into());
        this.claims.attribute_values.push(value.into());
        this
    }

    /// The verdict on each claim, as the core would take it. The error says which rule of the contract is broken.
    pub fn verdicts<R: Rule>(&self, rule: &R) -> Result<Vec<Verdict>, String> {
        let ask = || Ledger::new(self.book.clone(), self.claims.clone()).decide(rule);
        let verdicts = ask();
        if ask() != verdicts {
            return Err("the same question got another verdict".into());
        }
        for (claim, verdict) in verdicts.iter().enumerate() {
            let Verdict::Deny(denial) = verdict else { continue };
            let mut asked = self.claims.charge_claims.iter().zip(&self.claims.charge_resources);
            if !asked.any(|(of, resource)| {
                *of as usize == claim && self.book.resources[*resource as usize].name == denial.resource
            }) {
                return Err(format!("it denies {:?}, which was not asked for", denial.resource));
            }
            let reason = &denial.reason;
            if reason.is_empty() || reason.len() > 1024 || reason.chars().any(char::is_control) {
                return Err("the reason of a denial is 1 to 1,024 bytes of plain text".into());
            }
        }
        Ok(verdicts)
    }

    /// Whether each claim is allowed.
    pub fn allowed<R: Rule>(&self, rule: &R) -> Result<Vec<bool>, String> {
        Ok(self.verdicts(rule)?.iter().map(|verdict| matches!(verdict, Verdict::Allow)).collect())
    }

    /// With at least one claim, and the position of the last.
    fn last(self) -> (Self, u32) {
        let this = if self.claims.users.is_empty() { self.claim(USER, "") } else { self };
        let at = index(this.claims.users.len() - 1);
        (this, at)
    }

    fn holder(
        mut self,
        kind: HolderKind,
        id: &str,
        zone: &str,
        resource: &str,
        limit: i64,
        used: i64,
    ) -> Self {
        let holders = &mut self.book.holders;
        let known =
            holders.iter().position(|known| known.kind == kind && known.id == id && known.zone == zone);
        let at = known.unwrap_or_else(|| {
            holders.push(Holder { kind, id: id.into(), zone: zone.into() });
            holders.len() - 1
        });
        self.write(index(at), resource, limit, used);
        self
    }

    fn write(&mut self, holder: u32, resource: &str, limit: i64, used: i64) {
        let resource = self.resource(resource);
        self.book.row_holders.push(holder);
        self.book.row_resources.push(resource);
        self.book.limits.push(limit);
        self.book.used.push(used);
    }

    fn resource(&mut self, name: &str) -> u32 {
        let resources = &mut self.book.resources;
        let known = resources.iter().position(|known| known.name == name);
        index(known.unwrap_or_else(|| {
            resources.push(Countable { name: name.into(), per_claim: false });
            resources.len() - 1
        }))
    }
}

/// A rule with this configuration.
pub fn rule<R: Rule>(config: &str) -> Result<R, String> {
    R::init(crate::parse_config(config)?)
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Denial, Question};

    struct Deny(&'static str, &'static str);

    impl Rule for Deny {
        type Config = serde_json::Value;

        fn init(_: Self::Config) -> Result<Self, String> {
            Err("made by hand".into())
        }

        fn check(&self, _: &Question<'_>) -> Verdict {
            Verdict::Deny(Denial { resource: self.0.into(), reason: self.1.into() })
        }
    }

    #[test]
    fn a_denial_must_be_about_what_its_claim_asked_for() {
        let project = Project::new().row("cores", 20, 18).ask("cores", 5);
        assert!(project.verdicts(&Deny("cores", "no")).is_ok());
        assert!(project.verdicts(&Deny("ram", "no")).is_err());
        assert!(project.verdicts(&Deny("cores", "a\nb")).is_err());
        let later = project.claim("u", "").ask("ram", 1);
        assert!(later.verdicts(&Deny("cores", "no")).is_err());
    }

    #[test]
    fn claims_of_one_call_see_each_other() {
        struct Limits;
        impl Rule for Limits {
            type Config = ();
            fn init((): ()) -> Result<Self, String> {
                Ok(Self)
            }
            fn check(&self, question: &Question<'_>) -> Verdict {
                question.over_limit(true).map_or(Verdict::Allow, Verdict::Deny)
            }
        }
        let project =
            Project::new().row("cores", 4, 1).above("domain", "cores", 9, 7).user("u", "cores", 1, 0);
        let asked = project
            .claim("v", "")
            .ask("cores", 1)
            .claim("u", "")
            .ask("cores", 1)
            .claim("w", "")
            .ask("cores", 1);
        assert_eq!(asked.allowed(&Limits), Ok(vec![true, true, false]));
        let alone = Project::new().row("items", 2, 0).per_claim("items");
        let alone = alone.claim("u", "").ask("items", 2).claim("u", "").ask("items", 2).ask("items", 1);
        assert_eq!(alone.allowed(&Limits), Ok(vec![true, false]));
    }
}
