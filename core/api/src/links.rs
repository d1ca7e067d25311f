//! Links that lead back to where the client came in.

use crate::request::Query;
use canopy_app::App;
use http::HeaderMap;

/// `scheme://authority`: the configured public URL, else the request's Host header, else `fallback`.
/// Forwarded headers are not looked at: no proxy is trusted by default.
pub fn base(app: &App, headers: &HeaderMap, fallback: &str) -> String {
    if let Some(url) = &app.settings.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(fallback);
    // A Host header is the client's text: only what an authority can hold goes into a link.
    let plain = host.len() <= 255
        && !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    format!("http://{}", if plain { host } else { fallback })
}

/// Text for a path segment or a query value of a link.
pub fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The query string without its marker, for the link to the first page.
pub fn first_query(query: &Query) -> String {
    let pairs: Vec<String> = query
        .0
        .iter()
        .filter(|(name, _)| name != "marker")
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

/// The query string with another marker, for the link to the next page.
pub fn next_query(query: &Query, marker: &str) -> String {
    let first = first_query(query);
    format!("{first}{}marker={}", if first.is_empty() { "" } else { "&" }, escape(marker))
}
