//! What a list asks of servers that no statement asks: patterns, and states that are derived.

use canopy_store::servers::ServerRow;
use canopy_types::{Error, Result};
use regex::{Regex, RegexBuilder};

/// Memory that one pattern may take, bytes. Matching takes time in proportion to the text, whatever the pattern.
const PATTERN: usize = 64 << 10;

/// A text that patterns are asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Name,
    Description,
    Hostname,
}

/// A value that is asked for as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    VmState,
    TaskState,
    PowerState,
    LaunchIndex,
    Progress,
    AccessV4,
    AccessV6,
    ConfigDrive,
    LockedBy,
}

/// All of it must hold.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    patterns: Vec<(Text, Regex)>,
    exact: Vec<(Exact, String)>,
}

impl Matching {
    /// A pattern that is found anywhere in the text.
    pub fn pattern(&mut self, of: Text, pattern: &str) -> Result<()> {
        let made = RegexBuilder::new(pattern).size_limit(PATTERN).dfa_size_limit(PATTERN).build();
        let made = made.map_err(|_| {
            let shown: String = pattern.chars().take(64).collect();
            Error::bad_request("query.pattern", format!("'{shown}' is not a regular expression."))
        })?;
        self.patterns.push((of, made));
        Ok(())
    }

    pub fn exact(&mut self, of: Exact, value: &str) {
        self.exact.push((of, value.to_owned()));
    }

    pub fn holds(&self, server: &ServerRow) -> bool {
        self.patterns.iter().all(|(of, pattern)| pattern.is_match(of.read(server)))
            && self.exact.iter().all(|(of, value)| of.read(server) == *value)
    }
}

impl Text {
    fn read(self, server: &ServerRow) -> &str {
        match self {
            Self::Name => &server.name,
            Self::Description => server.description.as_deref().unwrap_or_default(),
            Self::Hostname => &server.hostname,
        }
    }
}

impl Exact {
    fn read(self, server: &ServerRow) -> String {
        let shown = server.derived();
        match self {
            Self::VmState => shown.vm_state.to_owned(),
            Self::TaskState => shown.task_state.unwrap_or_default().to_owned(),
            Self::PowerState => shown.power_state.to_string(),
            Self::LaunchIndex => server.launch_index.to_string(),
            Self::Progress => shown.progress().to_string(),
            Self::AccessV4 => server.access_ip_v4.map(|ip| ip.to_string()).unwrap_or_default(),
            Self::AccessV6 => server.access_ip_v6.map(|ip| ip.to_string()).unwrap_or_default(),
            Self::ConfigDrive => if server.config_drive { "True" } else { "" }.to_owned(),
            Self::LockedBy => match &server.lock {
                Some(lock) if lock.by_admin => "admin",
                Some(_) => "owner",
                None => "",
            }
            .to_owned(),
        }
    }
}
