//! Lists: filters by any simple attribute, `fields`, `sort_key`/`sort_dir`, `limit`/`marker`/`page_reverse`.

use crate::request::{Query, Reply, Req, parse_bool};
use canopy_app::network::errors::invalid;
use canopy_app::network::rows::{Attribute, Kind, Listing, Scope, Value as Bound, pattern};
use canopy_types::{Error, Result};
use serde_json::{Map, Value, json};

const OWN: [&str; 6] = ["fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"];

/// A list request. The scope is filled in by the use case.
pub fn listing(query: &Query, attributes: &'static [Attribute]) -> Result<Listing> {
    let mut listing = Listing::all(Scope::All);
    let mut unknown = Vec::new();
    for (name, value) in query.0.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let (name, value) = match (name.as_str(), value.split_once('=')) {
            // `fixed_ips=ip_address=10.0.0.5`
            ("fixed_ips", Some((part, value))) => (format!("fixed_ips:{part}"), value),
            _ => (name.clone(), value.as_str()),
        };
        match attributes.iter().find(|a| a.name == name && filters(a)) {
            None => unknown.push(format!("'{}'", name.chars().take(64).collect::<String>())),
            Some(attribute) => {
                let bound = bind(attribute, value)?;
                match listing.filters.iter_mut().find(|f| f.attribute == attribute) {
                    Some(filter) => filter.values.push(bound),
                    None => listing = listing.filter(attribute, vec![bound]),
                }
            }
        }
    }
    if !unknown.is_empty() {
        unknown.truncate(10);
        return Err(bad(format!("[{}] is invalid attribute for filtering", unknown.join(", "))));
    }
    listing.sort = sort(query, attributes)?;
    listing.limit = query
        .get("limit")
        .map(|text| {
            text.parse::<u32>().map_err(|_| {
                let text: String = text.chars().take(64).collect();
                bad(format!("Limit must be an integer 0 or greater and not '{text}'"))
            })
        })
        .transpose()?;
    listing.marker = query.get("marker").map(|marker| plain("marker", marker)).transpose()?;
    listing.reverse = query.flag("page_reverse")?.unwrap_or(false);
    Ok(listing)
}

fn bad(message: impl Into<String>) -> Error {
    Error::bad_request("network.HTTPBadRequest", message)
}

/// Times sort; to be found by one they would have to be known to the microsecond.
fn filters(attribute: &Attribute) -> bool {
    !matches!(attribute.name, "created_at" | "updated_at")
}

/// Text that a database can hold.
fn plain(name: &str, text: &str) -> Result<String> {
    if text.contains('\0') {
        return Err(bad(format!("The value for {name} holds a NUL character.")));
    }
    Ok(text.to_owned())
}

fn bind(attribute: &Attribute, text: &str) -> Result<Bound> {
    let text = plain(attribute.name, text)?;
    let shown: String = text.chars().take(64).collect();
    match attribute.kind {
        Kind::Text => Ok(Bound::Text(text)),
        Kind::Int => {
            text.parse().map(Bound::Int).map_err(|_| invalid(format!("'{shown}' is not an integer")))
        }
        Kind::Flag => parse_bool(&text)
            .map(|flag| Bound::Int(flag.into()))
            .ok_or_else(|| invalid(format!("'{shown}' cannot be converted to boolean"))),
        Kind::Part => Ok(pattern(&text)),
        Kind::Member => Ok(pattern(&format!("\"{text}\""))),
        Kind::Since => parse_time(&text).map(Bound::Int).ok_or_else(|| {
            invalid(format!("The provided timestamp '{shown}' is invalid: use YYYY-MM-DDTHH:MM:SSZ"))
        }),
    }
}

fn sort(query: &Query, attributes: &'static [Attribute]) -> Result<Vec<(&'static Attribute, bool)>> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    if keys.len() != directions.len() && !(directions.is_empty() && keys.len() <= 1) {
        return Err(bad("The number of sort_keys and sort_dirs must be same"));
    }
    let mut sort: Vec<(&'static Attribute, bool)> = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let attribute = attributes.iter().find(|a| a.name == *key && a.sortable()).ok_or_else(|| {
            let key: String = key.chars().take(64).collect();
            bad(format!("['{key}'] is invalid attribute for sort_keys"))
        })?;
        let descending = match directions.get(n).copied().unwrap_or("asc") {
            "asc" => false,
            "desc" => true,
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(bad(format!(
                    "['{other}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"
                )));
            }
        };
        // A key that stands already decides nothing.
        if sort.iter().all(|(before, _)| *before != attribute) {
            sort.push((attribute, descending));
        }
    }
    Ok(sort)
}

/// The answer: the rows, cut to `fields`, and links to the pages beside this one.
pub fn reply(req: &Req, key: &str, listing: &Listing, rows: Vec<Map<String, Value>>) -> Result<Reply> {
    let size = usize::try_from(listing.size()).unwrap_or(usize::MAX);
    let id_of = |row: Option<&Map<String, Value>>| row.and_then(|row| row["id"].as_str()).map(str::to_owned);
    let (first, last) = (id_of(rows.first()), id_of(rows.last()));
    let full = rows.len() >= size;
    let mut links = Vec::new();
    // Going forward a full page may be followed by more; going backward there is what one came from.
    if let Some(last) = last.filter(|_| full || listing.reverse) {
        links.push(json!({"rel": "next", "href": href(req, &last, false)}));
    }
    if let Some(first) = first.filter(|_| if listing.reverse { full } else { listing.marker.is_some() }) {
        links.push(json!({"rel": "previous", "href": href(req, &first, true)}));
    }
    let rows: Vec<Value> = rows.into_iter().map(|row| Value::Object(fields(&req.query, row))).collect();
    let mut body = Map::from_iter([(key.to_owned(), Value::Array(rows))]);
    if !links.is_empty() {
        body.insert(format!("{key}_links"), Value::Array(links));
    }
    Reply::json(200, &body)
}

