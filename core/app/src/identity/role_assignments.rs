//! The list of who holds which role where: as given, or as it comes out with groups, inheritance and
//! implied roles (`effective`).

use super::indexed::Indexed;
use super::view::Place;
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions};
use canopy_store::identity::{Actor, Assignment, Domain, Group, Reach, Role, User};
use canopy_types::{Error, GroupId, ProjectId, Result, UserId};

/// Lines of one answer. The list has no pages, so one that is longer must be narrowed.
const MAX_LINES: usize = 50_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentFilter {
    pub user_id: Option<String>,
    pub group_id: Option<String>,
    pub role_id: Option<String>,
    pub reach: Option<Reach>,
    /// Those that are inherited only.
    pub inherited: bool,
    /// What comes out, instead of what was given.
    pub effective: bool,
    /// With the projects below the one asked about.
    pub subtree: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    User(User, Domain),
    Group(Group, Domain),
}

/// One line of the list of assignments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub holder: Holder,
    pub place: Place,
    pub role: Role,
    /// The assigned role that implies this one.
    pub prior: Option<Role>,
    /// The group by which the user holds it.
    pub membership: Option<GroupId>,
    /// What was given; this line comes from it.
    pub source: Assignment,
    /// Whether the line is about the places below.
    pub inherited: bool,
}

pub async fn assignments(app: &App, ctx: &Ctx, filter: &AssignmentFilter) -> Result<Vec<Granted>> {
    let action = if filter.subtree {
        actions::identity::ROLE_ASSIGNMENTS_LIST_TREE
    } else {
        actions::identity::ROLE_ASSIGNMENTS_LIST
    };
    let directory = app.identity.view().directory;
    let target = match &filter.reach {
        Some(Reach::Project(id)) => {
            let domain = directory.project(id).map(|project| project.domain_id.0.clone()).unwrap_or_default();
            Target { domain_id: domain, ..Target::default() }.id(id)
        }
        Some(Reach::Domain(id)) => Target { domain_id: id.0.clone(), ..Target::default() },
        _ => Target::default(),
    };
    access::require(app, ctx, action, &target)?;
    check(filter)?;
    app.identity.catch_up(&app.store).await?;
    lines(&app.identity.view().directory, filter)
}

/// Questions that have no sensible answer, in keystone's words.
fn check(filter: &AssignmentFilter) -> Result<()> {
    let refuse = |text: &str| Err(Error::bad_request("identity.assignment_filters", text.to_owned()));
    if filter.subtree && !matches!(filter.reach, Some(Reach::Project(_))) {
        return refuse("scope.project.id must be specified if include_subtree is also specified");
    }
    if filter.user_id.is_some() && filter.group_id.is_some() {
        return refuse("Specify a user or group, not both");
    }
    if filter.effective && filter.group_id.is_some() {
        return refuse("Combining effective and group filter will always result in an empty list.");
    }
    if filter.effective && filter.inherited && matches!(filter.reach, Some(Reach::Domain(_))) {
        return refuse(
            "Combining effective, domain and inherited filters will always result in an empty list.",
        );
    }
    Ok(())
}

fn lines(directory: &Indexed, filter: &AssignmentFilter) -> Result<Vec<Granted>> {
    let mut lines: Vec<Granted> = Vec::new();
    for held in directory.assignments() {
        let made = if filter.effective { effective(directory, filter, held) } else { given(directory, held) };
        lines.extend(made.into_iter().filter(|line| matches(directory, filter, line)));
        if lines.len() > MAX_LINES {
            return Err(Error::bad_request(
                "identity.too_many_assignments",
                format!("More than {MAX_LINES} role assignments: narrow the list by user.id or a scope."),
            ));
        }
    }
    lines.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok(lines)
}

fn key(line: &Granted) -> (&str, &str, &str, &str) {
    let who = match &line.holder {
        Holder::User(user, _) => user.id.as_str(),
        Holder::Group(group, _) => group.id.as_str(),
    };
    (line.place.id(), who, line.source.role_id.as_str(), &line.role.name)
}

