//! `canopy keys`: the keys that seal tokens, shown and exchanged. Servers of the folder need no restart.

use super::load;
use canopy_app::identity::{Keyring, ShownKey, rotate_key};
use canopy_types::{Clock, Result, SystemClock, Timestamp};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Keys {
    /// The keys, what each is for, and until when
    List {
        #[command(flatten)]
        place: Place,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make a new key that signs tokens; what older ones signed counts until it expires
    Rotate {
        #[command(flatten)]
        place: Place,
        /// Seconds from now, at most a day: time to copy the new key to other controllers before any token needs it
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=86_400))]
        after: i64,
        /// For a key that somebody has seen: remove all others at once, which ends every token
        #[arg(long, conflicts_with = "after")]
        end_tokens: bool,
    },
}

#[derive(clap::Args)]
pub struct Place {
    /// Folder of the keys; otherwise that of the configuration
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(load(self.config.as_deref())?.data_dir.join("keys")),
        }
    }
}

pub fn keys(command: &Keys) -> Result<ExitCode> {
    let now = SystemClock.now();
    match command {
        Keys::List { place, json } => {
            let keys = Keyring::read(&place.folder()?)?.show(now);
            if *json {
                let keys: Vec<_> = keys.iter().map(document).collect();
                println!("{:#}", serde_json::json!({ "keys": keys }));
            } else {
                keys.iter().for_each(|key| println!("{}", line(key)));
            }
        }
        Keys::Rotate { place, after, end_tokens } => {
            let key = rotate_key(&place.folder()?, now.plus_seconds(*after), *end_tokens)?;
            println!("{}", line(&key));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::seconds_z)
}

fn document(key: &ShownKey) -> serde_json::Value {
    serde_json::json!({
        "tag": key.tag, "file": key.file, "state": key.state,
        "signs_from": time(key.signs_from), "opens_until": time(key.opens_until),
    })
}

fn line(key: &ShownKey) -> String {
    let from = time(key.signs_from).map_or(String::new(), |at| format!(", signs from {at}"));
    let until = time(key.opens_until).map_or(String::new(), |at| format!(", opens until {at}"));
    format!("{} {:<5} {}{from}{until}", key.tag, key.state, key.file)
}
