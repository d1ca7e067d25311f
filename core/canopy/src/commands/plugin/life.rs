//! The commands that ask the API. Ids may be shortened, and a name stands for the newest of that name.

use super::{Body, Client, How, Plugin, print_json};
use canopy_plugin_host::Package;
use canopy_types::{Error, Result};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

const KINDS: [&str; 3] = ["scheduler", "quota", "network"];

pub(super) async fn run(command: &Plugin) -> Result<()> {
    match command {
        Plugin::New(_) | Plugin::Build(_) | Plugin::Check(_) => Ok(()),
        Plugin::Install { folder, how, dry_run } => install(folder, how, *dry_run).await,
        Plugin::List(how) => {
            let listed = how.client().await?.get("/canopy/v1/plugins").await?;
            show(how, &listed, list_text)
        }
        Plugin::Show { what, how } => {
            let client = how.client().await?;
            if KINDS.contains(&what.as_str()) {
                let shown = client.get(&format!("/canopy/v1/plugin-slots/{what}")).await?;
                return show(how, &shown, |shown| slot_text(&shown["slot"]));
            }
            let id = resolve(&client, what).await?;
            let shown = client.get(&format!("/canopy/v1/plugins/{id}")).await?;
            show(how, &shown, |shown| format!("{:#}\n", shown["plugin"]))
        }
        Plugin::Stats { kind, how } => stats(kind.as_deref(), how).await,
        Plugin::Logs { kind, plugin, limit, how } => {
            let client = how.client().await?;
            let mut path = format!("/canopy/v1/plugin-log?limit={limit}");
            if let Some(kind) = kind {
                path += &format!("&kind={}", known(kind)?);
            }
            if let Some(plugin) = plugin {
                path += &format!("&plugin={}", resolve(&client, plugin).await?);
            }
            show(how, &client.get(&path).await?, log_text)
        }
        Plugin::Configure { plugin, config, how, dry_run } => {
            let client = how.client().await?;
            let config = settings(config)?;
            let listed = client.get("/canopy/v1/plugins").await?;
            let id = in_force_or_newest(&listed, plugin)?;
            let path = format!("/canopy/v1/plugins/{id}/config?dry_run={dry_run}");
            let shown = client.send(Method::PUT, &path, Body::Json(json!({ "config": config }))).await?;
            show(how, &shown, |shown| {
                let plugin = &shown["plugin"];
                let when = if plugin["active"] == true { "in force" } else { "for when it is put in force" };
                format!(
                    "{} {:.12} takes {}, {when}\n",
                    word(&plugin["name"]),
                    word(&plugin["id"]),
                    plugin["config"]
                )
            })
        }
        Plugin::Shadow { kind, plugin, off, how } => shadow(known(kind)?, plugin.as_deref(), *off, how).await,
        Plugin::Activate { kind, plugin, how, dry_run } => {
            let client = how.client().await?;
            let id = match plugin.as_str() {
                "start" | "built-in" => plugin.clone(),
                _ => resolve(&client, plugin).await?,
            };
            let path = format!("/canopy/v1/plugin-slots/{}/active?dry_run={dry_run}", known(kind)?);
            let shown = client.send(Method::PUT, &path, Body::Json(json!({ "plugin": id }))).await?;
            show(how, &shown, |shown| slot_text(&shown["slot"]))
        }
        Plugin::Rollback { kind, how } => {
            let path = format!("/canopy/v1/plugin-slots/{}/rollback", known(kind)?);
            let shown = how.client().await?.send(Method::POST, &path, Body::None).await?;
            show(how, &shown, |shown| slot_text(&shown["slot"]))
        }
        Plugin::Demotion { kind, faults, window, how } => {
            let path = format!("/canopy/v1/plugin-slots/{}/demotion", known(kind)?);
            let body = Body::Json(json!({"faults": faults, "window_seconds": window}));
            let shown = how.client().await?.send(Method::PUT, &path, body).await?;
            show(how, &shown, |shown| slot_text(&shown["slot"]))
        }
        Plugin::Remove { plugin, how } => {
            let client = how.client().await?;
            let id = resolve(&client, plugin).await?;
            client.send(Method::DELETE, &format!("/canopy/v1/plugins/{id}"), Body::None).await?;
            show(how, &json!({ "removed": id }), |_| format!("removed {id}\n"))
        }
    }
}

async fn install(folder: &Path, how: &How, dry_run: bool) -> Result<()> {
    let folder = folder.to_owned();
    let bytes = tokio::task::spawn_blocking(move || Package::read(&folder).map(|package| package.to_wire()))
        .await
        .map_err(|e| Error::internal("plugin.read", e))??;
    let path = format!("/canopy/v1/plugins?dry_run={dry_run}");
    let shown = how.client().await?.send(Method::POST, &path, Body::Bytes(bytes)).await?;
    show(how, &shown, |shown| {
        let plugin = &shown["plugin"];
        let said = if dry_run {
            "would be installed"
        } else {
            "is installed; `canopy plugin activate` puts it in force"
        };
        format!("{} {} {}\n{}\n", word(&plugin["name"]), word(&plugin["version"]), said, word(&plugin["id"]))
    })
}

