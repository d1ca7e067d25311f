//! The first start: a domain, the roles, an admin with a password that is shown once.

use super::password::hash_now;
use super::rows::{self, Actor, Assignment, Domain, Project, Reach, Role, User};
use canopy_authz::roles;
use canopy_store::{Conn, Store};
use canopy_types::{Clock, DomainId, Error, ProjectId, Result, RoleId, Timestamp, UserId};

/// Characters of a generated password: about 190 bits.
const PASSWORD: usize = 32;
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/// Fills an empty cloud: domain `default`, the built-in roles, project and user `admin`, who holds `admin`
/// in the project and on the system. `keep` stores the admin's password where the operator finds it, before
/// anything is committed: a start that dies in between leaves a password too many, never a cloud without one.
/// Answers whether this call made it: not on a cloud that has its identity already, and of several racing
/// calls only in one.
pub async fn bootstrap(
    store: &Store,
    clock: &dyn Clock,
    keep: impl FnOnce(&str) -> Result<()>,
) -> Result<bool> {
    let domains = store.read(|c| Box::pin(rows::domains(c))).await?;
    if !domains.is_empty() {
        return Ok(false);
    }
    let password = generate()?;
    keep(&password)?;
    let hash = tokio::task::spawn_blocking(move || hash_now(&password))
        .await
        .map_err(|e| Error::internal("identity.hash", e))??;
    let now = clock.now();
    let (project, user) = (ProjectId::random(), UserId::random());
    let roles: Vec<Role> = roles::BUILT_IN
        .iter()
        .map(|name| Role {
            id: RoleId::random(),
            domain_id: None,
            name: (*name).to_owned(),
            description: String::new(),
        })
        .collect();
    store
        .write("identity.bootstrap", move |c| {
            let (project, user, roles, hash) = (project.clone(), user.clone(), roles.clone(), hash.clone());
            Box::pin(fill(c, project, user, roles, hash, now))
        })
        .await
}

async fn fill(
    conn: &mut Conn,
    project_id: ProjectId,
    user_id: UserId,
    roles: Vec<Role>,
    hash: String,
    now: Timestamp,
) -> Result<bool> {
    rows::touch(conn, now, "identity.bootstrap", "default").await?;
    let domain_id = DomainId::from("default");
    let domain = Domain {
        id: domain_id.clone(),
        name: "Default".into(),
        description: "The default domain".into(),
        enabled: true,
    };
    // Whoever inserts the domain fills the rest; the others find it there.
    if !rows::insert_domain(conn, &domain, now).await? {
        return Ok(false);
    }
    let project = Project {
        id: project_id.clone(),
        parent_id: domain_id.0.clone(),
        domain_id: domain_id.clone(),
        name: "admin".into(),
        description: "Bootstrap project for initializing the cloud.".into(),
        enabled: true,
        tags: Vec::new(),
    };
    rows::projects::insert(conn, &project, now).await?;
    let user = User {
        id: user_id.clone(),
        domain_id,
        name: "admin".into(),
        description: String::new(),
        email: None,
        tokens_valid_after: Timestamp(0),
        enabled: true,
        default_project_id: None,
        options: Default::default(),
        password_changed_at: now,
    };
    rows::users::insert(conn, &user, Some(&hash), now).await?;
    for role in &roles {
        rows::insert_role(conn, role).await?;
    }
    for role in roles.iter().filter(|role| role.name == "admin") {
        for reach in [Reach::Project(project_id.clone()), Reach::System] {
            let (actor, role_id) = (Actor::User(user_id.clone()), role.id.clone());
            let assignment = Assignment { actor, reach, role_id, inherited: false };
            rows::grants::insert(conn, &assignment).await?;
        }
    }
    Ok(true)
}

/// Characters that are not mistaken for one another, each equally likely.
fn generate() -> Result<String> {
    let limit = 256 - 256 % ALPHABET.len();
    let mut password = String::with_capacity(PASSWORD);
    while password.len() < PASSWORD {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|e| Error::internal("identity.random", e))?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        password.extend(
            fair.map(|byte| char::from(ALPHABET[byte % ALPHABET.len()])).take(PASSWORD - password.len()),
        );
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_eq!((a.len(), b.len()), (PASSWORD, PASSWORD));
        assert_ne!(a, b);
        assert!(a.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
