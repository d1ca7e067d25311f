//! Security groups: each project has a default one from its first use on.

use super::{change_needs, errors, event, scope};
use crate::{App, Ctx, access, quota};
use canopy_authz::Target;
use canopy_authz::actions::network as actions;
use canopy_store::listing::{Listing, Scope};
use canopy_store::security_groups::{self as rows, Rule, SecurityGroup};
use canopy_store::{Conn, ports};
use canopy_types::{ProjectId, Result, SecurityGroupId, SecurityGroupRuleId, Timestamp};

/// A group with its rules, oldest first.
pub type Full = (SecurityGroup, Vec<Rule>);

/// Security groups that one port names.
pub const MAX_GROUPS: usize = 32;

/// The project's default group; made if it is not there, whoever asks first.
pub async fn ensure_default(conn: &mut Conn, project: &ProjectId, now: Timestamp) -> Result<SecurityGroup> {
    if let Some(group) = rows::default_of(conn, project).await? {
        return Ok(group);
    }
    let group = SecurityGroup {
        id: SecurityGroupId::random(),
        project_id: project.clone(),
        name: "default".into(),
        description: "Default security group".into(),
        is_default: true,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    if rows::insert(conn, &group).await? {
        for rule in default_rules(&group, now) {
            rows::insert_rule(conn, &rule).await?;
        }
        return Ok(group);
    }
    // Somebody else was first, and has committed.
    rows::default_of(conn, project).await?.ok_or_else(super::changed_meanwhile)
}

/// Everything out; in from the group's own members.
fn default_rules(group: &SecurityGroup, now: Timestamp) -> [Rule; 4] {
    let rule = |direction: &str, ethertype: &str| Rule {
        id: SecurityGroupRuleId::random(),
        group_id: group.id,
        project_id: group.project_id.clone(),
        direction: direction.into(),
        ethertype: ethertype.into(),
        protocol: None,
        port_min: None,
        port_max: None,
        remote_group_id: (direction == "ingress").then_some(group.id),
        remote_ip_prefix: None,
        description: String::new(),
        created_at: now,
    };
    [rule("egress", "IPv4"), rule("egress", "IPv6"), rule("ingress", "IPv4"), rule("ingress", "IPv6")]
}

/// The caller's own project has its default group from its first look on, as in neutron.
async fn ensure_own(app: &App, scope: &Scope, ctx: &Ctx) -> Result<()> {
    let own = match scope {
        Scope::Project(project) => Some(project.clone()),
        Scope::All => ctx.who.project_id().cloned(),
    };
    let Some(project) = own else { return Ok(()) };
    let look = project.clone();
    let known = app.store.read(move |c| Box::pin(async move { rows::default_of(c, &look).await })).await?;
    if known.is_some() {
        return Ok(());
    }
    let now = app.now();
    app.store
        .write("security_group.default", move |c| {
            let project = project.clone();
            Box::pin(async move { ensure_default(c, &project, now).await.map(|_| ()) })
        })
        .await
}

fn target(group: &SecurityGroup) -> Target {
    Target::in_project(&group.project_id).id(group.id)
}

fn rule_target(rule: &Rule) -> Target {
    Target::in_project(&rule.project_id).id(rule.id)
}

pub async fn list(app: &App, ctx: &Ctx, mut listing: Listing) -> Result<Vec<Full>> {
    listing.scope = scope(app, ctx, actions::SECURITY_GROUPS_LIST)?;
    ensure_own(app, &listing.scope, ctx).await?;
    let read = |part: Listing| {
        app.store.read(move |c| {
            Box::pin(async move {
                let groups = rows::list(c, &part).await?;
                let ids: Vec<SecurityGroupId> = groups.iter().map(|group| group.id).collect();
                let mut rules = rows::rules_of(c, &ids).await?;
                let with_rules = |group: SecurityGroup| {
                    let own = rules.extract_if(.., |rule| rule.group_id == group.id).collect();
                    (group, own)
                };
                Ok(groups.into_iter().map(with_rules).collect())
            })
        })
    };
    let mut may = access::Rows::default();
    access::readable(
        &listing,
        |(group, _): &Full| group.id.to_string(),
        read,
        |(group, _)| may.allowed(app, ctx, actions::SECURITY_GROUPS_SHOW, &target(group)),
    )
    .await
}

pub async fn show(app: &App, ctx: &Ctx, id: SecurityGroupId) -> Result<Full> {
    let found = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let Some(group) = rows::get(c, id).await? else { return Ok(None) };
                let rules = rows::rules_of(c, &[id]).await?;
                Ok(Some((group, rules)))
            })
        })
        .await?;
    found
        .filter(|(group, _)| access::seen(app, ctx, actions::SECURITY_GROUPS_SHOW, &[target(group)]))
        .ok_or_else(|| errors::group_not_found(id))
}

