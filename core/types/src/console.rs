//! Consoles of a guest that can be joined from outside of its host.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleKind {
    /// Its screen, keyboard and pointer, by VNC's protocol.
    Novnc,
    /// Its first serial port.
    Serial,
}

impl ConsoleKind {
    pub const ALL: [Self; 2] = [Self::Novnc, Self::Serial];

    /// nova's name of the console's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Novnc => "novnc",
            Self::Serial => "serial",
        }
    }
}

impl FromStr for ConsoleKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}
