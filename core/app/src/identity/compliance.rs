//! What passwords must be, how long they last, and what follows failed logins: keystone's
//! `[security_compliance]`. Decisions only.

use super::password::Secret;
use canopy_store::identity::User;
use canopy_types::{Error, Result, Timestamp};

const DAY: i64 = 86_400;
/// Earlier passwords that can be kept from coming back: each costs a hash to compare.
pub const MAX_HISTORY: u32 = 10;

/// 0 and none switch a rule off.
#[derive(Clone, Debug)]
pub struct Compliance {
    /// Failures in a row that lock a user out.
    pub lockout_failure_attempts: u32,
    /// How long, after the last failure.
    pub lockout_seconds: i64,
    /// Failures per source without a pause of a minute; then 429.
    pub failed_logins_per_source: u32,
    /// What every new password must match.
    pub password_regex: Option<regex::Regex>,
    /// The same for people.
    pub password_regex_description: String,
    /// New passwords must differ from so many before, the present one included.
    pub unique_last_password_count: u32,
    /// Before a user may change a new password again, days.
    pub minimum_password_age: i64,
    /// How long a password lasts, days.
    pub password_expires_days: i64,
}

impl Default for Compliance {
    fn default() -> Self {
        Self {
            lockout_failure_attempts: 0,
            lockout_seconds: 1_800,
            failed_logins_per_source: 300,
            password_regex: None,
            password_regex_description: String::new(),
            unique_last_password_count: 0,
            minimum_password_age: 0,
            password_expires_days: 0,
        }
    }
}

impl Compliance {
    /// Whether a new password is good enough.
    pub fn check(&self, password: &Secret) -> Result<()> {
        match &self.password_regex {
            Some(regex) if !regex.is_match(&password.0) => {
                let detail = if self.password_regex_description.is_empty() {
                    "ask the operator what it must look like"
                } else {
                    &self.password_regex_description
                };
                Err(Error::bad_request(
                    "identity.password_requirements",
                    format!("The password does not match the requirements: {detail}."),
                ))
            }
            _ => Ok(()),
        }
    }

    /// When a user's password ends; `None` is never.
    pub fn expires_at(&self, user: &User) -> Option<Timestamp> {
        let forever = self.password_expires_days <= 0
            || user.options.ignore_password_expiry
            || user.password_changed_at == Timestamp(0);
        (!forever).then(|| user.password_changed_at.plus_seconds(self.password_expires_days * DAY))
    }

    /// Whether a user may change its own password now.
    pub fn may_change(&self, user: &User, now: Timestamp) -> Result<()> {
        if user.options.lock_password {
            return Err(Error::forbidden(
                "identity.password_locked",
                "You cannot change your password at this time due to password policy. Ask an administrator.",
            ));
        }
        let earliest = user.password_changed_at.plus_seconds(self.minimum_password_age.max(0) * DAY);
        if self.minimum_password_age > 0 && user.password_changed_at != Timestamp(0) && now < earliest {
            return Err(Error::bad_request(
                "identity.password_age",
                format!(
                    "You cannot change your password at this time due to the minimum password age. Once you change \
                     your password, it must be used for {} day(s) before it can be changed. Try again after {}.",
                    self.minimum_password_age,
                    earliest.seconds_z()
                ),
            ));
        }
        Ok(())
    }
}

/// Compiles what passwords must match; its size is bounded.
pub fn password_regex(text: &str) -> std::result::Result<regex::Regex, String> {
    regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_store::identity::UserOptions;

    fn user(changed: i64, options: UserOptions) -> User {
        User {
            id: "u".into(),
            domain_id: "d".into(),
            name: "u".into(),
            description: String::new(),
            email: None,
            tokens_valid_after: Timestamp(0),
            enabled: true,
            default_project_id: None,
            options,
            password_changed_at: Timestamp(changed),
        }
    }

    #[test]
    fn passwords_expire_unless_the_user_is_spared() {
        let rules = Compliance { password_expires_days: 2, ..Compliance::default() };
        assert_eq!(
            rules.expires_at(&user(5, UserOptions::default())),
            Some(Timestamp(5).plus_seconds(2 * DAY))
        );
        let spared = UserOptions { ignore_password_expiry: true, ..UserOptions::default() };
        assert_eq!(rules.expires_at(&user(5, spared)), None);
        assert_eq!(Compliance::default().expires_at(&user(5, UserOptions::default())), None);
        assert_eq!(rules.expires_at(&user(0, UserOptions::default())), None, "no password");
    }

    #[test]
    fn a_locked_or_young_password_stays() {
        let rules = Compliance { minimum_password_age: 1, ..Compliance::default() };
        let young = user(1, UserOptions::default());
        assert_eq!(rules.may_change(&young, Timestamp(2)).unwrap_err().code, "identity.password_age");
        assert!(rules.may_change(&young, Timestamp(1).plus_seconds(DAY)).is_ok());
        let locked = user(1, UserOptions { lock_password: true, ..UserOptions::default() });
        assert_eq!(
            Compliance::default().may_change(&locked, Timestamp(2)).unwrap_err().code,
            "identity.password_locked"
        );
    }

    #[test]
    fn a_password_must_match_and_is_never_quoted() {
        let rules = Compliance {
            password_regex: Some(regex::Regex::new("^.{8,}$").unwrap()),
            password_regex_description: "at least 8 characters".into(),
            ..Compliance::default()
        };
        assert!(rules.check(&Secret("long enough".into())).is_ok());
        let error = rules.check(&Secret("s3cr3t".into())).unwrap_err();
        assert!(error.message.contains("at least 8 characters") && !error.message.contains("s3cr3t"));
    }
}
