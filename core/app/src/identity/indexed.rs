//! Who is who and who holds what, indexed for token checks: which roles somebody has somewhere, by
//! assignments of one's own, of one's groups, inherited from above, and by what roles imply.

use super::catalogs::Catalogs;
use super::memo::Memo;
use super::view::{Place, Standing};
use canopy_authz::roles as built_in;
use canopy_store::identity::application_credentials::ApplicationCredential;
use canopy_store::identity::catalog::{Endpoint, Region, Service};
use canopy_store::identity::directory::Directory;
use canopy_store::identity::endpoint_groups::EndpointGroup;
use canopy_store::identity::extras::Extras;
use canopy_store::identity::trusts::Trust;
use canopy_store::identity::{Actor, Assignment, Domain, Group, Project, Reach, Role, User};
use canopy_types::{DomainId, GroupId, ProjectId, RoleId, UserId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Projects above a project that are looked at: more than the API lets anybody make.
const MAX_ABOVE: usize = 16;
/// Standings kept.
const STANDINGS: usize = 4_096;

#[derive(Default)]
pub struct Indexed {
    pub revision: i64,
    domains: HashMap<DomainId, Domain>,
    projects: HashMap<ProjectId, Project>,
    users: HashMap<UserId, User>,
    groups: HashMap<GroupId, Group>,
    roles: HashMap<RoleId, Role>,
    assignments: Vec<Assignment>,
    /// Places in `assignments`, by who holds them.
    held: HashMap<Actor, Vec<usize>>,
    member_of: HashMap<UserId, Vec<GroupId>>,
    members: HashMap<GroupId, Vec<UserId>>,
    implies: HashMap<RoleId, Vec<RoleId>>,
    credentials: HashMap<String, ApplicationCredential>,
    trusts: HashMap<String, Trust>,
    regions: Vec<Region>,
    services: Vec<Service>,
    endpoints: Vec<Endpoint>,
    shown: HashMap<ProjectId, HashSet<String>>,
    endpoint_groups: Vec<EndpointGroup>,
    shown_groups: Vec<(ProjectId, String)>,
    extras: Extras,
    pub(super) catalogs: Catalogs,
    /// Of users at places, each worked out once.
    standings: Memo<(UserId, Option<Reach>), Standing, STANDINGS>,
}

impl Indexed {
    pub fn new(directory: Directory) -> Self {
        let mut held: HashMap<Actor, Vec<usize>> = HashMap::new();
        for (at, assignment) in directory.assignments.iter().enumerate() {
            held.entry(assignment.actor.clone()).or_default().push(at);
        }
        let (mut member_of, mut members) = (HashMap::new(), HashMap::new());
        for (group, user) in directory.members {
            member_of.entry(user.clone()).or_insert_with(Vec::new).push(group.clone());
            members.entry(group).or_insert_with(Vec::new).push(user);
        }
        let mut shown: HashMap<ProjectId, HashSet<String>> = HashMap::new();
        for (project, endpoint) in directory.shown_endpoints {
            shown.entry(project).or_default().insert(endpoint);
        }
        let mut implies: HashMap<RoleId, Vec<RoleId>> = HashMap::new();
        for (prior, implied) in built_in_implications(&directory.roles).chain(directory.implications) {
            implies.entry(prior).or_default().push(implied);
        }
        Self {
            revision: directory.revision,
            domains: directory.domains.into_iter().map(|domain| (domain.id.clone(), domain)).collect(),
            projects: directory.projects.into_iter().map(|project| (project.id.clone(), project)).collect(),
            users: directory.users.into_iter().map(|user| (user.id.clone(), user)).collect(),
            groups: directory.groups.into_iter().map(|group| (group.id.clone(), group)).collect(),
            roles: directory.roles.into_iter().map(|role| (role.id.clone(), role)).collect(),
            assignments: directory.assignments,
            held,
            member_of,
            members,
            implies,
            credentials: directory.credentials.into_iter().map(|one| (one.id.clone(), one)).collect(),
            trusts: directory.trusts.into_iter().map(|trust| (trust.id.clone(), trust)).collect(),
            regions: directory.regions,
            services: directory.services,
            endpoints: directory.endpoints,
            shown,
            endpoint_groups: directory.endpoint_groups,
            shown_groups: directory.shown_groups,
            extras: directory.extras,
            catalogs: Catalogs::default(),
            standings: Memo::default(),
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
    pub fn standing(&self, user: &User, scope: Option<&Reach>) -> Option<Arc<Standing>> {
        let key = (user.id.clone(), scope.cloned());
        if let Some(known) = self.standings.get(&key) {
            return Some(known);
        }
        let found = Arc::new(self.work_out(user, scope)?);
        self.standings.keep(key, Arc::clone(&found));
        Some(found)
    }

    fn work_out(&self, user: &User, scope: Option<&Reach>) -> Option<Standing> {
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
        Some(Standing { user: user.clone(), user_domain, place, roles, lent: None })
    }

    /// Roles a user holds somewhere, implied ones included, strongest first.
    pub fn effective_roles(&self, user: &UserId, reach: &Reach) -> Vec<Role> {
        let held = self.held_by(user).filter(|held| self.counts(held, reach)).map(|held| &held.role_id);
        self.sorted(self.with_implied(held))
    }

    /// As [`Self::standing`], of what somebody handed on: only those roles, and only while whoever handed
    /// them on holds every one of them.
    pub fn lent(
        &self,
        user: &User,
        lender: &UserId,
        scope: &ProjectId,
        roles: &[RoleId],
    ) -> Option<Standing> {
        let lender = self.active_user(lender)?;
        let reach = Reach::Project(scope.clone());
        let held: HashSet<RoleId> =
            self.effective_roles(&lender.id, &reach).into_iter().map(|role| role.id).collect();
        if roles.is_empty() || !roles.iter().all(|id| held.contains(id)) {
            return None;
        }
        let (project, domain) = self.active_project(scope)?;
        Some(Standing {
            user: user.clone(),
            user_domain: self.active_domain(&user.domain_id)?.clone(),
            place: Place::Project(project.clone(), domain.clone()),
            roles: self.sorted(self.with_implied(roles.iter())),
            lent: None,
        })
    }

    /// Without the roles of domains: those only stand for what they imply, and policies know roles by names,
    /// which any domain may use for its own.
    fn sorted(&self, ids: BTreeSet<RoleId>) -> Vec<Role> {
        let global = ids.iter().filter_map(|id| self.roles.get(id)).filter(|role| role.domain_id.is_none());
        let mut found: Vec<Role> = global.cloned().collect();
        found.sort_by_key(|role| {
            let rank = built_in::BUILT_IN.iter().position(|name| *name == role.name);
            (rank.unwrap_or(usize::MAX), role.name.clone())
        });
        found
    }

    /// The roles given and all that they imply. A loop, which cannot be stored, would end here too.
    pub fn with_implied<'a>(&'a self, ids: impl Iterator<Item = &'a RoleId>) -> BTreeSet<RoleId> {
        let mut all = BTreeSet::new();
        let mut next: Vec<&RoleId> = ids.collect();
        while let Some(id) = next.pop() {
            if all.insert(id.clone()) {
                next.extend(self.implies.get(id).into_iter().flatten());
            }
        }
        all
    }

    /// Each role that `role` implies, with the one that implies it directly. Each once.
    pub fn implied_by<'a>(&'a self, role: &'a Role) -> Vec<(&'a Role, &'a Role)> {
        let (mut seen, mut lines, mut next) = (HashSet::from([&role.id]), Vec::new(), vec![role]);
        while let Some(prior) = next.pop() {
            for id in self.implies.get(&prior.id).into_iter().flatten() {
                let Some(implied) = self.roles.get(id) else { continue };
                if seen.insert(&implied.id) {
                    lines.push((prior, implied));
                    next.push(implied);
                }
            }
        }
        lines
    }

    /// What each role implies directly, by name.
    pub fn implications(&self) -> Vec<(&Role, Vec<&Role>)> {
        let mut all: Vec<(&Role, Vec<&Role>)> = self
            .implies
            .iter()
            .filter_map(|(prior, implied)| {
                let mut implied: Vec<&Role> = implied.iter().filter_map(|id| self.roles.get(id)).collect();
                implied.sort_by(|a, b| a.name.cmp(&b.name));
                Some((self.roles.get(prior)?, implied))
            })
            .collect();
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        all
    }

    /// Names of the roles that a user (its groups' too) or a group is given anywhere.
    pub fn given_anywhere(&self, actor: &Actor) -> Vec<String> {
        match actor {
            Actor::User(id) => self.names(self.held_by(id).map(|held| &held.role_id)),
            Actor::Group(_) => {
                let places = self.held.get(actor).map(Vec::as_slice).unwrap_or_default();
                self.names(places.iter().map(|at| &self.assignments[*at].role_id))
            }
        }
    }

    /// Each once, without what they imply: that is the cloud's to decide. Policies know no names of domains' roles, so
    /// these are given as all that they stand for. None for an unknown one.
    pub fn names<'a>(&'a self, ids: impl Iterator<Item = &'a RoleId>) -> Vec<String> {
        let global = |id: &RoleId| self.roles.get(id).is_some_and(|role| role.domain_id.is_none());
        let (own, of_domains): (Vec<&RoleId>, Vec<&RoleId>) = ids.partition(|id| global(id));
        let mut all = self.with_implied(of_domains.into_iter());
        all.extend(own.into_iter().cloned());
        self.sorted(all).into_iter().map(|role| role.name).collect()
    }

    /// The domain of a user or group.
    pub fn home_of(&self, actor: &Actor) -> Option<&DomainId> {
        match actor {
            Actor::User(id) => self.users.get(id).map(|user| &user.domain_id),
            Actor::Group(id) => self.groups.get(id).map(|group| &group.domain_id),
        }
    }

    /// Assignments of a user and of its groups.
    fn held_by<'a>(&'a self, user: &UserId) -> impl Iterator<Item = &'a Assignment> + use<'a> {
        let groups = self.member_of.get(user).into_iter().flatten().map(|id| Actor::Group(id.clone()));
        let actors: Vec<Actor> = std::iter::once(Actor::User(user.clone())).chain(groups).collect();
        actors.into_iter().flat_map(move |actor| {
            let places = self.held.get(&actor).map(Vec::as_slice).unwrap_or_default();
            places.iter().map(move |at| &self.assignments[*at])
        })
    }

    /// Whether an assignment gives its role in `reach`.
    fn counts(&self, held: &Assignment, reach: &Reach) -> bool {
        match (held.inherited, reach) {
            (false, _) => held.reach == *reach,
            (true, Reach::Project(id)) => {
                self.projects.get(id).is_some_and(|project| self.below(project, held))
            }
            (true, _) => false,
        }
    }

    /// Whether a project is below where an inherited assignment is.
    fn below(&self, project: &Project, held: &Assignment) -> bool {
        match &held.reach {
            Reach::Domain(domain) => project.domain_id == *domain,
            Reach::Project(top) => self.above(project).any(|parent| parent.id == *top),
            Reach::System => false,
        }
    }

    /// The projects that a project is in, nearest first.
    pub fn above<'a>(&'a self, project: &Project) -> impl Iterator<Item = &'a Project> + use<'a> {
        let parent = |id: &str| self.projects.get(&ProjectId::from(id));
        std::iter::successors(parent(&project.parent_id), move |project| parent(&project.parent_id))
            .take(MAX_ABOVE)
    }

    /// Enabled projects in which the user holds a role, by name.
    pub fn projects_of(&self, user: &UserId) -> Vec<Project> {
        let mut projects = self.held_projects(user);
        projects.retain(|project| self.active_project(&project.id).is_some());
        projects
    }

    /// Projects in which the user holds a role, disabled ones too, by name.
    pub fn held_projects(&self, user: &UserId) -> Vec<Project> {
        let mut found: HashSet<&ProjectId> = HashSet::new();
        for held in self.held_by(user) {
            match (&held.reach, held.inherited) {
                (Reach::Project(id), false) => {
                    found.insert(id);
                }
                (_, true) => found.extend(self.projects_below(held).map(|project| &project.id)),
                _ => {}
            }
        }
        let mut projects: Vec<Project> =
            found.into_iter().filter_map(|id| self.projects.get(id)).cloned().collect();
        projects.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        projects
    }

    /// Where an inherited assignment counts.
    pub fn projects_below<'a>(&'a self, held: &'a Assignment) -> impl Iterator<Item = &'a Project> {
        self.projects.values().filter(|project| self.below(project, held))
    }

    /// Enabled domains in which the user holds a role, by name.
    pub fn domains_of(&self, user: &UserId) -> Vec<Domain> {
        let mut domains: Vec<Domain> = self
            .held_by(user)
            .filter(|held| !held.inherited)
            .filter_map(|held| match &held.reach {
                Reach::Domain(id) => self.active_domain(id).cloned(),
                Reach::Project(_) | Reach::System => None,
            })
            .collect();
        domains.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        domains.dedup_by(|a, b| a.id == b.id);
        domains
    }

    pub fn reaches_system(&self, user: &UserId) -> bool {
        self.held_by(user).any(|held| held.reach == Reach::System)
    }

    /// Every stored assignment.
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// `None` for what is no more.
    pub fn place(&self, reach: &Reach) -> Option<Place> {
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

    pub fn project(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.get(id)
    }

    pub fn user(&self, id: &UserId) -> Option<&User> {
        self.users.get(id)
    }

    pub fn group(&self, id: &GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    pub fn services(&self) -> &[Service] {
        &self.services
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Ids of the endpoints that were chosen for a project; `None` where it is shown all.
    pub fn shown_to(&self, project: &ProjectId) -> Option<&HashSet<String>> {
        self.shown.get(project)
    }

    /// The projects that an endpoint was chosen for, by name.
    pub fn choosing(&self, endpoint: &str) -> Vec<&Project> {
        let chosen = self.shown.iter().filter(|(_, endpoints)| endpoints.contains(endpoint));
        let mut found: Vec<&Project> = chosen.filter_map(|(id, _)| self.projects.get(id)).collect();
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        found
    }

    /// The projects directly in a project, by name.
    pub fn children<'a>(&'a self, project: &ProjectId) -> Vec<&'a Project> {
        let mut found: Vec<&Project> =
            self.projects.values().filter(|child| child.parent_id == project.as_str()).collect();
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        found
    }

    pub fn credential(&self, id: &str) -> Option<&ApplicationCredential> {
        self.credentials.get(id)
    }

    pub fn trust(&self, id: &str) -> Option<&Trust> {
        self.trusts.get(id)
    }

    pub fn user_id(&self, domain: &DomainId, name: &str) -> Option<&UserId> {
        self.users.values().find(|user| user.domain_id == *domain && user.name == name).map(|user| &user.id)
    }

    /// Of the whole cloud: domains may have others of the same name.
    pub fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.name == name && role.domain_id.is_none())
    }

    pub fn endpoint_groups(&self) -> &[EndpointGroup] {
        &self.endpoint_groups
    }

    pub fn endpoint_group(&self, id: &str) -> Option<&EndpointGroup> {
        self.endpoint_groups.iter().find(|group| group.id == id)
    }

    /// The endpoint groups that a project is shown.
    pub fn groups_shown_to<'a>(&'a self, project: &'a ProjectId) -> impl Iterator<Item = &'a EndpointGroup> {
        let shown = self.shown_groups.iter().filter(move |(id, _)| id == project);
        shown.filter_map(|(_, group)| self.endpoint_group(group))
    }

    /// The projects that are shown an endpoint group, by name.
    pub fn shown_group(&self, group: &str) -> Vec<&Project> {
        let shown = self.shown_groups.iter().filter(|(_, id)| id == group);
        let mut found: Vec<&Project> = shown.filter_map(|(id, _)| self.projects.get(id)).collect();
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        found
    }

    /// What clients attached to something.
    pub fn extra(&self, kind: &str, id: &str) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.extras.get(&(kind.to_owned(), id.to_owned()))
    }

    pub fn role(&self, id: &RoleId) -> Option<&Role> {
        self.roles.get(id)
    }

    /// By name.
    pub fn members(&self, group: &GroupId) -> Vec<&User> {
        let ids = self.members.get(group).into_iter().flatten();
        let mut users: Vec<&User> = ids.filter_map(|id| self.users.get(id)).collect();
        users.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        users
    }

    /// The groups that a user is in, by name.
    pub fn groups_of(&self, user: &UserId) -> Vec<&Group> {
        let ids = self.member_of.get(user).into_iter().flatten();
        let mut groups: Vec<&Group> = ids.filter_map(|id| self.groups.get(id)).collect();
        groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        groups
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

/// What the built-in roles imply. Not stored: shipped policies and proofs about them count on it.
fn built_in_implications(roles: &[Role]) -> impl Iterator<Item = (RoleId, RoleId)> + use<> {
    let global = |name: &str| roles.iter().find(|role| role.name == name && role.domain_id.is_none());
    let id = |name: &str| global(name).map(|role| role.id.clone());
    let pairs: Vec<(RoleId, RoleId)> = built_in::BUILT_IN
        .iter()
        .filter_map(|name| Some((id(name)?, id(built_in::implied(name)?)?)))
        .collect();
    pairs.into_iter()
}
