//! `canopy plugin check`: what the host would refuse, it refuses, for the same reason.

use crate::commands::load;
use canopy_plugin_host::{Inspection, Options, Package, PluginHost};
use canopy_types::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Check {
    /// Folder with plugin.toml and the component, or the component with plugin.toml beside it
    path: PathBuf,
    /// Settings to start it with, a JSON object over its defaults
    #[arg(long)]
    settings: Option<String>,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Whose limits on plugins hold; the defaults otherwise
    #[arg(long, env = "CANOPY_CONFIG")]
    config_file: Option<PathBuf>,
}

pub async fn check(args: &Check) -> Result<ExitCode> {
    let config = load(args.config_file.as_deref())?;
    let settings: Value = match &args.settings {
        None => Value::Null,
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Error::bad_request("plugin.config", format!("--settings is no JSON: {e}")))?,
    };
    let (path, caps) = (args.path.clone(), config.plugins.limits);
    let looked = tokio::task::spawn_blocking(move || {
        let package = read(&path)?;
        let host = PluginHost::with_options(Options { caps, cache: None })?;
        let found = host.inspect(&package, settings);
        Ok::<_, Error>((package, found))
    })
    .await
    .map_err(|e| Error::internal("plugin.check", e))??;
    let (package, found) = looked;
    if args.json {
        super::print_json(&document(&package, &found));
    } else {
        print!("{}", text(&package, &found));
    }
    Ok(if found.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> Result<Package> {
    if path.is_dir() {
        return Package::read(path);
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let package = Package::read(folder)?;
    if path.file_name().is_some_and(|name| name != package.manifest().component.as_str()) {
        let why = format!(
            "{} is not the component that the plugin.toml beside it names ({}).",
            path.display(),
            package.manifest().component
        );
        return Err(Error::bad_request("plugin.file", why));
    }
    Ok(package)
}

fn document(package: &Package, found: &Inspection) -> Value {
    let manifest = package.manifest();
    json!({
        "fit": found.is_fit(),
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind.as_str(),
        "sdk": manifest.sdk,
        "digest": package.digest(),
        "size": package.component().len(),
        "limits": manifest.limits,
        "config_schema": manifest.config.schema,
        "config_defaults": manifest.config.defaults,
        "imports": found.imports,
        "exports": found.exports,
        "memory_peak_bytes": found.memory_peak,
        "held": found.held,
        "broken": found.broken,
        "refusal": found.refusal.as_ref().map(|error| json!({"code": error.code, "message": error.message})),
    })
}

fn text(package: &Package, found: &Inspection) -> String {
    let manifest = package.manifest();
    let limits = manifest.limits;
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![
        format!(
            "{} {}, a {} plugin for SDK {}",
            manifest.name,
            manifest.version,
            manifest.kind.as_str(),
            manifest.sdk
        ),
        format!("  digest    {}", package.digest()),
        format!("  size      {} KiB", package.component().len().div_ceil(1024)),
        format!("  imports   {}", list(&found.imports)),
        format!("  exports   {}", list(&found.exports)),
        format!(
            "  limits    {} MiB memory ({} KiB seen), {} ms a call, {} table entries, {} instances, {} MiB an answer",
            limits.memory_mib,
            found.memory_peak.div_ceil(1024),
            limits.deadline_ms,
            limits.table_entries,
            limits.instances,
            limits.answer_mib
        ),
        format!(
            "  settings  {}",
            manifest.config.schema.as_ref().map_or_else(|| "none are taken".to_owned(), Value::to_string)
        ),
    ];
    lines.extend(found.held.iter().map(|rule| format!("  holds     {rule}")));
    lines.extend(found.broken.iter().map(|rule| format!("  BROKEN    {rule}")));
    lines.push(match &found.refusal {
        Some(error) => format!("refused ({}): {}", error.code, error.message),
        None if found.broken.is_empty() => "fit".to_owned(),
        None => "not fit: the host would take it, and it would decide wrongly".to_owned(),
    });
    lines.join("\n") + "\n"
}
