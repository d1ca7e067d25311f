//! `canopy explain`: why a server is where it is, or nowhere.

use super::client::Client;
use canopy_types::{Kind, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Explain {
    #[command(subcommand)]
    what: What,
    /// One JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Hosts to show, at most 1000
    #[arg(long, global = true, default_value_t = 20)]
    hosts: u32,
    /// Whose admin asks when OS_AUTH_URL is not set
    #[arg(long, global = true, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum What {
    /// The newest decision on a server
    Server {
        /// Its id
        id: String,
    },
    /// One decision
    Decision {
        /// Its id, as a fault message names it
        id: String,
    },
}

pub async fn explain(args: &Explain) -> Result<()> {
    let client = Client::from_environment(args.config.as_deref()).await?;
    let path = match &args.what {
        What::Server { id } => format!("/canopy/v1/servers/{id}/decision"),
        What::Decision { id } => format!("/canopy/v1/decisions/{id}"),
    };
    let shown = client.get(&path).await?;
    let decision = &shown["decision"];
    let id = decision["id"].as_str().unwrap_or_default();
    let hosts = client.get(&format!("/canopy/v1/decisions/{id}/hosts?limit={}", args.hosts)).await;
    let hosts = match hosts {
        Ok(hosts) => Ok(hosts),
        // What is left is the decision itself, and the reason.
        Err(error) if matches!(error.kind, Kind::Gone | Kind::Forbidden) => Err(error.message),
        Err(error) => return Err(error),
    };
    if args.json {
        let (table, missing) = match &hosts {
            Ok(table) => (table.clone(), Value::Null),
            Err(why) => (Value::Null, json!(why)),
        };
        println!("{:#}", json!({"decision": decision, "hosts": table, "hosts_missing": missing}));
        return Ok(());
    }
    print!("{}", text(decision, hosts.as_ref()));
    Ok(())
}

/// For people.
fn text(decision: &Value, hosts: Result<&Value, &String>) -> String {
    let document = &decision["document"];
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!(
        "decision {} on server {}, {}",
        word(&decision["id"]),
        word(&decision["server_id"]),
        word(&decision["at"])
    ));
    match (document["winner_name"].as_str(), document["placed"].as_bool()) {
        (Some(host), _) => line(format!("  placed on {host}")),
        (None, Some(true)) => line("  placed".into()),
        (None, _) => line("  refused: no valid host was found".into()),
    }
    let plugin = &document["plugin"];
    let digest: String = word(&plugin["digest"]).chars().take(12).collect();
    let who = format!("{} {} {digest}", word(&plugin["name"]), word(&plugin["version"]));
    line(if placer_chose(document) {
        format!("  chosen by the placer {who}, whose answer keeps every rule; it gives no scores")
    } else {
        format!("  scored by {who}; {}", word(&document["tie_break"]))
    });
    if let Some(fault) = plugin["fault"].as_str() {
        line(format!("  the plugin was at fault, the built-in decided: {fault}"));
    }
    let asked = document["request"]["amounts"].as_object().into_iter().flatten();
    let asked: Vec<String> = asked.map(|(class, n)| format!("{n} {class}")).collect();
    line(format!("  asked for {}", asked.join(", ")));
    let considered = &document["hosts_considered"];
    line(match document["hosts_feasible"].as_u64() {
        Some(0) if placer_chose(document) => {
            format!("  hosts: {considered} in all, those that fit are not counted")
        }
        _ => format!("  hosts: {considered} looked at, {} fit", document["hosts_feasible"]),
    });
    for rule in document["refused"].as_array().into_iter().flatten() {
        let example = rule["example"].as_str().map(|example| format!(", e.g. {example}")).unwrap_or_default();
        line(format!("    {} refused by {}{example}", rule["hosts"], word(&rule["rule"])));
    }
    for advice in document["advice"].as_array().into_iter().flatten() {
        if let Ok(advice) = serde_json::from_value::<canopy_placement::Advice>(advice.clone()) {
            line(format!("  it would fit with {}", advice.words()));
        }
    }
    match hosts {
        Err(why) => line(format!("  hosts are not shown: {why}")),
        Ok(table) => {
            for row in table["hosts"].as_array().into_iter().flatten() {
                line(format!("    {}", host_line(row)));
            }
            if table["next_marker"].is_string() {
                line("    … more with --hosts".into());
            }
        }
    }
    out
}

/// A decision with a host and without scores.
fn placer_chose(document: &Value) -> bool {
    let placed = document["winner_name"].is_string() || document["placed"] == json!(true);
    placed && document["top"].as_array().is_some_and(Vec::is_empty)
}

fn host_line(row: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let name = word(&row["name"]);
    if let Some(why) = row["why"].as_str() {
        let short = row["short"].as_object().into_iter().flatten();
        let short: Vec<String> = short.map(|(class, n)| format!("{n} {class}")).collect();
        let short =
            if short.is_empty() { String::new() } else { format!(" (short of {})", short.join(", ")) };
        return format!("{:<8} {why}{short}", word(&row["verdict"]));
    }
    let reasons = row["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<String> =
        reasons.map(|reason| format!("{} {}", word(&reason["code"]), reason["value"])).collect();
    if row["score"].is_null() && reasons.is_empty() {
        return format!("{:<8} {name}", word(&row["verdict"]));
    }
    format!("{:<8} {name} with {} ({})", word(&row["verdict"]), row["score"], reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_who_refused_and_by_how_much() {
        let decision = json!({"id": "d", "server_id": "s", "at": "t", "document": {
            "winner_name": null, "plugin": {"name": "spread", "version": "1", "digest": "abc", "fault": null},
            "request": {"amounts": {"VCPU": 4}}, "hosts_considered": 2, "hosts_feasible": 0,
            "refused": [{"rule": "capacity:VCPU", "hosts": 2, "example": "h1 has 2 of 4 VCPU free"}],
            "advice": [{"changes": [{"relax": "amount", "class": "VCPU", "from": 4, "to": 2}]}],
        }});
        let hosts = json!({"hosts": [
            {"verdict": "refused", "name": "h1", "why": "h1 has 2 of 4 VCPU free", "short": {"VCPU": 2}},
            {"verdict": "fits", "name": "h2", "score": 0.5, "reasons": [{"code": "free", "value": 0.5}]},
        ]});
        let said = text(&decision, Ok(&hosts));
        for part in [
            "refused: no valid host was found",
            "asked for 4 VCPU",
            "2 refused by capacity:VCPU, e.g. h1 has 2 of 4 VCPU free",
            "it would fit with 2 instead of 4 VCPU",
            "refused  h1 has 2 of 4 VCPU free (short of 2 VCPU)",
            "fits     h2 with 0.5 (free 0.5)",
        ] {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
        assert!(text(&decision, Err(&"gone".into())).contains("hosts are not shown: gone"));
    }

    #[test]
    fn a_placers_choice_is_not_said_to_be_scored() {
        let decision = json!({"id": "d", "server_id": "s", "at": "t", "document": {
            "winner_name": "h2", "plugin": {"name": "mine", "version": "1", "digest": "abc", "fault": null},
            "request": {"amounts": {"VCPU": 4}}, "hosts_considered": 900, "hosts_feasible": 0, "top": [],
        }});
        let hosts = json!({"hosts": [{"verdict": "chosen", "name": "h2", "score": null, "reasons": null}]});
        let said = text(&decision, Ok(&hosts));
        for part in [
            "placed on h2",
            "chosen by the placer mine 1 abc, whose answer keeps every rule; it gives no scores",
            "hosts: 900 in all, those that fit are not counted",
            "chosen   h2\n",
        ] {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
    }
}
