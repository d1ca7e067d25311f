//! Credentials of other kinds that users keep here: EC2 keys, certificates, seeds. The secret part is
//! encrypted with a key that is not in the database, and shown only to whoever may see the credential.

use super::delegation::may_hand_on;
use super::password::Secret;
use super::rows::credentials::{self as stored, Credential};
use super::{lookup, projects, rows, users};
use crate::{App, Ctx, access};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canopy_authz::{Target, actions::identity as actions};
use canopy_types::{Error, ProjectId, Result, UserId};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

const NONCE: usize = 24;
const CONTEXT: &str = "canopy credential v1";
/// Of one user.
const MAX_CREDENTIALS: i64 = 1_000;
/// Bytes of a secret part.
const MAX_BLOB: usize = 65_535;
/// Rows of one list; it has no pages.
const MAX_LISTED: i64 = 10_000;

/// Seals the secret part of credentials, each for its own id only.
pub struct Vault(XChaCha20Poly1305);

impl Vault {
    pub fn new(key: &[u8; super::key::KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    fn seal(&self, id: &str, blob: &Secret) -> Result<String> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| Error::internal("identity.random", e))?;
        let aad = format!("{CONTEXT}\0{id}");
        let payload = Payload { msg: blob.0.as_bytes(), aad: aad.as_bytes() };
        let sealed = self
            .0
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::internal("identity.seal", "a credential could not be sealed"))?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    fn open(&self, id: &str, sealed: &str) -> Result<Secret> {
        let unreadable = || {
            Error::internal(
                "identity.credential_sealed",
                "a stored credential cannot be opened with keys/credentials.key",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| unreadable())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or_else(unreadable)?;
        let aad = format!("{CONTEXT}\0{id}");
        let payload = Payload { msg: sealed, aad: aad.as_bytes() };
        let plain = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| unreadable())?;
        String::from_utf8(plain).map(Secret).map_err(|_| unreadable())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialChange {
    pub user_id: Option<String>,
    pub project_id: Option<Option<String>>,
    pub kind: Option<String>,
    pub blob: Option<Secret>,
}

/// A credential with what is secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub credential: Credential,
    pub blob: Secret,
}

fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("identity.credential_not_found", format!("Could not find credential: {shown}."))
}

fn target(id: &str, owner: &str) -> Target {
    Target { user_id: owner.to_owned(), ..Target::default() }.id(id)
}

fn opened(app: &App, credential: Credential) -> Result<Opened> {
    let blob = app.identity.inner.vault.open(&credential.id, &credential.sealed)?;
    Ok(Opened { credential, blob })
}

async fn permitted(app: &App, ctx: &Ctx, action: canopy_authz::Action, id: &str) -> Result<Credential> {
    let key = lookup(id).map(str::to_owned);
    let found = match key {
        Some(key) => app.store.read(|c| Box::pin(async move { stored::get(c, &key).await })).await?,
        None => None,
    };
    let owner = found.as_ref().map(|found| found.user_id.as_str()).unwrap_or_default();
    access::require(app, ctx, action, &target(id, owner))?;
    found.ok_or_else(|| absent(id))
}

pub async fn kept(app: &App, ctx: &Ctx, id: &str) -> Result<Opened> {
    let found = permitted(app, ctx, actions::CREDENTIALS_SHOW, id).await?;
    opened(app, found)
}

/// Asks whether the caller may list a user's credentials.
pub(super) fn permitted_list(app: &App, ctx: &Ctx, user: &str) -> Result<()> {
    access::require(app, ctx, actions::CREDENTIALS_LIST, &target("", user))
}

/// Those of a user and a kind, as far as the caller may see them.
pub async fn all_kept(app: &App, ctx: &Ctx, user: &str, kind: &str) -> Result<Vec<Opened>> {
    // Asked for the collection: one's own, or everybody's.
    let me = ctx.who.user_id.as_str();
    let anybody = access::allowed(app, ctx, actions::CREDENTIALS_LIST, &Target::default());
    if !anybody {
        access::require(app, ctx, actions::CREDENTIALS_LIST, &target("", me))?;
        if !user.is_empty() && user != me {
            return Ok(Vec::new());
        }
    }
    let user = if anybody { user.to_owned() } else { me.to_owned() };
    let hopeless = |text: &str| !text.is_empty() && lookup(text).is_none();
    if hopeless(&user) || hopeless(kind) {
        return Ok(Vec::new());
    }
    let kind = kind.to_owned();
    let found =
        app.store.read(|c| Box::pin(async move { stored::list(c, &user, &kind, MAX_LISTED).await })).await?;
    found.into_iter().map(|credential| opened(app, credential)).collect()
}

/// The id of an EC2 key is the digest of its access key, so that it is found by that.
fn id_of(kind: &str, blob: &Secret) -> Result<String> {
    if blob.0.is_empty() || blob.0.len() > MAX_BLOB {
        return Err(Error::bad_request(
            "identity.credential_blob",
            format!("Invalid blob in credential: it must hold 1 to {MAX_BLOB} bytes."),
        ));
    }
    if kind != "ec2" {
        return Ok(UserId::random().0);
    }
    let parsed: Option<serde_json::Value> = serde_json::from_str(&blob.0).ok();
    let access = parsed.as_ref().and_then(|blob| blob["access"].as_str()).ok_or_else(|| {
        Error::bad_request(
            "identity.credential_blob",
            "Invalid blob in credential: of type ec2 it must be a JSON object with access and secret.",
        )
    })?;
    Ok(canopy_types::hex(Sha256::digest(access)))
}

