//! JSON patches as glance reads them: each operation is on one field or property of the image.

use canopy_app::image::{Change, Op};
use canopy_types::{Error, Result};
use serde_json::Value;

fn invalid(text: impl Into<String>) -> Error {
    Error::bad_request("image.patch", text)
}

fn op(name: &str) -> Option<Op> {
    match name {
        "add" => Some(Op::Add),
        "replace" => Some(Op::Replace),
        "remove" => Some(Op::Remove),
        _ => None,
    }
}

/// v2.1: `[{"op": "replace", "path": "/name", "value": "x"}]`.
pub fn parse(body: &Value) -> Result<Vec<Change>> {
    operations(body)?
        .iter()
        .map(|entry| {
            let field = |name: &str| entry.get(name).and_then(Value::as_str);
            let op = field("op")
                .and_then(op)
                .ok_or_else(|| invalid("Each operation needs 'op', one of add, replace, remove."))?;
            let path =
                field("path").ok_or_else(|| invalid("Each operation needs 'path', a JSON pointer."))?;
            change(op, path, entry.get("value"))
        })
        .collect()
}

/// v2.0: `[{"replace": "/name", "value": "x"}]`.
pub fn parse_old(body: &Value) -> Result<Vec<Change>> {
    operations(body)?
        .iter()
        .map(|entry| {
            let named: Vec<(Op, &Value)> = entry
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, path)| op(name).map(|op| (op, path)))
                .collect();
            match named.as_slice() {
                [(op, Value::String(path))] => change(*op, path, entry.get("value")),
                _ => Err(invalid("Operations must contain exactly one of: add, replace, remove.")),
            }
        })
        .collect()
}

fn operations(body: &Value) -> Result<&[Value]> {
    body.as_array().map(Vec::as_slice).ok_or_else(|| invalid("The body must be a list of operations."))
}

fn change(op: Op, path: &str, value: Option<&Value>) -> Result<Change> {
    let value = match (op, value) {
        (Op::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => return Err(invalid("Operations add and replace need 'value'.")),
    };
    Ok(Change { op, name: name(path)?, value })
}

/// The one name of a JSON pointer: `/` and `~` stand in it as `~1` and `~0`.
fn name(pointer: &str) -> Result<String> {
    let bad = || invalid("A path must be '/' and the name of one field or property.");
    let rest =
        pointer.strip_prefix('/').filter(|rest| !rest.is_empty() && !rest.contains('/')).ok_or_else(bad)?;
    let mut name = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '~') {
            (_, true) => match letters.next() {
                Some('0') => name.push('~'),
                Some('1') => name.push('/'),
                _ => return Err(bad()),
            },
            (letter, false) => name.push(letter),
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_media_types_say_the_same() {
        let new = json!([{"op": "add", "path": "/a~1b~0", "value": "1"}, {"op": "remove", "path": "/c"}]);
        let old = json!([{"add": "/a~1b~0", "value": "1"}, {"remove": "/c"}]);
        let changes = parse(&new).unwrap();
        assert_eq!(changes, parse_old(&old).unwrap());
        assert_eq!((changes[0].name.as_str(), changes[0].op), ("a/b~", Op::Add));
        assert_eq!((changes[1].name.as_str(), changes[1].op), ("c", Op::Remove));
    }

    #[test]
    fn malformed_patches_are_refused() {
        for bad in [
            json!({}),
            json!("x"),
            json!([1]),
            json!([{}]),
            json!([{"op": "test", "path": "/a", "value": "1"}]),
            json!([{"op": "move", "path": "/a", "from": "/b"}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": "1"}]),
            json!([{"op": "add", "path": "/", "value": "1"}]),
            json!([{"op": "add", "path": "/a/b", "value": "1"}]),
            json!([{"op": "add", "path": "/a~2", "value": "1"}]),
            json!([{"op": "add", "path": "/a~", "value": "1"}]),
            json!([{"op": "add", "path": 7, "value": "1"}]),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        assert!(parse_old(&json!([{"add": "/a", "remove": "/b", "value": "1"}])).is_err());
        assert!(parse_old(&json!([{"add": 1, "value": "1"}])).is_err());
    }
}
