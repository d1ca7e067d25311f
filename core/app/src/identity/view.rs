//! Who is who, in memory: what a token is worth right now, without asking the database.

use super::delegation::Delegation;
use super::indexed::Indexed;
use super::token::{Claims, audit_text};
use canopy_store::identity::application_credentials::ApplicationCredential;
use canopy_store::identity::trusts::Trust;
use canopy_store::identity::{Domain, Project, Reach, Role, User};
use canopy_types::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// One consistent state. Replaced as a whole, never changed.
#[derive(Clone, Default)]
pub struct View {
    pub directory: Arc<Indexed>,
    pub revoked: Arc<Revoked>,
}

#[derive(Default)]
pub struct Revoked {
    pub revision: i64,
    pub audit_ids: HashSet<String>,
}

/// What a token is worth at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub user: User,
    pub user_domain: Domain,
    pub place: Place,
    /// Roles held there, implied ones included, strongest first.
    pub roles: Vec<Role>,
    /// By whose leave, where not by the user's own.
    pub lent: Option<Lent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lent {
    ApplicationCredential(ApplicationCredential),
    Trust(Trust),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Unscoped,
    Project(Project, Domain),
    Domain(Domain),
    System,
}

impl Place {
    /// The id of what it is; empty for unscoped, `all` for the system.
    pub fn id(&self) -> &str {
        match self {
            Self::Unscoped => "",
            Self::Project(project, _) => project.id.as_str(),
            Self::Domain(domain) => domain.id.as_str(),
            Self::System => "all",
        }
    }
}

impl View {
    /// What `claims` are worth at `now`; `None` when anything speaks against them.
    pub fn standing(&self, claims: &Claims, now: Timestamp) -> Option<Arc<Standing>> {
        if now >= claims.expires || self.revoked.audit_ids.contains(&audit_text(&claims.audit_id)) {
            return None;
        }
        let user = self.directory.active_user(&claims.user_id)?;
        if claims.issued <= user.tokens_valid_after {
            return None;
        }
        match &claims.delegation {
            Delegation::None => self.directory.standing(user, claims.scope.as_ref()),
            Delegation::ApplicationCredential(id) => self.by_credential(claims, id, user, now).map(Arc::new),
            Delegation::Trust(id) => self.by_trust(claims, id, user, now).map(Arc::new),
        }
    }

    fn by_credential(&self, claims: &Claims, id: &str, user: &User, now: Timestamp) -> Option<Standing> {
        let credential = self.directory.credential(id)?;
        let project = &credential.project_id;
        let own =
            credential.user_id == user.id && claims.scope.as_ref() == Some(&Reach::Project(project.clone()));
        if !own || credential.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        let standing = self.directory.lent(user, &user.id, project, &credential.roles)?;
        Some(Standing { lent: Some(Lent::ApplicationCredential(credential.clone())), ..standing })
    }

    fn by_trust(&self, claims: &Claims, id: &str, user: &User, now: Timestamp) -> Option<Standing> {
        let trust = self.directory.trust(id)?;
        let bearer = if trust.impersonation { &trust.trustor_id } else { &trust.trustee_id };
        let own =
            *bearer == user.id && claims.scope.as_ref() == Some(&Reach::Project(trust.project_id.clone()));
        if !own || trust.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        // Whichever of the two gets another password or is disabled: the token ends.
        for party in [&trust.trustor_id, &trust.trustee_id] {
            if claims.issued <= self.directory.active_user(party)?.tokens_valid_after {
                return None;
            }
        }
        let standing = self.directory.lent(user, &trust.trustor_id, &trust.project_id, &trust.roles)?;
        Some(Standing { lent: Some(Lent::Trust(trust.clone())), ..standing })
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::Methods;
    use super::*;
    use canopy_store::identity::directory::Directory;
    use canopy_store::identity::{Actor, Assignment, Group};
    use canopy_types::UserId;

    fn domain(id: &str, enabled: bool) -> Domain {
        Domain { id: id.into(), name: id.to_uppercase(), description: String::new(), enabled }
    }

    fn directory() -> Directory {
        let project = |id: &str, domain: &str, enabled| Project {
            id: id.into(),
            domain_id: domain.into(),
            parent_id: domain.into(),
            name: format!("name of {id}"),
            description: String::new(),
            enabled,
            tags: Vec::new(),
        };
        let user = |id: &str, domain: &str, enabled| User {
            id: id.into(),
            domain_id: domain.into(),
            name: id.into(),
            description: String::new(),
            email: None,
            tokens_valid_after: Timestamp(100),
            enabled,
            default_project_id: None,
            options: Default::default(),
            password_changed_at: Timestamp(0),
        };
        let role = |name: &str| Role {
            id: format!("id-{name}").into(),
            domain_id: None,
            name: name.into(),
            description: String::new(),
        };
        let held = |user: &str, reach, role: &str| Assignment {
            actor: Actor::User(user.into()),
            reach,
            role_id: format!("id-{role}").into(),
            inherited: false,
        };
        Directory {
            revision: 1,
            domains: vec![domain("on", true), domain("off", false)],
            projects: vec![
                project("p", "on", true),
                project("closed", "on", false),
                project("in-off", "off", true),
            ],
            users: vec![user("u", "on", true), user("gone", "on", false), user("in-off", "off", true)],
            roles: ["member", "reader", "admin", "manager"].map(role).to_vec(),
            assignments: vec![
                held("u", Reach::Project("p".into()), "member"),
                held("u", Reach::Project("closed".into()), "member"),
                held("u", Reach::Project("in-off".into()), "member"),
                held("u", Reach::Domain("off".into()), "reader"),
                held("gone", Reach::System, "admin"),
                held("in-off", Reach::System, "admin"),
            ],
            ..Directory::default()
        }
    }

    fn claims(user: &str, scope: Option<Reach>) -> Claims {
        Claims {
            user_id: user.into(),
            scope,
            methods: Methods::PASSWORD,
            issued: Timestamp(200),
            expires: Timestamp(300),
            audit_id: [7; 16],
            chain_id: [7; 16],
            delegation: Delegation::None,
        }
    }

    fn view() -> View {
        View { directory: Arc::new(Indexed::new(directory())), revoked: Arc::default() }
    }

    #[test]
    fn roles_come_from_the_view_with_what_they_imply() {
        let standing =
            view().standing(&claims("u", Some(Reach::Project("p".into()))), Timestamp(250)).unwrap();
        let names: Vec<&str> = standing.roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["member", "reader"]);
        assert!(matches!(standing.place, Place::Project(..)));
        let unscoped = view().standing(&claims("u", None), Timestamp(250)).unwrap();
        assert!(unscoped.roles.is_empty());
    }