async fn stats(kind: Option<&str>, how: &How) -> Result<()> {
    let client = how.client().await?;
    let kinds: Vec<&str> = match kind {
        Some(kind) => vec![known(kind)?],
        None => KINDS.to_vec(),
    };
    let mut all = Vec::new();
    for kind in kinds {
        all.push(client.get(&format!("/canopy/v1/plugin-slots/{kind}/stats")).await?["stats"].take());
    }
    show(how, &json!({ "stats": all }), |shown| {
        let rows = shown["stats"].as_array().into_iter().flatten();
        rows.flat_map(|row| {
            [("active", &row["active"]), ("shadow", &row["shadow"])].map(|(role, of)| (row, role, of))
        })
        .filter(|(_, role, of)| *role == "active" || !of.is_null())
        .map(|(row, role, of)| stats_line(word(&row["kind"]), role, of))
        .collect()
    })
}

fn stats_line(kind: &str, role: &str, of: &Value) -> String {
    if of.is_null() {
        return format!("{kind:<10} {role:<7} built-in: nothing is counted\n");
    }
    let faults: Vec<String> = of["faults"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(label, count)| format!("{count} {label}"))
        .collect();
    format!(
        "{kind:<10} {role:<7} {} {} {:.12}: {} calls, p50 {}, p99 {}, {} KiB at most, faults: {}\n",
        word(&of["name"]),
        word(&of["version"]),
        word(&of["digest"]),
        of["calls"],
        time(&of["p50_us"]),
        time(&of["p99_us"]),
        of["memory_peak_bytes"].as_u64().unwrap_or(0) / 1024,
        if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
    )
}

/// Nothing is measured before the first call.
fn time(us: &Value) -> String {
    if us.is_null() { "–".to_owned() } else { format!("{us} µs") }
}

async fn shadow(kind: &str, plugin: Option<&str>, off: bool, how: &How) -> Result<()> {
    let client = how.client().await?;
    let path = format!("/canopy/v1/plugin-slots/{kind}/shadow");
    let shown = match plugin {
        Some(plugin) => {
            let id = resolve(&client, plugin).await?;
            client.send(Method::PUT, &path, Body::Json(json!({ "plugin": id }))).await?
        }
        None if off => client.send(Method::DELETE, &path, Body::None).await?,
        None => {
            let slot = client.get(&format!("/canopy/v1/plugin-slots/{kind}")).await?;
            let rows = client.get(&format!("/canopy/v1/plugin-slots/{kind}/differences")).await?;
            let both = json!({"shadow": slot["slot"]["shadow"], "differences": rows["differences"]});
            return show(how, &both, differences_text);
        }
    };
    show(how, &shown, |shown| slot_text(&shown["slot"]))
}

fn differences_text(shown: &Value) -> String {
    let shadow = &shown["shadow"];
    let mut text = if shadow.is_null() {
        "no shadow is asked; what earlier ones differed in:\n".to_owned()
    } else {
        format!(
            "{:.12}: {} of {} otherwise, {} not asked\n",
            word(&shadow["plugin"]),
            shadow["different"],
            shadow["compared"],
            shadow["skipped"]
        )
    };
    for row in shown["differences"].as_array().into_iter().flatten() {
        text += &format!(
            "  {} {}: {}; it would: {}\n",
            word(&row["at"]),
            word(&row["subject"]),
            word(&row["was"]),
            word(&row["would"])
        );
    }
    text
}

fn list_text(listed: &Value) -> String {
    let mut text = String::new();
    for slot in listed["slots"].as_array().into_iter().flatten() {
        text += &slot_text(slot);
    }
    for plugin in listed["plugins"].as_array().into_iter().flatten() {
        let role = match (plugin["active"].as_bool(), plugin["shadow"].as_bool()) {
            (Some(true), _) => "  in force",
            (_, Some(true)) => "  shadow",
            _ => "",
        };
        text += &format!(
            "{:.12}  {:<10} {} {}{role}\n",
            word(&plugin["id"]),
            word(&plugin["kind"]),
            word(&plugin["name"]),
            word(&plugin["version"])
        );
    }
    text
}

