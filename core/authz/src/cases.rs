//! Requests with the expected answer, kept beside the policies: their format, and what running them shows.

use crate::files::{self, MAX_FILES, invalid};
use crate::{Action, AtStake, Circumstances, Principal, Scope, Snapshot, Target, Wanted, actions, roles};
use canopy_types::{DomainId, ProjectId, Result, UserId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// One file of cases: callers and resources by name, and what each may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    principals: BTreeMap<String, Caller>,
    targets: BTreeMap<String, On>,
    cases: Vec<Case>,
}

/// A caller as people write one: a role stands for everything that it implies.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caller {
    pub user: String,
    pub roles: Vec<String>,
    /// `project`, `domain`, `system` or `unscoped`.
    pub scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub application_credential: String,
}

/// What is acted on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct On {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_stake: Option<Stake>,
}

/// What changing a user, a group or a grant puts at stake.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stake {
    pub roles: Vec<String>,
    pub holder_domain_id: String,
}

/// What a new server is to be.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    pub flavor: String,
    pub vcpus: i64,
    pub ram_mib: i64,
    pub disk_gib: i64,
    pub image: String,
    pub networks: Vec<String>,
    pub zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    action: String,
    principal: String,
    target: String,
    allowed: bool,
}

/// What running cases showed.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub cases: usize,
    /// Cases with another answer than expected, and cases that cannot be run.
    pub wrong: Vec<String>,
    /// Actions with a case that is allowed, with one that is denied, of how many.
    pub allowing: BTreeSet<String>,
    pub denying: BTreeSet<String>,
    pub actions: usize,
    /// Policies that decided some case, of how many.
    pub deciding: BTreeSet<String>,
    pub policies: usize,
    /// Actions without a case for both answers, and policies that decide no case.
    pub untried_actions: Vec<String>,
    pub untried_policies: Vec<String>,
}

impl Caller {
    /// The caller and how the request comes, or what is wrong with the description.
    pub fn resolve(&self) -> Result<(Principal, Circumstances), String> {
        let domain = DomainId::from(self.domain.as_str());
        let scope = match self.scope.as_str() {
            "project" if self.project.is_empty() => return Err("project scope needs \"project\"".into()),
            "project" => Scope::Project {
                id: ProjectId::from(self.project.as_str()),
                name: self.project.clone(),
                domain_id: domain,
            },
            "domain" => Scope::Domain { id: domain },
            "system" => Scope::System,
            "unscoped" => Scope::Unscoped,
            other => {
                return Err(format!("scope \"{other}\": write project, domain, system or unscoped"));
            }
        };
        let user_domain = if self.user_domain.is_empty() { "default" } else { &self.user_domain };
        let who = Principal {
            user_id: UserId::from(self.user.as_str()),
            user_name: self.user.clone(),
            user_domain_id: DomainId::from(user_domain),
            roles: roles::expand(self.roles.iter().map(String::as_str)),
            scope,
        };
        let how = Circumstances {
            source: self.source,
            methods: self.methods.clone(),
            application_credential: self.application_credential.clone(),
        };
        Ok((who, how))
    }
}

impl Caller {
    /// A caller as a case describes one.
    pub fn of(who: &Principal, how: &Circumstances) -> Self {
        let (scope, project, domain) = match &who.scope {
            Scope::Unscoped => ("unscoped", "", ""),
            Scope::Project { id, domain_id, .. } => ("project", id.as_str(), domain_id.as_str()),
            Scope::Domain { id } => ("domain", "", id.as_str()),
            Scope::System => ("system", "", ""),
        };
        Self {
            user: who.user_id.0.clone(),
            roles: who.roles.clone(),
            scope: scope.into(),
            project: project.into(),
            domain: domain.into(),
            user_domain: who.user_domain_id.0.clone(),
            source: how.source,
            methods: how.methods.clone(),
            application_credential: how.application_credential.clone(),
        }
    }
}

impl On {
    /// A resource as a case describes one.
    pub fn of(target: &Target) -> Self {
        Self {
            id: target.id.clone(),
            project_id: target.project_id.clone(),
            domain_id: target.domain_id.clone(),
            user_id: target.user_id.clone(),
            public: target.public,
            shared: target.shared,
            labels: target.labels.clone(),
            metadata: target.metadata.clone(),
            wanted: target.wanted.as_deref().map(Wish::of),
            at_stake: target.at_stake.as_deref().map(|stake| Stake {
                roles: stake.roles.clone(),
                holder_domain_id: stake.holder_domain_id.clone(),
            }),
        }
    }

