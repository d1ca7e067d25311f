//! How deep a policy may nest. What reads, checks and evaluates policies recurses over them: a file that nests
//! deeper than its stack would end the process, and no error could be told.

/// Brackets within brackets.
const MAX_DEPTH: usize = 32;
/// Operators of one policy: a chain of them nests as deep as it is long.
const MAX_OPERATORS: usize = 400;
/// Bytes of stack on which a bundle within these bounds is read, with room to spare.
pub(crate) const STACK: usize = 64 << 20;
/// The same for a decision. With less of it left, a policy that nests deep is one that fails to evaluate, and denies.
pub const DECISION_STACK: usize = 8 << 20;

/// The first place that is too deep, as line and what is wrong there.
pub(crate) fn too_deep(text: &str) -> Option<(usize, String)> {
    let (mut depth, mut operators, mut line) = (0_usize, 0_usize, 1_usize);
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '\n' => line += 1,
            '"' => {
                while let Some((_, c)) = rest.next() {
                    match c {
                        '\\' => _ = rest.next(),
                        '\n' => line += 1,
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if text[at..].starts_with("//") => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            '(' | '[' | '{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some((line, format!("more than {MAX_DEPTH} brackets within each other")));
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => operators = 0,
            '&' | '|' | '!' | '-' | '+' | '*' | '.' | '<' | '>' => operators += 1,
            'i' if word(text, at, "if") => operators += 1,
            _ => {}
        }
        if operators > MAX_OPERATORS {
            let why = format!(
                "more than {MAX_OPERATORS} operators in one policy; a set and `contains` compare with many values, and \
                 several policies add up"
            );
            return Some((line, why));
        }
    }
    None
}

fn word(text: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text[at..].starts_with(word) && !text[at + word.len()..].starts_with(part) && !text[..at].ends_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_chains_are_counted_where_they_are_neither_text_nor_comment() {
        let nested = |n: usize| {
            format!(
                "permit (principal, action, resource)\nwhen {{ {}true{} }};",
                "(".repeat(n),
                ")".repeat(n)
            )
        };
        assert_eq!(too_deep(&nested(31)), None);
        assert_eq!(too_deep(&nested(32)).map(|(line, _)| line), Some(2));
        let chain = |n: usize, with: &str| {
            format!("permit (principal, action, resource) when {{ true{} }};", with.repeat(n))
        };
        for with in [" && true", " || true", "+ 1", ".a"] {
            assert!(too_deep(&chain(401, with)).is_some(), "{with}");
            assert_eq!(too_deep(&chain(200, with)), None, "{with}");
            assert_eq!(too_deep(&chain(150, with).repeat(9)), None, "each policy for itself: {with}");
        }
        assert!(too_deep(&format!("{}true", "if true then false else ".repeat(401))).is_some());
        let quiet = format!(
            "// {}\npermit (principal, action, resource) when {{ \"\\\"{}\" == \"\" }};",
            "(".repeat(99),
            "!(".repeat(999)
        );
        assert_eq!(too_deep(&quiet), None);
    }
}