fn slot_text(slot: &Value) -> String {
    let active = &slot["active"];
    let mut text = format!(
        "{:<10} {} {} since {} ({})\n",
        word(&slot["kind"]),
        word(&slot["name"]),
        slot["version"].as_str().unwrap_or_default(),
        word(&slot["in_force_since"]),
        word(&active["why"]),
    );
    if let Some(shadow) = slot["shadow"].as_object() {
        text += &format!(
            "           shadow {:.12}: {} of {} otherwise\n",
            word(&shadow["plugin"]),
            shadow["different"],
            shadow["compared"]
        );
    }
    if let Some(message) = slot["error"]["message"].as_str() {
        text += &format!("           what was chosen is not in force: {message}\n");
    }
    text
}

fn log_text(shown: &Value) -> String {
    let lines = shown["log"].as_array().into_iter().flatten();
    lines
        .map(|line| {
            format!(
                "{} {:<10} {:<9} {:.12} {}\n",
                word(&line["at"]),
                word(&line["kind"]),
                word(&line["what"]),
                word(&line["plugin"]),
                word(&line["message"])
            )
        })
        .collect()
}

fn show(how: &How, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<()> {
    if how.json {
        print_json(value);
    } else {
        print!("{}", text(value));
    }
    Ok(())
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn known(kind: &str) -> Result<&str> {
    if KINDS.contains(&kind) {
        return Ok(kind);
    }
    Err(Error::bad_request(
        "plugin.kind",
        format!("{kind} is no kind of plugin: scheduler, quota or network."),
    ))
}

fn settings(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Error::bad_request("plugin.config", "--config is no JSON object."))
}

/// The id that was meant: whole, its beginning (6 digits or more), or a name, whose newest it is.
async fn resolve(client: &Client, what: &str) -> Result<String> {
    let what = what.strip_prefix("sha256:").unwrap_or(what);
    let listed = client.get("/canopy/v1/plugins").await?;
    let plugins: Vec<&Value> = listed["plugins"].as_array().into_iter().flatten().collect();
    pick(&plugins, what)
}

/// The same for settings: of several with one name, the one that is in force is meant.
fn in_force_or_newest(listed: &Value, what: &str) -> Result<String> {
    let what = what.strip_prefix("sha256:").unwrap_or(what);
    let plugins: Vec<&Value> = listed["plugins"].as_array().into_iter().flatten().collect();
    let in_force: Vec<&Value> =
        plugins.iter().filter(|plugin| plugin["active"] == true && plugin["name"] == what).copied().collect();
    if in_force.is_empty() { pick(&plugins, what) } else { pick(&in_force, what) }
}

fn pick(plugins: &[&Value], what: &str) -> Result<String> {
    let newest = plugins
        .iter()
        .filter(|plugin| plugin["name"] == what)
        .max_by(|a, b| a["installed_at"].as_str().cmp(&b["installed_at"].as_str()));
    let beginning: Vec<_> =
        plugins.iter().filter(|plugin| what.len() >= 6 && word(&plugin["id"]).starts_with(what)).collect();
    match (newest, beginning.as_slice()) {
        // A name may look like the beginning of another's id.
        (Some(plugin), others) if others.iter().all(|other| other["name"] == plugin["name"]) => {
            Ok(word(&plugin["id"]).to_owned())
        }
        (Some(_), _) => Err(Error::bad_request(
            "plugin.id",
            format!("{what} is one plugin's name and the beginning of another's id: give the whole id."),
        )),
        (None, [plugin]) => Ok(word(&plugin["id"]).to_owned()),
        (None, []) => Err(Error::not_found("plugin.not_found", format!("No plugin {what} is installed."))),
        (None, _) => {
            Err(Error::bad_request("plugin.id", format!("More than one plugin's id begins with {what}.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_newest_and_an_id_may_be_short_but_not_doubtful() {
        let plugin = |id: &str, name: &str, at: &str| json!({"id": id, "name": name, "installed_at": at});
        let all = [
            plugin("abcdef11", "a", "2026-01-01"),
            plugin("abcdef22", "a", "2026-01-02"),
            plugin("123456aa", "b", "2026-01-01"),
        ];
        let all: Vec<&Value> = all.iter().collect();
        assert_eq!(pick(&all, "a").unwrap(), "abcdef22");
        assert_eq!(pick(&all, "123456").unwrap(), "123456aa");
        let posing = plugin("ffffff00", "123456", "2026-01-03");
        let error = pick(&[all[2], &posing], "123456").unwrap_err();
        assert!(error.message.contains("give the whole id"), "{}", error.message);
        assert!(pick(&all, "12345").is_err() && pick(&all, "abcdef").is_err() && pick(&all, "c").is_err());
        let mut listed = json!({ "plugins": all });
        assert_eq!(in_force_or_newest(&listed, "a").unwrap(), "abcdef22");
        listed["plugins"][0]["active"] = json!(true);
        assert_eq!(in_force_or_newest(&listed, "a").unwrap(), "abcdef11", "settings are of what serves");
        assert_eq!(in_force_or_newest(&listed, "abcdef22").unwrap(), "abcdef22");
    }
}