/// The attributes that were asked for; all, when none was. Unknown ones are left out, as in neutron.
pub fn fields(query: &Query, mut row: Map<String, Value>) -> Map<String, Value> {
    if query.get("fields").is_some() {
        row.retain(|name, _| query.all("fields").any(|field| field == name));
    }
    row
}

fn href(req: &Req, marker: &str, reverse: bool) -> String {
    let kept = req.query.0.iter().filter(|(name, _)| name != "marker" && name != "page_reverse");
    let mut query: Vec<String> =
        kept.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    query.push(format!("marker={}", encode(marker)));
    if reverse {
        query.push("page_reverse=True".to_owned());
    }
    format!("{}{}?{}", req.base, req.path, query.join("&"))
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `2026-11-22T12:00:00Z`, with or without the Z and a fraction, as microseconds.
fn parse_time(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' '])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let numbers = |text: &str, by: char, widths: &[usize]| -> Option<Vec<i64>> {
        let parts: Vec<&str> = text.split(by).collect();
        let fits = parts.len() == widths.len()
            && parts.iter().zip(widths).all(|(p, w)| p.len() == *w && p.bytes().all(|b| b.is_ascii_digit()));
        fits.then(|| parts.iter().filter_map(|p| p.parse().ok()).collect())
    };
    let [year, month, day] = numbers(date, '-', &[4, 2, 2])?[..] else { return None };
    let [hour, minute, second] = numbers(clock, ':', &[2, 2, 2])?[..] else { return None };
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    let digits = !fraction.is_empty() && fraction.len() <= 6 && fraction.bytes().all(|b| b.is_ascii_digit());
    if !(in_range && digits) {
        return None;
    }
    // Days since the epoch, by Howard Hinnant's `days_from_civil` (public domain algorithm).
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_app::network::rows::{PORT_ATTRIBUTES, network_attributes};
    use canopy_types::Timestamp;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        listing(&query(pairs), network_attributes(false)).unwrap_err().message
    }

    #[test]
    fn filters_repeat_and_are_of_their_kind() {
        let made = listing(
            &query(&[("name", "a"), ("name", "b"), ("shared", "True"), ("mtu", "1500"), ("fields", "id")]),
            network_attributes(false),
        )
        .unwrap();
        assert_eq!(made.filters[0].values, [Bound::Text("a".into()), Bound::Text("b".into())]);
        assert_eq!(made.filters[1].values, [Bound::Int(1)]);
        assert_eq!(made.filters[2].values, [Bound::Int(1500)]);
        assert_eq!(
            refused(&[("foo", "1"), ("bar", "2")]),
            "['foo', 'bar'] is invalid attribute for filtering"
        );
        assert!(refused(&[("shared", "maybe")]).contains("boolean"));
        assert!(refused(&[("mtu", "1e3")]).contains("integer"));
        assert!(refused(&[("name", "a\0b")]).contains("NUL"));
        assert!(refused(&[("marker", "\0")]).contains("NUL"));
        assert!(refused(&[("created_at", "x")]).contains("filtering"));
        assert!(refused(&[("changed_since", "yesterday")]).contains("timestamp"));
    }

    #[test]
    fn ports_are_found_by_their_addresses() {
        let of = |value: &str| listing(&query(&[("fixed_ips", value)]), PORT_ATTRIBUTES);
        assert_eq!(of("ip_address=10.0.0.5").unwrap().filters[0].values, [Bound::Text("10.0.0.5".into())]);
        assert_eq!(of("ip_address_substr=0.5").unwrap().filters[0].values, [Bound::Text("%0.5%".into())]);
        assert!(of("10.0.0.5").is_err());
        assert!(of("mac=10.0.0.5").is_err());
    }

    #[test]
    fn sorting_and_paging_are_checked() {
        let twice = [("sort_key", "name"), ("sort_dir", "desc"), ("sort_key", "name"), ("sort_dir", "asc")];
        let made = listing(&query(&twice), network_attributes(false)).unwrap();
        assert_eq!(made.sort.iter().map(|(a, d)| (a.name, *d)).collect::<Vec<_>>(), [("name", true)]);
        assert!(refused(&[("sort_key", "subnets"), ("sort_dir", "asc")]).contains("sort_keys"));
        assert!(refused(&[("sort_key", "name"), ("sort_dir", "up")]).contains("sort_dirs"));
        assert!(refused(&[("sort_dir", "asc")]).contains("must be same"));
        for bad in ["-1", "x", "99999999999"] {
            assert!(refused(&[("limit", bad)]).contains("Limit must be"), "{bad}");
        }
    }

    #[test]
    fn times_are_read_back_as_they_are_shown() {
        for time in [0, 1_795_349_105_000_000, 951_782_400_000_000] {
            assert_eq!(parse_time(&Timestamp(time).seconds_z()), Some(time));
            assert_eq!(parse_time(&Timestamp(time + 5).micros_naive()), Some(time + 5));
        }
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00",
            "2026-1-1T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00:00.",
            "-026-01-01T00:00:00",
            "2026-01-01T00:00:00.1234567",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_carry_no_raw_text() {
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
