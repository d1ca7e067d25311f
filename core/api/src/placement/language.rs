//! Placement's little languages in query strings: resources, traits, aggregates.

use super::shape::Shape;
use crate::request::Query;
use canopy_app::placement::errors;
use canopy_types::{Error, ProviderId, Result};

pub fn bad(message: impl Into<String>) -> Error {
    Error::bad_request("query.invalid", message)
}

/// `VCPU:2,MEMORY_MB:1024`.
pub fn resources(text: &str) -> Result<Vec<(String, i64)>> {
    let malformed = |got: &str| {
        bad(format!(
            "Badly formed resources parameter. Expected resources query string parameter in form: \
             ?resources=VCPU:2,MEMORY_MB:1024. Got: {got}."
        ))
    };
    if text.trim().is_empty() {
        return Err(malformed("empty string"));
    }
    let mut out: Vec<(String, i64)> = Vec::new();
    for part in text.split(',') {
        let (class, amount) = part.split_once(':').ok_or_else(|| malformed(&errors::shown(part)))?;
        if amount.contains(':') {
            return Err(malformed(&errors::shown(part)));
        }
        let (class, digits) = (errors::shown(class), amount.trim());
        let whole = digits.trim_start_matches(['+', '-']);
        if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
            let amount = errors::shown(amount);
            return Err(bad(format!(
                "Requested resource {class} expected positive integer amount. Got: {amount}."
            )));
        }
        // A number too large for anything is as good as the largest.
        let amount = digits.parse().unwrap_or(if digits.starts_with('-') { i64::MIN } else { i64::MAX });
        if amount < 1 {
            return Err(bad(format!("Requested resource {class} requires amount >= 1. Got: {amount}.")));
        }
        let name = part.split(':').next().unwrap_or_default();
        match out.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = amount,
            None => out.push((name.to_owned(), amount)),
        }
    }
    Ok(out)
}

/// Required traits, one of each inner list; and forbidden ones.
pub type Traits = (Vec<Vec<String>>, Vec<String>);

pub fn traits(text: &str, forbidden_too: bool, any_too: bool) -> Result<Traits> {
    let got = errors::shown(text);
    if let Some(list) = text.strip_prefix("in:") {
        if !any_too {
            return Err(bad(format!(
                "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since \
                 microversion 1.39. Got: {got}"
            )));
        }
        let any: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        if any.iter().any(String::is_empty) {
            return Err(bad(format!(
                "Invalid query string parameters: Expected 'required' parameter value of the form: \
                 in:HW_CPU_X86_VMX,CUSTOM_MAGIC. Got an empty trait in: {got}"
            )));
        }
        if any.iter().any(|name| name.starts_with('!')) {
            return Err(bad(format!(
                "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support \
                 forbidden traits. Got: {got}"
            )));
        }
        return Ok((vec![any], Vec::new()));
    }
    let form = if forbidden_too { "HW_CPU_X86_VMX,!CUSTOM_MAGIC" } else { "HW_CPU_X86_VMX,CUSTOM_MAGIC" };
    let (mut required, mut forbidden) = (Vec::new(), Vec::new());
    for name in text.split(',').map(str::trim) {
        // Any number of marks is one: the real service takes them so.
        let plain = name.trim_start_matches('!');
        if plain.is_empty() {
            return Err(bad(format!(
                "Invalid query string parameters: Expected 'required' parameter value of the form: {form}. Got an \
                 empty trait in: {got}"
            )));
        }
        if plain.len() == name.len() {
            required.push(vec![plain.to_owned()]);
        } else {
            forbidden.push(plain.to_owned());
        }
    }
    if !forbidden.is_empty() && !forbidden_too {
        return Err(bad(format!(
            "Invalid query string parameters: Expected 'required' parameter value of the form: \
             HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {got}"
        )));
    }
    Ok((required, forbidden))
}