    #[test]
    fn what_is_disabled_absent_or_without_role_is_worth_nothing() {
        let worth = |user: &str, scope| view().standing(&claims(user, scope), Timestamp(250)).is_some();
        assert!(!worth("u", Some(Reach::Project("closed".into()))));
        assert!(!worth("u", Some(Reach::Project("in-off".into()))));
        assert!(!worth("u", Some(Reach::Project("absent".into()))));
        assert!(!worth("u", Some(Reach::Domain("on".into()))));
        assert!(!worth("u", Some(Reach::Domain("off".into()))));
        assert!(!worth("u", Some(Reach::System)));
        assert!(!worth("gone", None) && !worth("gone", Some(Reach::System)));
        assert!(!worth("in-off", None) && !worth("in-off", Some(Reach::System)));
        assert!(!worth("absent", None));
    }

    #[test]
    fn expiry_revocation_and_an_older_password_end_a_token() {
        let claims = claims("u", None);
        assert!(view().standing(&claims, Timestamp(299)).is_some());
        assert!(view().standing(&claims, Timestamp(300)).is_none());
        let old = Claims { issued: Timestamp(100), ..claims.clone() };
        assert!(view().standing(&old, Timestamp(250)).is_none());
        let revoked = Revoked { revision: 1, audit_ids: HashSet::from([audit_text(&claims.audit_id)]) };
        let view = View { revoked: Arc::new(revoked), ..view() };
        assert!(view.standing(&claims, Timestamp(250)).is_none());
    }

    #[test]
    fn lists_show_what_one_can_log_in_to() {
        let view = view();
        let ids: Vec<String> = view.directory.projects_of(&"u".into()).into_iter().map(|p| p.id.0).collect();
        assert_eq!(ids, ["p"]);
        assert!(view.directory.domains_of(&"u".into()).is_empty());
        assert!(view.directory.reaches_system(&"gone".into()) && !view.directory.reaches_system(&"u".into()));
    }

