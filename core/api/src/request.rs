//! What a handler gets and what it gives back.

use crate::version::Microversion;
use bytes::Bytes;
use canopy_app::{App, Ctx};
use canopy_types::time::SECOND;
use canopy_types::{Error, RequestId, Result, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::str::FromStr;
use std::sync::Arc;

pub struct Req {
    pub app: Arc<App>,
    pub request_id: RequestId,
    /// Present on every route that needs a token.
    pub ctx: Option<Ctx>,
    /// The microversion in force; the minimum where the service has none.
    pub version: Microversion,
    /// Names and decoded values of the path's parameters.
    pub params: Vec<(String, String)>,
    pub query: Query,
    pub headers: HeaderMap,
    /// `scheme://authority`, for links.
    pub base: String,
    /// The client's address, where it is known.
    pub source: Option<std::net::IpAddr>,
    /// The path as asked, without the query.
    pub path: String,
    /// The parsed and schema-checked body; `Null` when the route takes none.
    pub json: Value,
    /// The body of a route that streams.
    pub stream: Option<axum::body::Body>,
    /// The connection itself, of a client that wants to go on in another protocol.
    pub upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl Req {
    /// The caller. Only routes with [`crate::Auth::Public`] lack one.
    pub fn ctx(&self) -> Result<&Ctx> {
        self.ctx
            .as_ref()
            .ok_or_else(|| Error::unauthorized("The request you have made requires authentication."))
    }

    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }

    /// A path id of type `T`, or the answer that an unknown id gets.
    pub fn id<T: FromStr>(&self, name: &str, absent: impl FnOnce(&str) -> Error) -> Result<T> {
        let text = self.param(name);
        text.parse().map_err(|_| absent(text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The query string, in order, repeated names kept.
#[derive(Clone, Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The last of several: how services read that keep one value a name.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `limit` and `marker`. `limit` must be a whole number from 0; more than 1,000 counts as 1,000.
    pub fn page(&self) -> Result<canopy_types::Page> {
        let limit = match self.get("limit") {
            None => None,
            Some(text) => Some(text.parse::<u32>().map_err(|_| {
                Error::bad_request(
                    "query.limit",
                    format!("limit must be a whole number from 0, not '{text}'."),
                )
            })?),
        };
        Ok(canopy_types::Page { limit, marker: self.get("marker").map(str::to_owned) })
    }

    /// A point in time, as ISO 8601.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        self.get(name)
            .map(|text| {
                Timestamp::parse(text).ok_or_else(|| {
                    let shown: String = text.chars().take(64).collect();
                    Error::bad_request("query.time", format!("Invalid {name} '{shown}': use ISO 8601."))
                })
            })
            .transpose()
    }

    /// `changes-since` and `changes-before`, in this order. The second takes in the whole of its second, as what is
    /// shown of a change is its second.
    pub fn changes(&self) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
        let (since, before) = (self.time("changes-since")?, self.time("changes-before")?);
        if let (Some(since), Some(before)) = (since, before)
            && before < since
        {
            return Err(Error::bad_request(
                "query.changes",
                "The value of changes-since must be less than or equal to changes-before.",
            ));
        }
        let whole = |at: Timestamp| Timestamp(at.0 - at.0.rem_euclid(SECOND) + SECOND - 1);
        Ok((since, before.map(whole)))
    }

    /// A boolean as OpenStack's services read one.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.get(name)
            .map(|text| {
                parse_bool(text).ok_or_else(|| {
                    Error::bad_request(
                        "query.bool",
                        format!("Unrecognized value '{text}' for {name}: use true or false."),
                    )
                })
            })
            .transpose()
    }
}

pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: ReplyBody,
}

pub enum ReplyBody {
    Empty,
    Json(Bytes),
    Stream(axum::body::Body),
}

impl Reply {
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value).map_err(|e| Error::internal("api.serialise", e))?;
        Ok(Self { status: code(status), headers: Vec::new(), body: ReplyBody::Json(bytes.into()) })
    }

    pub fn empty(status: u16) -> Self {
        Self { status: code(status), headers: Vec::new(), body: ReplyBody::Empty }
    }

    pub fn stream(status: u16, body: axum::body::Body) -> Self {
        Self { status: code(status), headers: Vec::new(), body: ReplyBody::Stream(body) }
    }

    /// A header whose value holds visible ASCII; anything else is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
