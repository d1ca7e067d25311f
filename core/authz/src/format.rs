//! One way to lay out a policy file, so that a diff shows what changed and nothing else.

use crate::files::invalid;
use canopy_types::Result;
use cedar_policy_formatter::{Config, policies_str_to_pretty};

/// The text as Cedar's formatter lays it out, comments kept. A comment that opens the file and is followed
/// by an empty line stays apart from the first policy.
pub fn formatted(name: &str, text: &str) -> Result<String> {
    if let Some((line, why)) = crate::depth::too_deep(text) {
        return Err(invalid(format!("{name}:{line}: {why}")));
    }
    let (head, body) = head(text);
    if body.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let config = Config { line_width: 100, indent_width: 4 };
    let body = policies_str_to_pretty(body, &config)
        .map_err(|e| invalid(format!("{name}: cannot be formatted: {e}")))?;
    Ok(format!("{head}{}\n", body.trim_end()))
}

fn head(text: &str) -> (&str, &str) {
    let end = text.find("\n\n").map_or(0, |at| at + 2);
    let (head, body) = text.split_at(end);
    let comment = head.trim_end().lines().all(|line| line.starts_with("//"));
    if comment { (head, body) } else { ("", text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    #[test]
    fn formatting_twice_is_formatting_once_and_changes_no_policy() {
        let mut files = crate::embedded_files();
        for (name, text) in files.iter_mut().filter(|(name, _)| name.ends_with(".cedar")) {
            let once = formatted(name, text).unwrap();
            assert_eq!(formatted(name, &once).unwrap(), once, "{name}");
            assert_eq!(once.lines().next(), text.lines().next(), "{name}: the opening comment");
            assert_eq!(once.matches("//").count(), text.matches("//").count(), "{name}: comments");
            *text = once;
        }
        let (before, after) = (Bundle::embedded().unwrap(), Bundle::build(&files).unwrap());
        let json = |bundle: &Bundle| -> Vec<String> {
            bundle.policies().map(|policy| policy.to_json().unwrap().to_string()).collect()
        };
        assert_eq!(json(&before), json(&after));
    }

    #[test]
    fn what_does_not_parse_is_told() {
        assert!(formatted("a.cedar", "permit (").unwrap_err().message.starts_with("a.cedar: "));
        assert_eq!(formatted("a.cedar", "").unwrap(), "");
    }
}
