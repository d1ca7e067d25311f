//! Trusts: a user (trustor) lets another (trustee) take some of its roles in a project, for a time, a
//! number of times, and if allowed hand them on.

use super::application_credentials::{RoleRef, chosen, held_roles, known};
use super::delegation::{Delegation, may_hand_on};
use super::indexed::Indexed;
use super::rows::trusts::{self as stored, Trust};
use super::{lookup, projects, roles, rows, users};
use crate::{App, Ctx, access};
use canopy_authz::{Action, Target, actions::identity as actions};
use canopy_store::Conn;
use canopy_store::identity::{Reach, Role};
use canopy_types::{Error, Result, RoleId, Timestamp, UserId};

/// How often a trust may be handed on, at most.
pub const MAX_REDELEGATION: i64 = 3;
/// Trusts of one trustor.
const MAX_TRUSTS: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTrust {
    pub trustor_id: String,
    pub trustee_id: String,
    pub project_id: String,
    pub impersonation: bool,
    pub expires_at: Option<Timestamp>,
    pub remaining_uses: Option<i64>,
    pub roles: Vec<RoleRef>,
    pub allow_redelegation: bool,
    pub redelegation_count: Option<i64>,
}

/// A trust with the roles by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownTrust {
    pub trust: Trust,
    pub roles: Vec<Role>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustFilter {
    pub trustor_id: Option<String>,
    pub trustee_id: Option<String>,
}

fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("identity.trust_not_found", format!("Could not find trust: {shown}."))
}

fn refuse(text: &str) -> Error {
    Error::forbidden("identity.trust", text.to_owned())
}

/// A trust as policies see it: it belongs to its trustor, and to its trustee where that one asks to look.
fn target(ctx: &Ctx, id: &str, trust: Option<&Trust>, look: bool) -> Target {
    let owner = trust.map(|trust| {
        let trustee = look && trust.trustee_id == ctx.who.user_id;
        if trustee { trust.trustee_id.0.clone() } else { trust.trustor_id.0.clone() }
    });
    Target { user_id: owner.unwrap_or_default(), ..Target::default() }.id(id)
}

/// Whether it can still be used.
fn live(trust: &Trust, now: Timestamp) -> bool {
    trust.expires_at.is_none_or(|at| now < at) && trust.remaining_uses.is_none_or(|uses| uses > 0)
}

async fn all(app: &App) -> Result<Vec<Trust>> {
    let mut trusts = app.store.read(|c| Box::pin(stored::all(c))).await?;
    let now = app.now();
    trusts.retain(|trust| live(trust, now));
    Ok(trusts)
}

async fn permitted(app: &App, ctx: &Ctx, action: Action, id: &str, look: bool) -> Result<Trust> {
    let found = app.store.read(|c| Box::pin(stored::all(c))).await?.into_iter().find(|trust| trust.id == id);
    // Who has no part in it learns nothing of it: as if there were none.
    let (whole, part) = (target(ctx, id, found.as_ref(), look), target(ctx, id, found.as_ref(), true));
    if access::seen(app, ctx, actions::TRUSTS_SHOW, &[part]) {
        access::require(app, ctx, action, &whole)?;
    } else {
        return Err(absent(id));
    }
    found.filter(|trust| live(trust, app.now())).ok_or_else(|| absent(id))
}

fn shown(directory: &Indexed, trust: Trust) -> ShownTrust {
    let roles = trust.roles.iter().filter_map(|id| directory.role(id).cloned()).collect();
    ShownTrust { trust, roles }
}

pub async fn trust(app: &App, ctx: &Ctx, id: &str) -> Result<ShownTrust> {
    let trust = permitted(app, ctx, actions::TRUSTS_SHOW, id, true).await?;
    Ok(shown(&app.identity.view().directory, trust))
}

