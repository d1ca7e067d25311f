//! `canopy policy why` and `canopy policy who-can`.

use super::print_json;
use crate::commands::{audit, load};
use crate::policies;
use canopy_authz::cases::{self, Caller, On};
use canopy_authz::explain::{Explanation, Near, explain};
use canopy_authz::who_can::{Able, Untried, untried, who_can};
use canopy_authz::{Bundle, Snapshot};
use canopy_types::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Largest description that is read, bytes.
const MAX: u64 = 1 << 20;
/// Permits that are shown of those that came nearest.
const NEAREST: usize = 5;

#[derive(clap::Args)]
pub struct Why {
    /// Id of a request (`req-…`, from the audit log), a description in JSON, or `-` to read one:
    /// {"action": …, "principal": …, "target": …} in the words of `policies/tests`
    request: String,
    #[command(flatten)]
    bundle: Which,
    /// Folder of the audit log; otherwise that of the configuration
    #[arg(long)]
    audit: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct WhoCan {
    /// E.g. `compute:servers:delete`
    action: String,
    /// In JSON, in the words of `policies/tests`: {"id": …, "project_id": …}
    #[arg(default_value = "{}")]
    resource: String,
    #[command(flatten)]
    bundle: Which,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Which {
    /// Folder or git revision; otherwise what the configuration names
    #[arg(long)]
    policies: Option<String>,
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

impl Which {
    async fn bundle(&self) -> Result<Bundle> {
        match (&self.policies, load(self.config.as_deref())?.policies.dir) {
            (Some(source), _) => policies::named(source).await?.bundle().await,
            (None, Some(dir)) => policies::deployed(&dir).await?.bundle().await,
            (None, None) => Bundle::embedded(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    action: String,
    principal: Caller,
    #[serde(default)]
    target: On,
    /// Method and path of a request in the audit log.
    #[serde(default)]
    request: String,
}

#[derive(Serialize)]
struct Answer {
    /// As the audit log has it: what was decided then, and by which bundle.
    recorded: Option<Value>,
    action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    request: String,
    #[serde(flatten)]
    explanation: Explanation,
}

pub async fn why(args: &Why) -> Result<ExitCode> {
    let bundle = args.bundle.bundle().await?;
    let version = bundle.commit().unwrap_or(bundle.digest()).to_owned();
    let policies = Snapshot::of(bundle);
    let described = args.request == "-" || args.request.trim_start().starts_with('{');
    let questions = if described { vec![(None, description(&args.request)?)] } else { recorded(args)? };
    let mut answers = Vec::new();
    for (recorded, question) in questions {
        let (who, how) = question.principal.resolve().map_err(bad)?;
        let action = cases::action(&question.action).map_err(bad)?;
        let explanation = explain(&policies, &who, &how, action, &question.target.target());
        answers.push(Answer { recorded, action: question.action, request: question.request, explanation });
    }
    if args.json {
        print_json(&answers)?;
    } else {
        answers.iter().for_each(|answer| print(answer, &version));
    }
    Ok(ExitCode::SUCCESS)
}

fn bad(what: String) -> Error {
    Error::bad_request("policy.question", what)
}

fn description(text: &str) -> Result<Question> {
    let mut read = String::new();
    let text = if text == "-" {
        std::io::stdin()
            .take(MAX)
            .read_to_string(&mut read)
            .map_err(|e| bad(format!("standard input: {e}")))?;
        &read
    } else {
        text
    };
    serde_json::from_str(text).map_err(|e| bad(format!("the description: {e}")))
}

/// The decisions of one request in the audit log.
fn recorded(args: &Why) -> Result<Vec<(Option<Value>, Question)>> {
    let dir = audit::folder(args.audit.as_ref(), args.bundle.config.as_deref())?;
    let tag = format!("request:{}", args.request);
    let mut found = Vec::new();
    let mut unread = None;
    canopy_audit::lines(&dir, |event| {
        if event["tags"][0] != tag.as_str() {
            return;
        }
        match serde_json::from_value(event["attachments"][0]["content"].clone()) {
            Ok(question) => found.push((Some(event), question)),
            Err(e) => unread = Some(e),
        }
    })?;
    if found.is_empty() {
        let why = unread.map_or_else(
            || "only denials and what changes something are in it".to_owned(),
            |e| format!("its line does not describe a decision ({e})"),
        );
        let message = format!("{}: the audit log in {} has no decision: {why}", args.request, dir.display());
        return Err(Error::not_found("audit.request", message));
    }
    Ok(found)
}

fn print(answer: &Answer, version: &str) {
    let Explanation { allowed, policies, nearest, because } = &answer.explanation;
    let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
    if let Some(event) = &answer.recorded {
        let then = event["outcome"] == "success";
        let bundle = event["reason"]["policyType"].as_str().unwrap_or_default();
        let ids = event["reason"]["policyId"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let ids: Vec<&str> = ids.collect();
        let by = if ids.is_empty() { "no policy".into() } else { ids.join(", ") };
        println!(
            "{}: was {} by {by} at {}",
            answer.action,
            word(then),
            event["eventTime"].as_str().unwrap_or_default()
        );
        if bundle != version {
            println!("  the policies were {bundle}; what follows is by {version}");
        }
        if !answer.request.is_empty() {
            println!("  {}", answer.request);
        }
        if then != *allowed && bundle == version {
            println!(
                "  what decided looks at the resource's metadata, which is not in the audit log. As if it had none:"
            );
        }
    }
    match (policies.is_empty(), allowed) {
        (true, _) => println!("{}: denied, because no policy permits it", answer.action),
        (false, true) => println!("{}: allowed by {}", answer.action, policies.join(", ")),
        (false, false) => println!("{}: forbidden by {}", answer.action, policies.join(", ")),
    }
    for Near { policy, file, met, .. } in because {
        println!("  {file}: @id(\"{policy}\")");
        met.iter().for_each(|condition| println!("    holds: {condition}"));
    }
    if !nearest.is_empty() {
        println!("  nearest:");
    }
    for Near { policy, file, met, unmet } in nearest.iter().take(NEAREST) {
        println!("  {file}: @id(\"{policy}\"): {} of {} conditions hold", met.len(), met.len() + unmet.len());
        unmet.iter().for_each(|condition| println!("    fails: {condition}"));
    }
}

pub async fn who(args: &WhoCan) -> Result<ExitCode> {
    let action = cases::action(&args.action).map_err(bad)?;
    let on: On = serde_json::from_str(&args.resource).map_err(|e| bad(format!("the resource: {e}")))?;
    let policies = Snapshot::of(args.bundle.bundle().await?);
    let able = who_can(&policies, action, &on);
    let untried = untried(&policies, action, &able);
    if args.json {
        print_json(&serde_json::json!({"able": able, "untried": untried}))?;
        return Ok(ExitCode::SUCCESS);
    }
    for Able { role, scope, place, owner, policies } in &able {
        let role = if role.is_empty() { "anybody".to_owned() } else { format!("role {role}") };
        let place = match *place {
            "own" => format!("the resource's {scope}"),
            "other" => format!("another {scope}"),
            _ if *scope == "system" => "the system".to_owned(),
            _ => "no scope".to_owned(),
        };
        let owner = if *owner { ", only its own user" } else { "" };
        println!("{role} in {place}{owner}: {}", policies.join(", "));
    }
    if able.is_empty() {
        println!("nobody");
    }
    if !untried.is_empty() {
        println!("not tried, since they look at more than one role, the scope and the owner:");
    }
    for Untried { policy, file, forbids } in &untried {
        let effect = if *forbids { "forbids" } else { "permits" };
        println!("  {file}: @id(\"{policy}\") {effect} under its conditions");
    }
    Ok(ExitCode::SUCCESS)
}
