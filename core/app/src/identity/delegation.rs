//! By whose leave a token speaks: the user's own, or what somebody handed on. Nothing handed on can be used
//! to hand on more than it holds.

use super::indexed::Indexed;
use super::rows::application_credentials::AccessRule;
use super::unauthorized;
use crate::{App, Ctx};
use canopy_types::{Error, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Delegation {
    #[default]
    None,
    /// Its id.
    ApplicationCredential(String),
    /// Its id.
    Trust(String),
}

impl Delegation {
    /// For policies: the credential's id, or nothing.
    pub fn application_credential(&self) -> &str {
        match self {
            Self::ApplicationCredential(id) => id,
            Self::None | Self::Trust(_) => "",
        }
    }
}

/// Refuses a caller who came with what was handed on, unless with an application credential that was made
/// to hand on.
pub(super) fn may_hand_on(directory: &Indexed, ctx: &Ctx) -> Result<()> {
    let free = match &ctx.delegation {
        Delegation::None => true,
        Delegation::ApplicationCredential(id) => {
            directory.credential(id).is_some_and(|credential| credential.unrestricted)
        }
        Delegation::Trust(_) => false,
    };
    if free {
        return Ok(());
    }
    Err(Error::forbidden(
        "identity.delegated",
        "You are not authorized to perform the requested action: a token of a restricted application credential or \
         of a trust cannot manage application credentials. Log in with a password, or make the application \
         credential unrestricted.",
    ))
}

/// Whether an application credential's access rules let through what is asked for. `path` is below the
/// service's prefix.
pub fn within_rules(
    app: &App,
    delegation: &Delegation,
    (service, method, path): (&str, &str, &str),
) -> Result<()> {
    let Delegation::ApplicationCredential(id) = delegation else { return Ok(()) };
    let directory = app.identity.view().directory;
    let credential = directory.credential(id).ok_or_else(unauthorized)?;
    let fits =
        |rule: &AccessRule| rule.service == service && rule.method == method && matches(&rule.path, path);
    match &credential.rules {
        Some(rules) if !rules.iter().any(fits) => Err(Error::unauthorized(
            "The request you have made requires authentication: no access rule of the application credential \
             allows it.",
        )),
        _ => Ok(()),
    }
}

/// A part of a rule's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `*` or `{name}`: one or more bytes that are no `/`.
    Segment,
    /// `**`: any bytes.
    Any,
}

fn parts(pattern: &str) -> Vec<Part> {
    let (bytes, mut at, mut parts) = (pattern.as_bytes(), 0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let close = bytes[at..].iter().position(|byte| *byte == b'}');
        match (byte, close) {
            (b'*', _) if bytes.get(at + 1) == Some(&b'*') => {
                parts.push(Part::Any);
                at += 2;
            }
            (b'*', _) => {
                parts.push(Part::Segment);
                at += 1;
            }
            (b'{', Some(length)) => {
                parts.push(Part::Segment);
                at += length + 1;
            }
            (byte, _) => {
                parts.push(Part::Byte(*byte));
                at += 1;
            }
        }
    }
    parts
}

/// Whether all of `path` is what the pattern describes. Takes time in the product of their lengths, never
/// more.
fn matches(pattern: &str, path: &str) -> bool {
    let parts = parts(pattern);
    // Whether the parts before each place describe what was read so far.
    let mut places = vec![false; parts.len() + 1];
    places[0] = true;
    skip(&parts, &mut places);
    for byte in path.bytes() {
        let mut next = vec![false; parts.len() + 1];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| places[*at]) {
            match part {
                Part::Byte(wanted) => next[at + 1] |= *wanted == byte,
                Part::Segment if byte != b'/' => {
                    next[at] = true;
                    next[at + 1] = true;
                }
                Part::Segment => {}
                Part::Any => next[at] = true,
            }
        }
        skip(&parts, &mut next);
        places = next;
    }
    places[parts.len()]
}

/// `**` also describes nothing.
fn skip(parts: &[Part], places: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if places[at] && *part == Part::Any {
            places[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_the_rule_says_and_whole() {
        for (pattern, path, fits) in [
            ("/v2.1/servers", "/v2.1/servers", true),
            ("/v2.1/servers", "/v2.1/servers/x", false),
            ("/v2.1/servers", "/v2x1/servers", false),
            ("/v2.1/servers/*", "/v2.1/servers/x", true),
            ("/v2.1/servers/*", "/v2.1/servers/", false),
            ("/v2.1/servers/*", "/v2.1/servers/x/y", false),
            ("/v2.1/servers/*/ips", "/v2.1/servers/x/ips", true),
            ("/v2.1/servers/{id}/ips", "/v2.1/servers/x/ips", true),
            ("/v2.1/**", "/v2.1/servers/x/ips", true),
            ("/v2.1/**", "/v2.2/servers", false),
            ("/**/ips", "/v2.1/servers/x/ips", true),
            ("**", "", true),
            ("/a*c", "/abbc", true),
            ("/a*c", "/ab/c", false),
            ("/{open", "/{open", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_more_than_its_length() {
        let (pattern, path) = ("**a".repeat(40), "a".repeat(8_000) + "b");
        assert!(!matches(&pattern, &path));
    }
}