pub async fn trust_roles(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<Role>> {
    let trust = permitted(app, ctx, actions::TRUSTS_LIST_ROLES, id, true).await?;
    Ok(shown(&app.identity.view().directory, trust).roles)
}

pub async fn trust_role(app: &App, ctx: &Ctx, id: &str, role: &str) -> Result<Role> {
    let trust = permitted(app, ctx, actions::TRUSTS_SHOW_ROLE, id, true).await?;
    let mut roles = shown(&app.identity.view().directory, trust).roles.into_iter();
    roles.find(|found| found.id.as_str() == role).ok_or_else(|| roles::absent(role))
}

/// Those of a trustor, of a trustee, or all.
pub async fn trusts(app: &App, ctx: &Ctx, filter: &TrustFilter) -> Result<Vec<ShownTrust>> {
    let me = ctx.who.user_id.as_str();
    let own = [&filter.trustor_id, &filter.trustee_id].into_iter().flatten().any(|id| id == me);
    let target = Target { user_id: if own { me.to_owned() } else { String::new() }, ..Target::default() };
    access::require(app, ctx, actions::TRUSTS_LIST, &target)?;
    let directory = app.identity.view().directory;
    let wanted = |filter: &Option<String>, id: &UserId| filter.as_ref().is_none_or(|f| f == id.as_str());
    let found = all(app).await?.into_iter();
    Ok(found
        .filter(|trust| wanted(&filter.trustor_id, &trust.trustor_id))
        .filter(|trust| wanted(&filter.trustee_id, &trust.trustee_id))
        .map(|trust| shown(&directory, trust))
        .collect())
}

/// Makes a trust. Only the trustor can, and only of what it holds; with a token of a trust that allows it,
/// the trustee who stands in for the trustor can, within that trust's bounds.
pub async fn create_trust(app: &App, ctx: &Ctx, new: NewTrust) -> Result<ShownTrust> {
    let owner = Target { user_id: new.trustor_id.clone(), ..Target::default() };
    access::require(app, ctx, actions::TRUSTS_CREATE, &owner)?;
    if new.trustor_id != ctx.who.user_id.as_str() {
        return Err(refuse("The authenticated user should match the trustor"));
    }
    let now = app.now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::bad_request("identity.expires_at", "The 'expires_at' must not be before now."));
    }
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    let parent = match &ctx.delegation {
        Delegation::Trust(id) => Some(directory.trust(id).cloned().ok_or_else(|| absent(id))?),
        _ => {
            may_hand_on(&directory, ctx)?;
            None
        }
    };
    if lookup(&new.trustee_id).is_none_or(|id| directory.user(&id.into()).is_none()) {
        return Err(users::absent(&new.trustee_id));
    }
    let project = directory.project(&new.project_id.as_str().into());
    let project_id = project.ok_or_else(|| projects::absent(&new.project_id))?.id.clone();
    let roles = granted(&directory, ctx, &new, &Reach::Project(project_id.clone()))?;
    let trust = Trust {
        id: UserId::random().0,
        trustor_id: ctx.who.user_id.clone(),
        trustee_id: new.trustee_id.as_str().into(),
        project_id,
        impersonation: new.impersonation,
        expires_at: new.expires_at,
        remaining_uses: new.remaining_uses,
        redelegation_count: 0,
        redelegated_id: None,
        roles,
    };
    let trust = within(trust, &new, parent.as_ref())?;
    let made = app
        .store
        .write("identity.trust.create", move |c| {
            let trust = trust.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.trust.create", &trust.id).await?;
                let known = stored::all(c).await?;
                if known.iter().filter(|known| known.trustor_id == trust.trustor_id).count() >= MAX_TRUSTS {
                    return Err(refuse("You have too many trusts. Delete some first."));
                }
                // Deleted at this moment, it hands on nothing.
                if let Some(parent) = &trust.redelegated_id
                    && !known.iter().any(|known| known.id == *parent && live(known, now))
                {
                    return Err(absent(parent));
                }
                stored::insert(c, &trust, now).await?;
                Ok(trust)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(shown(&app.identity.view().directory, made))
}

/// The roles that the trust is to give: asked for, known, and held by the caller.
fn granted(directory: &Indexed, ctx: &Ctx, new: &NewTrust, reach: &Reach) -> Result<Vec<RoleId>> {
    if new.roles.is_empty() {
        return Err(refuse("At least one role should be specified"));
    }
    for role in &new.roles {
        known(directory, role)?;
    }
    let held = match &ctx.delegation {
        // What was handed on says where and how much.
        Delegation::Trust(_) | Delegation::ApplicationCredential(_) => {
            let here = ctx.who.project_id().is_some_and(|id| Reach::Project(id.clone()) == *reach);
            if here { held_roles(directory, ctx, reach) } else { Vec::new() }
        }
        Delegation::None => directory.effective_roles(&ctx.who.user_id, reach),
    };
    chosen(&held, &new.roles, "trust").map_err(|error| refuse(&error.message))
}

/// Sets how often a trust may be handed on, and holds one that is handed on within its parent's bounds.
fn within(mut trust: Trust, new: &NewTrust, parent: Option<&Trust>) -> Result<Trust> {
    let Some(parent) = parent else {
        let count = new.redelegation_count.unwrap_or(MAX_REDELEGATION);
        if count > MAX_REDELEGATION {
            return Err(refuse(&format!(
                "Requested redelegation depth of {count} is greater than allowed {MAX_REDELEGATION}"
            )));
        }
        trust.redelegation_count = if new.allow_redelegation { count } else { 0 };
        return Ok(trust);
    };
    if parent.redelegation_count < 1 || !parent.impersonation && new.impersonation {
        return Err(refuse("Redelegation of this trust is not allowed, or not with impersonation"));
    }
    if new.remaining_uses.is_some() || parent.remaining_uses.is_some() {
        return Err(refuse("remaining_uses must not be set if redelegation is allowed"));
    }
    if new.redelegation_count.is_some_and(|count| count > parent.redelegation_count - 1) {
        return Err(refuse("Requested redelegation depth is greater than what the trust leaves"));
    }
    let later = |at: Timestamp| trust.expires_at.is_none_or(|own| own > at);
    if parent.expires_at.is_some_and(later) {
        return Err(refuse("Requested expiration time is more than redelegated trust can provide"));
    }
    if trust.roles.iter().any(|role| !parent.roles.contains(role)) {
        return Err(refuse("Some of requested roles are not in redelegated trust"));
    }
    trust.redelegation_count = if new.allow_redelegation {
        new.redelegation_count.unwrap_or(parent.redelegation_count - 1)
    } else {
        0
    };
    trust.redelegated_id = Some(parent.id.clone());
    Ok(trust)
}

/// Ends a trust and all that was handed on from it; their tokens are worth nothing from then on.
pub async fn delete_trust(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let id = permitted(app, ctx, actions::TRUSTS_DELETE, id, false).await?.id;
    if ctx.delegation != Delegation::None {
        return Err(refuse("A token that was handed on cannot delete trusts"));
    }
    let now = app.now();
    app.store
        .write("identity.trust.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.trust.delete", &id).await?;
                if !remove(c, &id).await? {
                    return Err(absent(&id));
                }
                Ok(())
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

async fn remove(conn: &mut Conn, id: &str) -> Result<bool> {
    // At most MAX_REDELEGATION levels.
    let mut next = stored::redelegated(conn, id).await?;
    while let Some(child) = next.pop() {
        next.extend(stored::redelegated(conn, &child).await?);
        stored::delete(conn, &child).await?;
    }
    stored::delete(conn, id).await
}

/// Takes one of a trust's uses, for a token about to be given out.
pub(super) async fn consume(app: &App, trust: &Trust) -> Result<bool> {
    if trust.remaining_uses.is_none() {
        return Ok(true);
    }
    let (id, now) = (trust.id.clone(), app.now());
    let taken = app
        .store
        .write("identity.trust.consume", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.trust.consume", &id).await?;
                stored::consume(c, &id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> Trust {
        Trust {
            id: "t".into(),
            trustor_id: "a".into(),
            trustee_id: "b".into(),
            project_id: "p".into(),
            impersonation: true,
            expires_at: Some(Timestamp(100)),
            remaining_uses: None,
            redelegation_count: 2,
            redelegated_id: None,
            roles: vec!["member".into(), "reader".into()],
        }
    }

    #[test]
    fn what_is_handed_on_stays_within_what_was_given() {
        let child = || Trust { id: "c".into(), roles: vec!["reader".into()], ..trust() };
        let asked = |change: fn(&mut NewTrust)| {
            let mut new = NewTrust { allow_redelegation: true, impersonation: true, ..NewTrust::default() };
            change(&mut new);
            new
        };
        let made = within(child(), &asked(|_| {}), Some(&trust())).unwrap();
        assert_eq!((made.redelegation_count, made.redelegated_id.as_deref()), (1, Some("t")));
        let last = Trust { redelegation_count: 0, ..trust() };
        assert!(within(child(), &asked(|_| {}), Some(&last)).is_err());
        assert!(within(child(), &asked(|new| new.redelegation_count = Some(2)), Some(&trust())).is_err());
        assert!(within(child(), &asked(|new| new.remaining_uses = Some(1)), Some(&trust())).is_err());
        let plain = Trust { impersonation: false, ..trust() };
        assert!(within(child(), &asked(|_| {}), Some(&plain)).is_err());
        for longer in [None, Some(Timestamp(101))] {
            assert!(within(Trust { expires_at: longer, ..child() }, &asked(|_| {}), Some(&trust())).is_err());
        }
        let more = Trust { roles: vec!["admin".into()], ..child() };
        assert!(within(more, &asked(|_| {}), Some(&trust())).is_err());
        assert!(within(trust(), &asked(|new| new.redelegation_count = Some(4)), None).is_err());
        assert_eq!(
            within(trust(), &asked(|new| new.allow_redelegation = false), None).unwrap().redelegation_count,
            0
        );
    }

    #[test]
    fn an_expired_or_used_up_trust_is_none() {
        assert!(live(&trust(), Timestamp(99)) && !live(&trust(), Timestamp(100)));
        assert!(!live(&Trust { remaining_uses: Some(0), ..trust() }, Timestamp(0)));
    }
}
