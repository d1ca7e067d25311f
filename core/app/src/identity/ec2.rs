//! EC2 keys of users: credentials of type `ec2`, found by their access key.

use super::credentials::{CredentialChange, Opened, all_kept, keep, keep_no_more, permitted_list};
use super::password::Secret;
use super::users;
use crate::{App, Ctx};
use canopy_types::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const KIND: &str = "ec2";

/// A key pair as EC2 clients use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Key {
    pub access: String,
    pub secret: Secret,
    pub user_id: String,
    pub project_id: String,
}

fn absent(access: &str) -> Error {
    let shown: String = access.chars().take(255).collect();
    Error::not_found("identity.credential_not_found", format!("Could not find credential: {shown}."))
}

fn random() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal("identity.random", e))?;
    Ok(canopy_types::hex(bytes))
}

/// `None` for a credential whose secret part is not what it should be.
fn read(opened: &Opened) -> Option<Ec2Key> {
    let blob: Value = serde_json::from_str(&opened.blob.0).ok()?;
    Some(Ec2Key {
        access: blob["access"].as_str()?.to_owned(),
        secret: Secret(blob["secret"].as_str().unwrap_or_default().to_owned()),
        user_id: opened.credential.user_id.0.clone(),
        project_id: opened.credential.project_id.clone()?.0,
    })
}

fn id_of(access: &str) -> String {
    canopy_types::hex(Sha256::digest(access))
}

pub async fn create_ec2(app: &App, ctx: &Ctx, user: &str, project: &str) -> Result<Ec2Key> {
    let (access, secret) = (random()?, random()?);
    let blob = json!({"access": access, "secret": secret, "trust_id": null}).to_string();
    let new = CredentialChange {
        user_id: Some(user.to_owned()),
        project_id: Some(Some(project.to_owned())),
        kind: Some(KIND.to_owned()),
        blob: Some(Secret(blob)),
    };
    read(&keep(app, ctx, new).await?)
        .ok_or_else(|| Error::internal("identity.ec2", "a new key is unreadable"))
}

/// The keys of one user.
pub async fn all_ec2(app: &App, ctx: &Ctx, user: &str) -> Result<Vec<Ec2Key>> {
    permitted_list(app, ctx, user)?;
    users::find(app, user).await?.ok_or_else(|| users::absent(user))?;
    Ok(all_kept(app, ctx, user, KIND).await?.iter().filter_map(read).collect())
}

/// One of a user's keys.
pub async fn ec2(app: &App, ctx: &Ctx, user: &str, access: &str) -> Result<Ec2Key> {
    let mut keys = all_ec2(app, ctx, user).await?.into_iter();
    keys.find(|key| key.access == access).ok_or_else(|| absent(access))
}

pub async fn delete_ec2(app: &App, ctx: &Ctx, user: &str, access: &str) -> Result<()> {
    ec2(app, ctx, user, access).await?;
    keep_no_more(app, ctx, &id_of(access)).await
}
