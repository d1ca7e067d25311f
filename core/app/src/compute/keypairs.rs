//! Key pairs: public halves of SSH keys that a user gives to servers.
//!
//! A pair belongs to a user, whatever the project. When the user brings no key one is made here (ed25519);
//! its private half is answered once and never kept.

mod key;

use crate::quota::{Ask, charged, refund};
use crate::{App, Ctx, access};
use canopy_agent_api::KeySpec;
use canopy_authz::Target;
use canopy_authz::actions::compute::{KEYPAIRS_CREATE, KEYPAIRS_DELETE, KEYPAIRS_LIST, KEYPAIRS_SHOW};
use canopy_store::keypairs;
pub use canopy_store::keypairs::Keypair;
use canopy_types::quota::KEY_PAIRS;
use canopy_types::{Error, Page, ProjectId, Result, UserId};

/// Longest name, characters.
const MAX_NAME: usize = 255;

pub struct Created {
    pub keypair: Keypair,
    /// PEM of OpenSSH's format, when the pair was made here.
    pub private_key: Option<String>,
}

pub struct Listed {
    pub keypairs: Vec<Keypair>,
    pub more: bool,
}

fn absent(user: &UserId, name: &str) -> Error {
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    Error::not_found("keypair.not_found", format!("Keypair {name} not found for user {user}"))
}

/// Usage is counted per user, under a name that no project can have.
fn account(user: &UserId) -> ProjectId {
    ProjectId(format!("user:{user}"))
}

/// Names that nova takes: letters, digits, blanks, `_` and `-`. Others cannot exist.
fn safe(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_- ".contains(&b))
}

/// The user's key pairs, by name. `user` is the caller when `None`.
pub async fn list(app: &App, ctx: &Ctx, user: Option<UserId>, page: &Page) -> Result<Listed> {
    let user = user.unwrap_or_else(|| ctx.who.user_id.clone());
    access::require(app, ctx, KEYPAIRS_LIST, &Target::default().owner(&user))?;
    let after = page.marker.clone().unwrap_or_default();
    if !after.is_empty() && find(app, &user, &after).await?.is_none() {
        return Err(Error::bad_request("keypair.marker", "The marker is not the name of a key pair."));
    }
    let size = page.size();
    let mut keypairs = app
        .store
        .read(move |c| Box::pin(async move { keypairs::list(c, &user, &after, size + 1).await }))
        .await?;
    let wanted = usize::try_from(size).unwrap_or(0);
    let more = keypairs.len() > wanted;
    keypairs.truncate(wanted);
    Ok(Listed { keypairs, more })
}

pub async fn show(app: &App, ctx: &Ctx, user: Option<UserId>, name: &str) -> Result<Keypair> {
    let user = user.unwrap_or_else(|| ctx.who.user_id.clone());
    let target = Target::default().id(name).owner(&user);
    access::require_on(app, ctx, KEYPAIRS_SHOW, KEYPAIRS_SHOW, &target, || absent(&user, name))?;
    find(app, &user, name).await?.ok_or_else(|| absent(&user, name))
}

async fn find(app: &App, user: &UserId, name: &str) -> Result<Option<Keypair>> {
    if !safe(name) {
        return Ok(None);
    }
    let (user, name) = (user.clone(), name.to_owned());
    app.store.read(move |c| Box::pin(async move { keypairs::get(c, &user, &name).await })).await
}

/// Imports `public_key`, or makes a pair.
pub async fn create(
    app: &App,
    ctx: &Ctx,
    user: Option<UserId>,
    name: &str,
    public_key: Option<&str>,
) -> Result<Created> {
    let user = user.unwrap_or_else(|| ctx.who.user_id.clone());
    access::require(app, ctx, KEYPAIRS_CREATE, &Target::default().id(name).owner(&user))?;
    if !safe(name) {
        return Err(key::invalid("Keypair name contains unsafe characters"));
    }
    let (public, private_key) = match public_key {
        Some(text) => (key::import(text)?, None),
        None => {
            let (public, private) = key::generate()?;
            (public, Some(private))
        }
    };
    let row = Keypair {
        user_id: user.clone(),
        name: name.to_owned(),
        number: 0,
        kind: "ssh".into(),
        public_key: public.line,
        fingerprint: public.fingerprint,
        created_at: app.now(),
    };
    let exists = || Error::conflict("keypair.duplicate", format!("Key pair '{name}' already exists."));
    // Before the quota is asked: a name that is taken is that, also for a user who is at the limit.
    if find(app, &user, name).await?.is_some() {
        return Err(exists());
    }
    // Of the project that the caller works in, as in nova.
    let limits_of = ctx.who.project_id().cloned();
    let ask = Ask { limits_of, ..Ask::new(&account(&user), &user, KEY_PAIRS, 1) };
    let written = row.clone();
    let number = charged(app, &ask, "keypair.create", move |c| {
        let row = written.clone();
        Box::pin(async move { keypairs::insert(c, &row).await })
    })
    .await
    .map_err(|e| if e.code == "store.duplicate" { exists() } else { e })?;
    Ok(Created { keypair: Keypair { number, ..row }, private_key })
}

pub async fn delete(app: &App, ctx: &Ctx, user: Option<UserId>, name: &str) -> Result<()> {
    let user = user.unwrap_or_else(|| ctx.who.user_id.clone());
    let target = Target::default().id(name).owner(&user);
    access::require_on(app, ctx, KEYPAIRS_SHOW, KEYPAIRS_DELETE, &target, || absent(&user, name))?;
    if !safe(name) {
        return Err(absent(&user, name));
    }
    let name = name.to_owned();
    app.store
        .write("keypair.delete", move |c| {
            let (user, name) = (user.clone(), name.clone());
            Box::pin(async move {
                if !keypairs::delete(c, &user, &name).await? {
                    return Err(absent(&user, &name));
                }
                refund(c, &account(&user), KEY_PAIRS, 1).await
            })
        })
        .await
}

/// The caller's key of that name, as a server gets it.
pub async fn for_boot(app: &App, ctx: &Ctx, name: &str) -> Result<KeySpec> {
    let keypair = find(app, &ctx.who.user_id, name).await?;
    let keypair =
        keypair.ok_or_else(|| Error::bad_request("keypair.not_found", "Invalid key_name provided."))?;
    Ok(KeySpec { name: keypair.name, kind: keypair.kind, public_key: keypair.public_key })
}