fn check_parts(app: &App, user: &str, project: Option<&str>, kind: &str) -> Result<()> {
    let directory = app.identity.view().directory;
    if lookup(user).is_none_or(|id| directory.user(&id.into()).is_none()) {
        return Err(users::absent(user));
    }
    match project {
        None if kind == "ec2" => Err(Error::bad_request(
            "identity.credential_project",
            "A credential of type ec2 needs a project_id.",
        )),
        Some(id) if lookup(id).is_none_or(|id| directory.project(&id.into()).is_none()) => {
            Err(projects::absent(id))
        }
        _ => Ok(()),
    }
}

pub async fn keep(app: &App, ctx: &Ctx, new: CredentialChange) -> Result<Opened> {
    may_hand_on(&app.identity.view().directory, ctx)?;
    let user = new.user_id.unwrap_or_else(|| ctx.who.user_id.0.clone());
    access::require(app, ctx, actions::CREDENTIALS_CREATE, &target("", &user))?;
    app.identity.catch_up(&app.store).await?;
    let (kind, project) = (new.kind.unwrap_or_default(), new.project_id.flatten());
    check_parts(app, &user, project.as_deref(), &kind)?;
    let blob = new.blob.unwrap_or(Secret(String::new()));
    let id = id_of(&kind, &blob)?;
    let sealed = app.identity.inner.vault.seal(&id, &blob)?;
    let credential =
        Credential { id, user_id: user.into(), project_id: project.map(ProjectId), kind, sealed };
    let now = app.now();
    let made = app
        .store
        .write("identity.credential.create", move |c| {
            let credential = credential.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.credential.create", &credential.id).await?;
                let user = credential.user_id.as_str();
                rows::users::get(c, user).await?.ok_or_else(|| users::absent(user))?;
                let held = stored::list(c, user, "", MAX_CREDENTIALS).await?.len();
                if i64::try_from(held).unwrap_or(i64::MAX) >= MAX_CREDENTIALS {
                    let text = format!("A user may have at most {MAX_CREDENTIALS} credentials.");
                    return Err(Error::forbidden("identity.credentials", text));
                }
                stored::insert(c, &credential).await.map_err(|error| match error.code {
                    "store.duplicate" => Error::conflict(
                        "identity.duplicate",
                        "Conflict occurred attempting to store credential - Duplicate entry.",
                    ),
                    _ => error,
                })?;
                Ok(credential)
            })
        })
        .await?;
    opened(app, made)
}

/// Changes a credential. Who may change it, and whose it becomes, must both be allowed.
pub async fn keep_changed(app: &App, ctx: &Ctx, id: &str, change: CredentialChange) -> Result<Opened> {
    let found = permitted(app, ctx, actions::CREDENTIALS_UPDATE, id).await?;
    may_hand_on(&app.identity.view().directory, ctx)?;
    let blob = match change.blob {
        Some(blob) => blob,
        None => app.identity.inner.vault.open(&found.id, &found.sealed)?,
    };
    let user_id = change.user_id.map_or(found.user_id.clone(), UserId);
    if user_id != found.user_id {
        access::require(app, ctx, actions::CREDENTIALS_UPDATE, &target(id, user_id.as_str()))?;
    }
    app.identity.catch_up(&app.store).await?;
    let project_id = change.project_id.map_or(found.project_id, |id| id.map(ProjectId));
    let kind = change.kind.unwrap_or(found.kind);
    check_parts(app, user_id.as_str(), project_id.as_ref().map(ProjectId::as_str), &kind)?;
    id_of(&kind, &blob)?;
    let sealed = app.identity.inner.vault.seal(&found.id, &blob)?;
    let credential = Credential { id: found.id, user_id, project_id, kind, sealed };
    let (changed, now) = (credential.clone(), app.now());
    app.store
        .write("identity.credential.update", move |c| {
            let credential = changed.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.credential.update", &credential.id).await?;
                if stored::update(c, &credential).await? { Ok(()) } else { Err(absent(&credential.id)) }
            })
        })
        .await?;
    Ok(Opened { credential, blob })
}

pub async fn keep_no_more(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let id = permitted(app, ctx, actions::CREDENTIALS_DELETE, id).await?.id;
    may_hand_on(&app.identity.view().directory, ctx)?;
    let now = app.now();
    app.store
        .write("identity.credential.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.credential.delete", &id).await?;
                if stored::delete(c, &id).await? { Ok(()) } else { Err(absent(&id)) }
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_under_its_id_and_key() {
        let vault = Vault::new(&[1; super::super::key::KEY_BYTES]);
        let sealed = vault.seal("a", &Secret("s3cr3t".into())).unwrap();
        assert!(!sealed.contains("s3cr3t"));
        assert_eq!(vault.open("a", &sealed).unwrap().0, "s3cr3t");
        assert!(vault.open("b", &sealed).is_err());
        assert!(Vault::new(&[2; super::super::key::KEY_BYTES]).open("a", &sealed).is_err());
        for nonsense in ["", "AAAA", &sealed[1..]] {
            assert!(vault.open("a", nonsense).is_err());
        }
    }

    #[test]
    fn an_ec2_key_is_found_by_its_access_key() {
        let blob = Secret(r#"{"access": "a", "secret": "b"}"#.into());
        let id = id_of("ec2", &blob).unwrap();
        assert_eq!(id, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        assert!(id_of("ec2", &Secret("no".into())).is_err());
        assert_eq!(id_of("cert", &blob).unwrap().len(), 32);
    }
}
