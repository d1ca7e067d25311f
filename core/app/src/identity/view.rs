//! Who is who, in memory: what a token is worth right now, without asking the database.

use super::token::{Claims, audit_text};
use canopy_authz::roles;
use canopy_store::identity::directory::Directory;
use canopy_store::identity::{Assignment, Domain, Project, Reach, Role, User};
use canopy_types::{DomainId, ProjectId, RoleId, Timestamp, UserId};
use std::collections::{HashMap, HashSet};
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

#[derive(Default)]
pub struct Indexed {
    pub revision: i64,
    domains: HashMap<DomainId, Domain>,
    projects: HashMap<ProjectId, Project>,
    users: HashMap<UserId, User>,
    roles: HashMap<RoleId, Role>,
    held: HashMap<UserId, Vec<(Reach, RoleId)>>,
}

/// What a token is worth at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub user: User,
    pub user_domain: Domain,
    pub place: Place,
    /// Roles held there, implied ones included, strongest first.
    pub roles: Vec<Role>,
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
    pub fn standing(&self, claims: &Claims, now: Timestamp) -> Option<Standing> {
        if now >= claims.expires || self.revoked.audit_ids.contains(&audit_text(&claims.audit_id)) {
            return None;
        }
        let user = self.directory.active_user(&claims.user_id)?;
        if claims.issued <= user.tokens_valid_after {
            return None;
        }
        self.directory.standing(user, claims.scope.as_ref())
    }
}

impl Indexed {
    pub fn new(directory: Directory) -> Self {
        let mut held: HashMap<UserId, Vec<(Reach, RoleId)>> = HashMap::new();
        for Assignment { user_id, reach, role_id } in directory.assignments {
            held.entry(user_id).or_default().push((reach, role_id));
        }
        Self {
            revision: directory.revision,
            domains: directory.domains.into_iter().map(|domain| (domain.id.clone(), domain)).collect(),
            projects: directory.projects.into_iter().map(|project| (project.id.clone(), project)).collect(),
            users: directory.users.into_iter().map(|user| (user.id.clone(), user)).collect(),
            roles: directory.roles.into_iter().map(|role| (role.id.clone(), role)).collect(),
            held,
        }
    }

    /// A user that is enabled, in a domain that is.
    pub fn active_user(&self, id: &UserId) -> Option<&User> {
        self.users.get(id).filter(|user| user.enabled && self.active_domain(&user.domain_id).is_some())
    }

    fn active_domain(&self, id: &DomainId) -> Option<&Domain> {
        self.domains.get(id).filter(|domain| domain.enabled)
    }

    fn active_project(&self, id: &ProjectId) -> Option<(&Project, &Domain)> {
        let project = self.projects.get(id).filter(|project| project.enabled)?;
        Some((project, self.active_domain(&project.domain_id)?))
    }

    /// `None` unless the scope exists, is enabled, and the user holds a role there.
    pub fn standing(&self, user: &User, scope: Option<&Reach>) -> Option<Standing> {
        let place = match scope {
            None => Place::Unscoped,
            Some(Reach::Project(id)) => {
                let (project, domain) = self.active_project(id)?;
                Place::Project(project.clone(), domain.clone())
            }
            Some(Reach::Domain(id)) => Place::Domain(self.active_domain(id)?.clone()),
            Some(Reach::System) => Place::System,
        };
        let roles = scope.map(|reach| self.effective_roles(&user.id, reach)).unwrap_or_default();
        if scope.is_some() && roles.is_empty() {
            return None;
        }
        let user_domain = self.active_domain(&user.domain_id)?.clone();
        Some(Standing { user: user.clone(), user_domain, place, roles })
    }

