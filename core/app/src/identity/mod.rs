//! Identity: users, projects, roles, tokens.
//!
//! A token says who and where; what that is worth is read from an in-memory view at each request (`view`),
//! so revoking a role, disabling a user or changing a password takes effect at the next request. The view
//! follows the store: at once after this process's own identity writes; another controller's writes wait until
//! it has followed (`replicas`).

mod application_credentials;
mod bootstrap;
pub mod catalog;
mod catalog_edit;
mod catalogs;
mod compliance;
mod credentials;
mod delegation;
mod domains;
mod ec2;
mod endpoint_groups;
mod extras;
mod grants;
mod groups;
mod guard;
mod implied;
mod indexed;
mod key;
mod keyring;
mod login;
mod memo;
mod password;
pub(crate) mod projects;
mod replicas;
mod role_assignments;
mod roles;
mod token;
mod trusts;
mod users;
mod view;

pub use application_credentials::{NewCredential, RoleRef, RuleRef, Shown};
pub use application_credentials::{access_rule, access_rules, create_credential, credential, credentials};
pub use application_credentials::{delete_access_rule, delete_credential};
pub use bootstrap::bootstrap;
pub use canopy_store::identity::application_credentials::{AccessRule, ApplicationCredential};
pub use canopy_store::identity::endpoint_groups::{EndpointGroup, Filters as EndpointFilters};
pub use canopy_store::identity::groups::Filter as GroupFilter;
pub use canopy_store::identity::projects::{Filter as ProjectFilter, Tagged};
pub use canopy_store::identity::trusts::Trust;
pub use canopy_store::identity::users::Filter as UserFilter;
pub use canopy_store::identity::{Actor, Assignment, Domain, Group, Project, Reach, Role, User, UserOptions};
pub use catalog_edit::{EndpointChange, RegionChange, ServiceChange};
pub use catalog_edit::{choose, choosing_projects, chosen_endpoints, has_chosen};
pub use catalog_edit::{create_endpoint, create_region, create_service};
pub use catalog_edit::{delete_endpoint, delete_region, delete_service};
pub use catalog_edit::{update_endpoint, update_region, update_service};
pub use compliance::{Compliance, MAX_HISTORY, password_regex};
pub use credentials::{CredentialChange, Opened, all_kept, keep, keep_changed, keep_no_more, kept};
pub use delegation::{Delegation, within_rules};
pub use domains::{AsProject, acting, create_domain, delete_domain, domain, domains, update_domain};
pub use domains::{DomainChange, NewDomain};
pub use ec2::{Ec2Key, all_ec2, create_ec2, delete_ec2, ec2};
pub use endpoint_groups::{EndpointGroupChange, endpoint_group, endpoint_groups, endpoints_of_group};
pub use endpoint_groups::{create_endpoint_group, delete_endpoint_group, update_endpoint_group};
pub use endpoint_groups::{group_in_project, groups_of_project, projects_of_group, show_group};
pub use extras::{Extra, extra};
pub use grants::{grant, grants_on, has_grant, revoke_grant};
pub use groups::{GroupChange, NewGroup};
pub use groups::{add_member, create_group, delete_group, group, groups, groups_of_user, has_member};
pub use groups::{members, remove_member, update_group};
pub use guard::{SOURCE_PAUSE, TOO_MANY_FAILURES};
pub use implied::{Implication, implication, implications, implications_of, imply, imply_no_more};
pub use keyring::{Keyring, ShownKey, rotate as rotate_key};
pub use login::{CredentialRef, DomainRef, Login, ProjectRef, ScopeRequest, Token, UserRef};
pub use login::{issue, own_domains, own_projects, own_system, revoke, validate};
pub use password::Secret;
pub use projects::{MAX_TAGS, NewProject, ProjectChange, ProjectTags, Tree, absent_tag, tree};
pub use projects::{create_project, delete_project, project, projects, update_project};
pub use role_assignments::{AssignmentFilter, Granted, Holder, assignments};
pub use roles::{NewRole, RoleChange, create_role, delete_role, immutable, role, roles, update_role};
pub use trusts::{NewTrust, ShownTrust, TrustFilter};
pub use trusts::{create_trust, delete_trust, trust, trust_role, trust_roles, trusts};
pub use users::{NewUser, OptionsChange, PasswordChange, UserChange};
pub use users::{change_password, create_user, delete_user, projects_of_user, update_user, user, users};
pub use view::{Lent, Place, Standing};