    pub fn target(&self) -> Target {
        Target {
            id: self.id.clone(),
            project_id: self.project_id.clone(),
            domain_id: self.domain_id.clone(),
            user_id: self.user_id.clone(),
            public: self.public,
            shared: self.shared,
            labels: self.labels.clone(),
            metadata: self.metadata.clone(),
            wanted: self.wanted.as_ref().map(|wish| Box::new(wish.wanted())),
            at_stake: self.at_stake.as_ref().map(|stake| {
                let Stake { roles, holder_domain_id } = stake.clone();
                Box::new(AtStake { roles, holder_domain_id })
            }),
        }
    }
}

impl Wish {
    fn of(wanted: &Wanted) -> Self {
        let Wanted { flavor, vcpus, ram_mib, disk_gib, image, networks, zone } = wanted.clone();
        Self { flavor, vcpus, ram_mib, disk_gib, image, networks, zone }
    }

    fn wanted(&self) -> Wanted {
        let Self { flavor, vcpus, ram_mib, disk_gib, image, networks, zone } = self.clone();
        Wanted { flavor, vcpus, ram_mib, disk_gib, image, networks, zone }
    }
}

/// Finds an action by its name.
pub fn action(name: &str) -> Result<Action, String> {
    actions::all().find(|action| action.name == name).ok_or_else(|| format!("there is no action {name}"))
}

/// The case files of a bundle: `tests/*.json`, sorted by name. None is an empty list.
pub fn read(dir: &Path) -> Result<Vec<(String, CaseFile)>> {
    let folder = dir.join("tests");
    let fault = |e: &dyn std::fmt::Display, path: &Path| invalid(format!("{}: {e}", path.display()));
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(&e, &folder)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| fault(&e, &folder))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(fault(&format!("more than {MAX_FILES} files"), &folder));
        }
        let text = files::text(&path)?;
        let file = serde_json::from_str(&text).map_err(|e| fault(&e, &path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, file));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

/// Asks the bundle every case.
pub fn run(policies: &Snapshot, files: &[(String, CaseFile)]) -> Report {
    let mut report = Report {
        actions: actions::all().count(),
        policies: policies.bundle().policies().count(),
        ..Report::default()
    };
    for (name, file) in files {
        for case in &file.cases {
            report.cases += 1;
            if let Err(wrong) = one(policies, file, case, &mut report) {
                let (action, who, on) = (&case.action, &case.principal, &case.target);
                report.wrong.push(format!("{name}: {action} by {who} on {on}: {wrong}"));
            }
        }
    }
    report.untried_actions = actions::all()
        .map(|action| action.name)
        .filter(|name| !report.allowing.contains(*name) || !report.denying.contains(*name))
        .map(str::to_owned)
        .collect();
    report.untried_policies =
        policies.bundle().ids().into_iter().filter(|id| !report.deciding.contains(id)).collect();
    report
}

fn one(policies: &Snapshot, file: &CaseFile, case: &Case, report: &mut Report) -> Result<(), String> {
    let action = action(&case.action)?;
    let named = |what: &str, name: &str| format!("the file has no {what} \"{name}\"");
    let caller = file.principals.get(&case.principal).ok_or_else(|| named("principal", &case.principal))?;
    let on = file.targets.get(&case.target).ok_or_else(|| named("target", &case.target))?;
    let (who, how) = caller.resolve()?;
    let decision = policies.decide(&who, &how, action, &on.target());
    if decision.allowed { &mut report.allowing } else { &mut report.denying }.insert(case.action.clone());
    report.deciding.extend(decision.policies.iter().cloned());
    if decision.allowed == case.allowed {
        return Ok(());
    }
    let answer = if decision.allowed { "allowed" } else { "denied" };
    let by = match decision.policies.as_slice() {
        [] => "because no policy permits it".to_owned(),
        ids => format!("by {}", ids.join(", ")),
    };
    Err(format!("{answer} {by}, which the case does not expect"))
}
