//! What can go wrong with a plugin, and what it is called in metrics, decisions and logs.

use std::fmt;
use std::time::Duration;

/// Why a plugin's answer was not used. Every fault ends in the kind's fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest trapped: a panic, an access out of bounds, a stack too deep.
    Trap(String),
    /// The call was still running at its deadline.
    Deadline(Duration),
    /// The guest asked for more memory, table entries or instances than its limit, and did not cope.
    Memory(String),
    /// The guest answered, but not what the contract allows.
    Answer(String),
    /// The guest refused its configuration after it had accepted it.
    Init(String),
    /// Too many questions are waiting, or this one waited too long.
    Overload,
    /// The host's own mistake, or its end.
    Host(String),
}

impl Fault {
    /// The value of the metric's label `fault`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
            Self::Answer(_) => "answer",
            Self::Init(_) => "init",
            Self::Overload => "overload",
            Self::Host(_) => "host",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(what) => write!(f, "trap: {what}"),
            Self::Deadline(limit) => write!(f, "deadline: no answer within {} ms", limit.as_millis()),
            Self::Memory(what) => write!(f, "memory: {what}"),
            Self::Answer(what) => write!(f, "answer: {what}"),
            Self::Init(what) => write!(f, "init: {what}"),
            Self::Overload => f.write_str("overload: too many questions wait for the plugin"),
            Self::Host(what) => write!(f, "host: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

/// What is no plain text: control characters, and those that turn the direction of what follows.
pub(crate) fn odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Guests choose their words; a log line or a decision does not grow for them.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 512;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cleaned = text[..end].chars().map(|c| if odd(c) { ' ' } else { c });
    cleaned.chain(if end < text.len() { "…" } else { "" }.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_words_are_cut_between_characters_and_stay_on_one_line() {
        let long = "é".repeat(400);
        let cut = short(&long);
        assert!(cut.len() <= 512 + '…'.len_utf8() && cut.ends_with('…'));
        assert_eq!(short("a\nb\u{1b}c"), "a b c");
    }
}