use crate::{App, Settings};
use canopy_authz::{Principal, Scope};
use canopy_store::Store;
use canopy_store::identity as rows;
use canopy_types::{Clock, Error, Result, Timestamp};
use indexed::Indexed;
use password::Passwords;
use replicas::{BEAT, Membership};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use view::{Revoked, View};

/// Who calls, and how the token was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub who: Principal,
    /// keystone's names of the methods.
    pub methods: Vec<String>,
    pub delegation: Delegation,
}

/// When a user has to have another password.
pub fn password_expires_at(app: &App, user: &User) -> Option<Timestamp> {
    app.settings.compliance.expires_at(user)
}

/// The keys and the view. One per process.
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    keys: PathBuf,
    ring: RwLock<Arc<Keyring>>,
    passwords: Passwords,
    guard: guard::Guard,
    vault: credentials::Vault,
    clock: Arc<dyn Clock>,
    view: RwLock<View>,
    membership: Membership,
    /// One refresh at a time; who waits for it mostly finds nothing left to do.
    refreshing: tokio::sync::Mutex<()>,
    /// The store's commits when the view was last read.
    read_at: AtomicU64,
}

impl Identity {
    /// Passwords that this process has looked at so far. What is locked out costs none.
    pub fn passwords_checked(&self) -> u64 {
        self.inner.passwords.checked()
    }

    /// Opens the keys under `<data_dir>/keys`, making them at the first start, reads the view, and keeps
    /// following both until dropped.
    pub async fn open(store: &Store, clock: Arc<dyn Clock>, settings: &Settings) -> Result<Self> {
        let keys = settings.data_dir.join("keys");
        let (folder, life) = (keys.clone(), settings.token_seconds);
        let (ring, vault) = tokio::task::spawn_blocking(move || {
            Ok::<_, Error>((Keyring::open(&folder, life)?, key::open(&folder.join("credentials.key"))?))
        })
        .await
        .map_err(|e| Error::internal("identity.key", e))??;
        let inner = Arc::new(Inner {
            keys,
            ring: RwLock::new(Arc::new(ring)),
            passwords: Passwords::new().await?,
            guard: guard::Guard::default(),
            vault: credentials::Vault::new(&vault),
            clock,
            view: RwLock::default(),
            membership: Membership::new(),
            refreshing: tokio::sync::Mutex::default(),
            read_at: AtomicU64::new(u64::MAX),
        });
        if !store.is_only_writer() {
            inner.membership.follow_the_last(store, &settings.data_dir).await?;
        }
        inner.step(store).await?;
        tokio::spawn(follow(Arc::downgrade(&inner), store.clone()));
        Ok(Self { inner })
    }

    fn view(&self) -> View {
        self.inner.view()
    }

    /// The caller behind a token, with the roles it holds now. From memory.
    pub fn check(&self, token: &str) -> Result<Caller> {
        let now = self.inner.clock.now();
        if self.inner.membership.lost() {
            return Err(Membership::refusal());
        }
        let claims = self.inner.open_token(token).ok_or_else(unauthorized)?;
        let standing = self.view().standing(&claims, now).ok_or_else(unauthorized)?;
        let methods = claims.methods.names().into_iter().map(str::to_owned).collect();
        Ok(Caller { who: principal(&standing), methods, delegation: claims.delegation })
    }

    /// This process answers no more tokens: nobody has to wait for it.
    pub async fn leave(&self, store: &Store) {
        if !store.is_only_writer() {
            self.inner.membership.leave(store).await;
        }
    }

    /// Brings the view to the store's newest state.
    pub async fn catch_up(&self, store: &Store) -> Result<()> {
        self.inner.catch_up(store).await
    }

    /// After a write of our own: returns when this process knows of it, and every other controller. The write
    /// stands whether or not this works, so a failure is only logged: the follower will try again.
    async fn written(&self, store: &Store) {
        let known = async {
            self.inner.catch_up(store).await?;
            if store.is_only_writer() {
                return Ok(());
            }
            self.inner.membership.all_know(store, self.inner.known()).await
        };
        if let Err(error) = known.await {
            tracing::warn!(error = error.chain(), "an identity view is behind");
        }
    }
}

