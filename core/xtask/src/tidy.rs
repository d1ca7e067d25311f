//! Rules about the sources that no other tool checks: which crate may use what, and what no file may say.

use crate::lint::WORKSPACES;
use crate::run::{Res, cargo, failed, program, quiet, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// (a library, the only crates of ours that may use it)
const ONLY: &[(&str, &[&str])] = &[
    ("sqlx", &["canopy-store"]),
    ("virt", &["canopy-libvirt"]),
    ("virt-sys", &["canopy-libvirt"]),
    ("wasmtime", &["canopy-plugin-host"]),
    ("cedar-policy", &["canopy-authz", "canopy-policy-proof"]),
    ("cedar-policy-formatter", &["canopy-authz"]),
    ("cedar-policy-symcc", &["canopy-policy-proof"]),
    // A request never waits for a solver: only the command line links it.
    ("canopy-policy-proof", &["canopy"]),
    ("wit-component", &["xtask", "canopy", "canopy-plugin-host", "canopy-sim", "canopy-tests"]),
];

/// (a crate of ours, what it may not use)
const NEVER: &[(&str, &[&str])] = &[
    // What is pure stays pure: no runtime, no clock, no network.
    ("canopy-types", &["tokio", "axum", "hyper", "reqwest"]),
    ("canopy-placement", &["tokio", "axum", "hyper", "reqwest", "canopy-store", "canopy-app"]),
    ("canopy-journal", &["tokio", "canopy-store", "canopy-plugin-host", "canopy-app"]),
    ("canopy-candidates", &["tokio", "axum", "hyper", "reqwest", "canopy-store", "canopy-app"]),
    ("canopy-agent-api", &["tokio", "canopy-store", "canopy-app"]),
    ("canopy-authz", &["tokio", "canopy-store", "canopy-app"]),
    ("canopy-policy-proof", &["canopy-store", "canopy-app", "canopy-api"]),
    ("canopy-store", &["axum", "canopy-app", "canopy-authz", "canopy-api"]),
    // Use cases know neither HTTP nor the hypervisor.
    ("canopy-app", &["axum", "hyper", "canopy-api", "canopy-agent", "canopy-hypervisor", "canopy-libvirt"]),
    // The API reaches the database through use cases only.
    ("canopy-api", &["canopy-store", "canopy-agent", "canopy-hypervisor", "canopy-libvirt"]),
    // The agent works without the control plane.
    ("canopy-agent", &["canopy-store", "canopy-app", "canopy-api", "canopy-authz", "canopy-libvirt"]),
    ("canopy-libvirt", &["canopy-agent", "canopy-agent-api", "canopy-store", "canopy-app", "canopy-api"]),
];

/// What nobody should leave in a file. The words are put together here, or this file would be the first find.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "write it, or leave it out"),
    (concat!("unimplemented", "!("), "write it, or leave it out"),
    (concat!("dbg", "!("), "use tracing"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/.cargo"), "a path of one machine"),
    (concat!("<<<<", "<<< "), "a merge was left half done"),
];

/// Files longer than this are listed; they want to be two.
const LONG: usize = 400;
/// Files longer than this fail.
const TOO_LONG: usize = 800;

pub fn check(root: &Path) -> Res<()> {
    let mut complaints = Vec::new();
    for workspace in WORKSPACES {
        let metadata = metadata(&root.join(workspace))?;
        if workspace.is_empty() {
            layers(&metadata, &mut complaints);
            system_libraries(&metadata, &mut complaints);
        }
        shared_lints(&metadata, &mut complaints)?;
    }
    files(root, &mut complaints)?;
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

/// Fails also when a lock file is not up to date.
fn metadata(folder: &Path) -> Res<Value> {
    let arguments =
        ["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"];
    let json = text(cargo(folder).args(arguments))?;
    serde_json::from_str(&json).map_err(|e| format!("cargo metadata: {e}"))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// The crates of this workspace: those that come from no registry.
fn own(metadata: &Value) -> impl Iterator<Item = &Value> {
    packages(metadata).filter(|package| package["source"].is_null())
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn layers(metadata: &Value, complaints: &mut Vec<String>) {
    for package in own(metadata) {
        let user = name(package);
        for used in package["dependencies"].as_array().into_iter().flatten().map(name) {
            let reserved = ONLY.iter().find(|(library, _)| *library == used);
            if let Some((_, users)) = reserved.filter(|(_, users)| !users.contains(&user)) {
                complaints.push(format!("{user} uses {used}, which is for {} only", users.join(", ")));
            }
            if NEVER.iter().any(|(crate_, not)| *crate_ == user && not.contains(&used)) {
                complaints.push(format!("{user} must not use {used}"));
            }
        }
    }
}

/// xtask installs the system libraries, so it must build without any.
fn system_libraries(metadata: &Value, complaints: &mut Vec<String>) {
    let by_id: BTreeMap<&str, &Value> =
        packages(metadata).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let uses: BTreeMap<&str, Vec<&str>> = nodes
        .filter_map(|node| {
            let used = node["dependencies"].as_array()?.iter().filter_map(Value::as_str);
            Some((node["id"].as_str()?, used.collect()))
        })
        .collect();
    let mut next: Vec<&str> = by_id.iter().filter(|(_, p)| name(p) == "xtask").map(|(id, _)| *id).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(package) = by_id.get(id) else { continue };
        if let Some(library) = package["links"].as_str() {
            complaints.push(format!("xtask needs {}, which links {library}", name(package)));
        }
        next.extend(uses.get(id).into_iter().flatten());
    }
}

/// A crate without the workspace's lints would be checked less than the others.
fn shared_lints(metadata: &Value, complaints: &mut Vec<String>) -> Res<()> {
    for package in own(metadata) {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let text = fs::read_to_string(manifest).map_err(|e| failed("read", manifest, &e))?;
        let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", manifest.display()))?;
        let lints = table.get("lints");
        let shared = lints.and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) == Some(true);
        // The two crates with `unsafe` of their own have to say so themselves, and repeat the rest.
        let own_reasons =
            ["canopy-libvirt", "canopy-plugin-host"].contains(&name(package)) && lints.is_some();
        if !(shared || own_reasons) {
            complaints.push(format!("{} does not use the workspace's lints", name(package)));
        }
    }
    Ok(())
}

fn files(root: &Path, complaints: &mut Vec<String>) -> Res<()> {
    let list = text(program("git").arg("-C").arg(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut long = Vec::new();
    for file in list.split('\0').filter(|file| !file.is_empty()) {
        let path = root.join(file);
        // Deleted but not yet committed, or not text.
        let Ok(content) = fs::read_to_string(&path) else { continue };
        for (number, line) in content.lines().enumerate() {
            for (word, advice) in FORBIDDEN {
                if line.contains(word) {
                    complaints.push(format!("{file}:{}: {word:?}: {advice}", number + 1));
                }
            }
        }
        if file.ends_with(".rs") {
            let lines = content.lines().count();
            if lines > TOO_LONG {
                complaints.push(format!("{file} has {lines} lines; split it (at most {TOO_LONG})"));
            } else if lines > LONG {
                long.push(format!("{lines} {file}"));
            }
        }
        if let Some(shell) = shell(&content) {
            quiet(program(shell).arg("-n").arg(&path)).unwrap_or_else(|error| complaints.push(error));
        }
    }
    if !long.is_empty() {
        println!("long files: {}", long.join(", "));
    }
    Ok(())
}

fn shell(content: &str) -> Option<&'static str> {
    match content.lines().next()? {
        "#!/bin/sh" => Some("sh"),
        "#!/usr/bin/env bash" | "#!/bin/bash" => Some("bash"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, uses: &[&str], links: Option<&str>) -> Value {
        let dependencies: Vec<Value> = uses.iter().map(|used| json!({ "name": used })).collect();
        json!({ "id": name, "name": name, "source": null, "links": links, "dependencies": dependencies })
    }

    fn complaints(packages: &[Value]) -> Vec<String> {
        let nodes: Vec<Value> = packages
            .iter()
            .map(|p| {
                let uses: Vec<&Value> =
                    p["dependencies"].as_array().unwrap().iter().map(|d| &d["name"]).collect();
                json!({ "id": p["id"], "dependencies": uses })
            })
            .collect();
        let metadata = json!({ "packages": packages, "resolve": { "nodes": nodes } });
        let mut found = Vec::new();
        layers(&metadata, &mut found);
        system_libraries(&metadata, &mut found);
        found
    }

    #[test]
    fn layers_hold() {
        let good =
            [package("canopy-store", &["sqlx"], None), package("canopy-api", &["canopy-app", "axum"], None)];
        assert!(complaints(&good).is_empty());
        let reserved = complaints(&[package("canopy-api", &["sqlx"], None)]);
        assert_eq!(reserved, ["canopy-api uses sqlx, which is for canopy-store only"]);
        let upward = complaints(&[package("canopy-api", &["canopy-store"], None)]);
        assert_eq!(upward, ["canopy-api must not use canopy-store"]);
    }

    #[test]
    fn xtask_links_no_system_library_however_deep() {
        let packages = [
            package("xtask", &["clap"], None),
            package("clap", &["deep"], None),
            package("deep", &[], Some("ssl")),
        ];
        assert_eq!(complaints(&packages), ["xtask needs deep, which links ssl"]);
    }
}