/// A default group is an operator's to delete; its project has a new one from its next use on.
pub async fn delete(app: &App, ctx: &Ctx, id: SecurityGroupId) -> Result<()> {
    let (group, _) = show(app, ctx, id).await?;
    change_needs(app, ctx, actions::SECURITY_GROUPS_DELETE, &target(&group))?;
    if group.is_default
        && !access::allowed(app, ctx, actions::SECURITY_GROUPS_DELETE_DEFAULT, &target(&group))
    {
        return Err(errors::default_group());
    }
    let now = app.now();
    app.store
        .write("security_group.delete", move |c| {
            let project = group.project_id.clone();
            Box::pin(async move {
                // Every port that is given its project's default group is charged to the project before that, and
                // waits here, or we wait for it.
                quota::refund(c, &project, "ports", 0).await?;
                rows::hold(c, &[id]).await?;
                if ports::with_group(c, id).await? {
                    return Err(errors::group_in_use(id));
                }
                if !rows::delete(c, id).await? {
                    return Err(errors::group_not_found(id));
                }
                event(c, now, "security_group.delete", &project, id).await
            })
        })
        .await
}

/// Holds groups that a request has named until the transaction ends, or finds that they have gone.
pub(crate) async fn hold(conn: &mut Conn, groups: &[SecurityGroupId]) -> Result<()> {
    let held = rows::hold(conn, groups).await?;
    groups.iter().find(|id| !held.contains(id)).map_or(Ok(()), |gone| Err(errors::group_not_found(gone)))
}

/// Refuses groups that do not exist or that the caller may not see.
pub(super) async fn check(app: &App, ctx: &Ctx, groups: &[SecurityGroupId]) -> Result<()> {
    if groups.len() > MAX_GROUPS {
        return Err(errors::bad_attribute(
            "security_groups",
            format!("a port has at most {MAX_GROUPS} of them"),
        ));
    }
    for id in groups {
        show(app, ctx, *id).await?;
    }
    Ok(())
}

pub async fn list_rules(app: &App, ctx: &Ctx, mut listing: Listing) -> Result<Vec<Rule>> {
    listing.scope = scope(app, ctx, actions::SECURITY_GROUP_RULES_LIST)?;
    ensure_own(app, &listing.scope, ctx).await?;
    let mut may = access::Rows::default();
    access::readable(
        &listing,
        |rule: &Rule| rule.id.to_string(),
        |part: Listing| app.store.read(move |c| Box::pin(async move { rows::list_rules(c, &part).await })),
        |rule| may.allowed(app, ctx, actions::SECURITY_GROUP_RULES_SHOW, &rule_target(rule)),
    )
    .await
}

pub async fn show_rule(app: &App, ctx: &Ctx, id: SecurityGroupRuleId) -> Result<Rule> {
    let rule = app.store.read(move |c| Box::pin(async move { rows::get_rule(c, id).await })).await?;
    rule.filter(|rule| access::seen(app, ctx, actions::SECURITY_GROUP_RULES_SHOW, &[rule_target(rule)]))
        .ok_or_else(|| errors::rule_not_found(id))
}