impl Inner {
    fn ring(&self) -> Arc<Keyring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seal(&self, claims: &token::Claims) -> Result<String> {
        self.ring().seal(claims, self.clock.now())
    }

    fn open_token(&self, token: &str) -> Option<token::Claims> {
        self.ring().open_token(token, self.clock.now())
    }

    /// Takes up keys that are new in the folder, and removes those whose tokens have all expired. Keys that
    /// cannot be read change nothing.
    async fn follow_keys(&self, seen: &mut Vec<keyring::KeyFile>) -> Result<()> {
        let (folder, ring, now, before) = (self.keys.clone(), self.ring(), self.clock.now(), seen.clone());
        let (found, newer) = tokio::task::spawn_blocking(move || {
            ring.prune(now)?;
            let found = keyring::fingerprint(&folder);
            let newer = if found == before { None } else { Some(Keyring::read(&folder)?) };
            Ok::<_, Error>((found, newer))
        })
        .await
        .map_err(|e| Error::internal("identity.key", e))??;
        *seen = found;
        if let Some(ring) = newer {
            tracing::info!(keys = ring.show(now).len(), "token keys read");
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        }
        Ok(())
    }

    /// What the view reflects.
    fn known(&self) -> rows::Revision {
        let view = self.view();
        rows::Revision { directory: view.directory.revision, revoked: view.revoked.revision }
    }

    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads what is newer than the view, if anything can be: where nobody else writes, no commit means no news.
    async fn catch_up(&self, store: &Store) -> Result<()> {
        if store.is_only_writer() && self.read_at.load(Ordering::Acquire) == *store.commits().borrow() {
            return Ok(());
        }
        self.refresh(store).await
    }

    async fn refresh(&self, store: &Store) -> Result<()> {
        let _turn = self.refreshing.lock().await;
        let commits = *store.commits().borrow();
        let newest = store.read(|c| Box::pin(rows::revision(c))).await?;
        let mut view = self.view();
        if view.directory.revision != newest.directory {
            let directory = store.read(|c| Box::pin(rows::directory::load(c))).await?;
            view.directory = Arc::new(Indexed::new(directory));
        }
        if view.revoked.revision != newest.revoked {
            let now = self.clock.now();
            let (revision, ids) =
                store.read(move |c| Box::pin(rows::directory::load_revoked(c, now))).await?;
            view.revoked = Arc::new(Revoked { revision, audit_ids: ids.into_iter().collect() });
        }
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        self.read_at.store(commits, Ordering::Release);
        Ok(())
    }
}

async fn follow(inner: std::sync::Weak<Inner>, store: Store) {
    let (mut failing, mut keyless) = (false, false);
    // What was there when the server started may have changed since: nothing counts as seen.
    let mut seen = Vec::new();
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        match inner.follow_keys(&mut seen).await {
            Ok(()) => keyless = false,
            Err(error) if !keyless => {
                keyless = true;
                tracing::warn!(error = error.chain(), "the token keys cannot be read: the last ones stay");
            }
            Err(_) => {}
        }
        match inner.step(&store).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = error.chain(), "the identity view cannot follow the store");
            }
            Err(_) => {}
        }
    }
}

/// The one answer to every failed login and every bad token.
pub(crate) fn unauthorized() -> Error {
    Error::unauthorized("The request you have made requires authentication.")
}

/// [`Identity::check`] for the API.
pub async fn authenticate(app: &App, token: &str) -> Result<Caller> {
    app.identity.check(token)
}

fn principal(standing: &Standing) -> Principal {
    let user = &standing.user;
    Principal {
        scope: match &standing.place {
            Place::Unscoped => Scope::Unscoped,
            Place::Project(project, _) => Scope::Project {
                id: project.id.clone(),
                name: project.name.clone(),
                domain_id: project.domain_id.clone(),
            },
            Place::Domain(domain) => Scope::Domain { id: domain.id.clone() },
            Place::System => Scope::System,
        },
        user_id: user.id.clone(),
        user_name: user.name.clone(),
        user_domain_id: user.domain_id.clone(),
        roles: standing.roles.iter().map(|role| role.name.clone()).collect(),
    }
}

/// Text that a client looks something up by. What no stored id or name can be is nobody's: databases
/// differ in what they do with a NUL.
pub(crate) fn lookup(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= 1_024 && !text.contains('\0')).then_some(text)
}