fn matches(directory: &Indexed, filter: &AssignmentFilter, line: &Granted) -> bool {
    let who = match &line.holder {
        Holder::User(user, _) => {
            filter.group_id.is_none() && filter.user_id.as_ref().is_none_or(|id| id == user.id.as_str())
        }
        Holder::Group(group, _) => {
            filter.user_id.is_none() && filter.group_id.as_ref().is_none_or(|id| id == group.id.as_str())
        }
    };
    let place = match (&filter.reach, &line.place) {
        (None, _) | (Some(Reach::System), Place::System) => true,
        (Some(Reach::Domain(id)), Place::Domain(domain)) => domain.id == *id,
        (Some(Reach::Project(id)), Place::Project(project, _)) => {
            project.id == *id || filter.subtree && directory.above(project).any(|parent| parent.id == *id)
        }
        _ => false,
    };
    who && place
        && filter.role_id.as_ref().is_none_or(|id| id == line.role.id.as_str())
        && (!filter.inherited || line.source.inherited)
}

fn given(directory: &Indexed, held: &Assignment) -> Vec<Granted> {
    let made = || {
        Some(Granted {
            holder: match &held.actor {
                Actor::User(id) => user(directory, id)?,
                Actor::Group(id) => {
                    let group = directory.group(id)?.clone();
                    let domain = directory.domain(&group.domain_id)?.clone();
                    Holder::Group(group, domain)
                }
            },
            place: directory.place(&held.reach)?,
            role: directory.role(&held.role_id)?.clone(),
            prior: None,
            membership: None,
            source: held.clone(),
            inherited: held.inherited,
        })
    };
    made().into_iter().collect()
}

fn user(directory: &Indexed, id: &UserId) -> Option<Holder> {
    let user = directory.user(id)?.clone();
    let domain = directory.domain(&user.domain_id)?.clone();
    Some(Holder::User(user, domain))
}

/// A line for each user, place and role that an assignment comes to.
fn effective(directory: &Indexed, filter: &AssignmentFilter, held: &Assignment) -> Vec<Granted> {
    let Some(role) = directory.role(&held.role_id) else { return Vec::new() };
    let wanted = |id: &UserId| filter.user_id.as_ref().is_none_or(|wanted| wanted == id.as_str());
    let (users, membership): (Vec<&UserId>, _) = match &held.actor {
        Actor::User(id) => (vec![id], None),
        Actor::Group(id) => {
            (directory.members(id).into_iter().map(|user| &user.id).collect(), Some(id.clone()))
        }
    };
    let holders: Vec<Holder> =
        users.into_iter().filter(|id| wanted(id)).filter_map(|id| user(directory, id)).collect();
    if holders.is_empty() {
        return Vec::new();
    }
    let only: Option<&ProjectId> = match &filter.reach {
        Some(Reach::Project(id)) if !filter.subtree => Some(id),
        _ => None,
    };
    let places: Vec<Place> = if held.inherited {
        let below = directory.projects_below(held).filter(|project| only.is_none_or(|id| project.id == *id));
        below.filter_map(|project| directory.place(&Reach::Project(project.id.clone()))).collect()
    } else {
        directory.place(&held.reach).into_iter().collect()
    };
    let implied = directory.implied_by(role);
    let mut lines = Vec::new();
    for holder in &holders {
        for place in &places {
            let line = |role: &Role, prior: Option<&Role>| Granted {
                holder: holder.clone(),
                place: place.clone(),
                role: role.clone(),
                prior: prior.cloned(),
                membership: membership.clone(),
                source: held.clone(),
                inherited: false,
            };
            // A domain's role is nothing by itself.
            let counts = |role: &Role| role.domain_id.is_none();
            lines.extend(counts(role).then(|| line(role, None)));
            let implied = implied.iter().filter(|(_, role)| counts(role));
            lines.extend(implied.map(|(prior, role)| line(role, Some(prior))));
            if lines.len() > MAX_LINES {
                return lines;
            }
        }
    }
    lines
}