    /// Roles a user holds somewhere, implied ones included, strongest first.
    fn effective_roles(&self, user: &UserId, reach: &Reach) -> Vec<Role> {
        let held = self.held.get(user).into_iter().flatten().filter(|(at, _)| at == reach);
        let names: Vec<&str> =
            held.filter_map(|(_, id)| self.roles.get(id)).map(|role| role.name.as_str()).collect();
        let expanded = roles::expand(names);
        let mut found: Vec<Role> =
            self.roles.values().filter(|role| expanded.contains(&role.name)).cloned().collect();
        found.sort_by_key(|role| {
            let rank = roles::BUILT_IN.iter().position(|name| *name == role.name);
            (rank.unwrap_or(usize::MAX), role.name.clone())
        });
        found
    }

    /// Enabled projects in which the user holds a role, by name.
    pub fn projects_of(&self, user: &UserId) -> Vec<Project> {
        let mut projects = self.held_projects(user);
        projects.retain(|project| self.active_project(&project.id).is_some());
        projects
    }

    /// Projects in which the user holds a role, disabled ones too, by name.
    pub fn held_projects(&self, user: &UserId) -> Vec<Project> {
        let mut projects: Vec<Project> = self
            .reaches(user)
            .filter_map(|reach| match reach {
                Reach::Project(id) => self.projects.get(id).cloned(),
                Reach::Domain(_) | Reach::System => None,
            })
            .collect();
        projects.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        projects.dedup_by(|a, b| a.id == b.id);
        projects
    }

    /// Enabled domains in which the user holds a role, by name.
    pub fn domains_of(&self, user: &UserId) -> Vec<Domain> {
        let mut domains: Vec<Domain> = self
            .reaches(user)
            .filter_map(|reach| match reach {
                Reach::Domain(id) => self.active_domain(id).cloned(),
                Reach::Project(_) | Reach::System => None,
            })
            .collect();
        domains.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        domains.dedup_by(|a, b| a.id == b.id);
        domains
    }

    pub fn reaches_system(&self, user: &UserId) -> bool {
        self.reaches(user).any(|reach| *reach == Reach::System)
    }

    fn reaches(&self, user: &UserId) -> impl Iterator<Item = &Reach> {
        self.held.get(user).into_iter().flatten().map(|(reach, _)| reach)
    }

    /// Every direct assignment whose user, role and scope still exist.
    pub fn assignments(&self) -> Vec<(&User, Place, &Role)> {
        let mut all: Vec<(&User, Place, &Role)> = self
            .held
            .iter()
            .flat_map(|(user, held)| held.iter().map(move |(reach, role)| (user, reach, role)))
            .filter_map(|(user, reach, role)| {
                Some((self.users.get(user)?, self.place(reach)?, self.roles.get(role)?))
            })
            .collect();
        all.sort_by(|a, b| (a.1.id(), &a.0.id, &a.2.name).cmp(&(b.1.id(), &b.0.id, &b.2.name)));
        all
    }

    fn place(&self, reach: &Reach) -> Option<Place> {
        Some(match reach {
            Reach::Project(id) => {
                let project = self.projects.get(id)?;
                Place::Project(project.clone(), self.domains.get(&project.domain_id)?.clone())
            }
            Reach::Domain(id) => Place::Domain(self.domains.get(id)?.clone()),
            Reach::System => Place::System,
        })
    }

    pub fn domain(&self, id: &DomainId) -> Option<&Domain> {
        self.domains.get(id)
    }

    pub fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.name == name)
    }

    pub fn domain_id(&self, name: &str) -> Option<&DomainId> {
        self.domains.values().find(|domain| domain.name == name).map(|domain| &domain.id)
    }

    /// A project by name within its domain.
    pub fn project_id(&self, domain: &DomainId, name: &str) -> Option<&ProjectId> {
        let mut projects = self.projects.values();
        projects
            .find(|project| project.domain_id == *domain && project.name == name)
            .map(|project| &project.id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::Methods;
    use super::*;

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
        };
        let role = |name: &str| Role {
            id: format!("id-{name}").into(),
            name: name.into(),
            description: String::new(),
        };
        let held = |user: &str, reach, role: &str| Assignment {
            user_id: user.into(),
            reach,
            role_id: format!("id-{role}").into(),
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
}