/// All `key` parameters; the last where the version takes one.
pub fn required(query: &Query, key: &str, shape: Shape) -> Result<Traits> {
    let values: Vec<&str> = query.all(key).collect();
    let values = if shape.any_traits { &values[..] } else { &values[values.len().saturating_sub(1)..] };
    let mut out: Traits = Default::default();
    for value in values {
        let (required, forbidden) = traits(value, shape.forbidden_traits, shape.any_traits)?;
        out.0.extend(required);
        out.1.extend(forbidden);
    }
    Ok(out)
}

/// Aggregates, one of each inner list; and forbidden ones.
pub fn member_of(query: &Query, key: &str, shape: Shape) -> Result<(Vec<Vec<String>>, Vec<String>)> {
    let (mut required, mut forbidden) = (Vec::new(), Vec::new());
    for (at, value) in query.all(key).enumerate() {
        if at > 0 && !shape.several_member_of {
            return Err(bad(format!("Multiple {key} parameters are not supported")));
        }
        let (list, negative) = if let Some(list) = value.strip_prefix("!in:") {
            (list, true)
        } else if let Some(one) = value.strip_prefix('!') {
            (one, true)
        } else {
            (value.strip_prefix("in:").unwrap_or(value), false)
        };
        let listed = value.starts_with("in:") || value.starts_with("!in:");
        if value.contains(',') && !listed {
            let value = errors::shown(value);
            return Err(bad(format!(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid \
                 microversion. Got: {value}"
            )));
        }
        let ids: Vec<String> = list.split(',').map(str::to_owned).collect();
        if let Some(odd) = ids.iter().find(|id| id.parse::<ProviderId>().is_err()) {
            let odd = errors::shown(odd);
            return Err(bad(format!(
                "Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: {odd}"
            )));
        }
        if negative && !shape.forbidden_aggregates {
            return Err(bad(format!(
                "Forbidden {key} parameters are not supported in the specified microversion"
            )));
        }
        if negative { forbidden.extend(ids) } else { required.push(ids) }
    }
    Ok((required, forbidden))
}

pub fn in_tree(value: &str) -> Result<ProviderId> {
    value.trim().parse().map_err(|_| {
        let value = errors::shown(value);
        bad(format!(
            "Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. Got: {value}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_and_refused_in_placements_words() {
        assert_eq!(
            resources("VCPU:2,MEMORY_MB: 1024").unwrap(),
            [("VCPU".into(), 2), ("MEMORY_MB".into(), 1024)]
        );
        assert_eq!(resources("VCPU:2,VCPU:3").unwrap(), [("VCPU".into(), 3)]);
        assert_eq!(resources("A:99999999999999999999").unwrap(), [("A".into(), i64::MAX)]);
        for (text, words) in [
            ("", "empty string"),
            ("VCPU", "Badly formed resources parameter"),
            ("VCPU:1:2", "Badly formed resources parameter"),
            ("VCPU:", "expected positive integer amount"),
            ("VCPU:1.5", "expected positive integer amount"),
            ("VCPU:0", "requires amount >= 1"),
            ("VCPU:-99999999999999999999", "requires amount >= 1"),
        ] {
            let error = resources(text).unwrap_err();
            assert!(error.message.contains(words), "{text}: {}", error.message);
        }
    }

    #[test]
    fn traits_may_be_forbidden_and_alternatives() {
        let (required, forbidden) = traits("A, !B,!!C", true, true).unwrap();
        assert_eq!((required, forbidden), (vec![vec!["A".to_owned()]], vec!["B".into(), "C".into()]));
        assert_eq!(traits("in:A,B", true, true).unwrap().0, [["A".to_owned(), "B".to_owned()]]);
        for bad in ["", "A,", "!", "in:", "in:A,!B", "in:A,,B"] {
            assert!(traits(bad, true, true).is_err(), "{bad}");
        }
        assert!(traits("in:A", true, false).is_err() && traits("!A", false, false).is_err());
    }
}