    /// What was handed on counts only for whom, where and while it may.
    #[test]
    fn what_is_lent_ends_with_its_roles_its_time_and_its_people() {
        let credential = ApplicationCredential {
            id: "c".into(),
            user_id: "u".into(),
            project_id: "p".into(),
            name: "c".into(),
            description: String::new(),
            expires_at: Some(Timestamp(280)),
            unrestricted: false,
            roles: vec!["id-reader".into()],
            rules: None,
        };
        let trust = Trust {
            id: "t".into(),
            trustor_id: "u".into(),
            trustee_id: "v".into(),
            project_id: "p".into(),
            impersonation: false,
            expires_at: None,
            remaining_uses: Some(0),
            redelegation_count: 0,
            redelegated_id: None,
            roles: vec!["id-member".into()],
        };
        let all = |change: fn(&mut Directory)| {
            let mut all = directory();
            let mut trustee = all.users[0].clone();
            (trustee.id, trustee.name) = ("v".into(), "v".into());
            all.users.push(trustee);
            (all.credentials, all.trusts) = (vec![credential.clone()], vec![trust.clone()]);
            change(&mut all);
            View { directory: Arc::new(Indexed::new(all)), revoked: Arc::default() }
        };
        let project = Some(Reach::Project("p".into()));
        let by = |user: &str, delegation| Claims { delegation, ..claims(user, project.clone()) };
        let with_credential = by("u", Delegation::ApplicationCredential("c".into()));
        let with_trust = by("v", Delegation::Trust("t".into()));
        let roles = |view: View, claims: &Claims, now| {
            let standing = view.standing(claims, Timestamp(now))?;
            Some(standing.roles.iter().map(|role| role.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(roles(all(|_| {}), &with_credential, 250), Some(vec!["reader".into()]));
        assert_eq!(roles(all(|_| {}), &with_trust, 250), Some(vec!["member".into(), "reader".into()]));
        assert_eq!(roles(all(|_| {}), &with_credential, 280), None, "expired");
        assert_eq!(roles(all(|_| {}), &by("v", Delegation::ApplicationCredential("c".into())), 250), None);
        assert_eq!(roles(all(|_| {}), &by("u", Delegation::Trust("t".into())), 250), None);
        let elsewhere = Claims { scope: None, ..with_trust.clone() };
        assert_eq!(roles(all(|_| {}), &elsewhere, 250), None);
        let ends: [fn(&mut Directory); 4] = [
            |all| all.assignments.clear(),
            |all| all.projects[0].enabled = false,
            |all| all.users[0].enabled = false,
            |all| (all.credentials, all.trusts) = Default::default(),
        ];
        for end in ends {
            assert_eq!(roles(all(end), &with_credential, 250), None);
            assert_eq!(roles(all(end), &with_trust, 250), None);
        }
        assert_eq!(
            roles(all(|all| all.users[0].tokens_valid_after = Timestamp(200)), &with_trust, 250),
            None
        );
    }

    fn role_names(directory: Directory, user: &str, reach: Reach) -> Vec<String> {
        let roles = Indexed::new(directory).effective_roles(&UserId::from(user), &reach);
        roles.into_iter().map(|role| role.name).collect()
    }

    #[test]
    fn a_group_gives_its_roles_to_its_members_only() {
        let mut all = directory();
        all.groups = vec![Group {
            id: "g".into(),
            domain_id: "on".into(),
            name: "g".into(),
            description: String::new(),
        }];
        all.members = vec![("g".into(), "gone".into())];
        all.assignments.push(Assignment {
            actor: Actor::Group("g".into()),
            reach: Reach::Project("p".into()),
            role_id: "id-reader".into(),
            inherited: false,
        });
        assert_eq!(role_names(all.clone(), "gone", Reach::Project("p".into())), ["reader"]);
        assert!(role_names(all, "in-off", Reach::Project("p".into())).is_empty());
    }

    #[test]
    fn inherited_roles_count_below_and_not_at_the_top() {
        let child = |id: &str, parent: &str| Project {
            id: id.into(),
            domain_id: "on".into(),
            parent_id: parent.into(),
            name: id.into(),
            description: String::new(),
            enabled: true,
            tags: Vec::new(),
        };
        let mut all = directory();
        all.projects.extend([child("c", "p"), child("cc", "c"), child("x", "on")]);
        let inherited = |user: &str, reach, role: &str| Assignment {
            actor: Actor::User(user.into()),
            reach,
            role_id: format!("id-{role}").into(),
            inherited: true,
        };
        all.assignments = vec![
            inherited("u", Reach::Project("p".into()), "member"),
            inherited("gone", Reach::Domain("on".into()), "reader"),
        ];
        let at = |user: &str, id: &str| role_names(all.clone(), user, Reach::Project(id.into()));
        assert_eq!(at("u", "cc"), ["member", "reader"]);
        assert_eq!(at("u", "c"), ["member", "reader"]);
        assert!(at("u", "p").is_empty() && at("u", "x").is_empty());
        assert_eq!(at("gone", "x"), ["reader"]);
        assert!(at("gone", "in-off").is_empty());
        assert!(role_names(all.clone(), "gone", Reach::Domain("on".into())).is_empty());
        let ids: Vec<String> =
            Indexed::new(all).held_projects(&"u".into()).into_iter().map(|project| project.id.0).collect();
        assert_eq!(ids, ["c", "cc"]);
    }

    #[test]
    fn stored_implications_add_to_the_built_in_ones_and_a_loop_ends() {
        let mut all = directory();
        let role = |name: &str| Role {
            id: format!("id-{name}").into(),
            domain_id: None,
            name: name.into(),
            description: String::new(),
        };
        all.roles.extend([role("auditor"), role("watcher")]);
        all.implications = vec![
            ("id-reader".into(), "id-auditor".into()),
            ("id-auditor".into(), "id-watcher".into()),
            ("id-watcher".into(), "id-auditor".into()),
        ];
        let names = role_names(all, "u", Reach::Project("p".into()));
        assert_eq!(names, ["member", "reader", "auditor", "watcher"]);
    }
}
