//! From an HTTP request to a handler and back: everything that is the same for every route.
//!
//! Order: request id → route → version → token → body (bounded) → JSON → schema → handler → headers. A
//! panic in a handler is a 500 in the service's shape and a log line; too many requests in work at once are
//! answered 503.

use crate::body::{self, Bound};
use crate::client;
use crate::errors;
use crate::leftover;
use crate::links;
use crate::request::{Query, Reply, ReplyBody, Req};
use crate::route::{Auth, Body, Route, Service};
use crate::schema::Compiled;
use crate::version::{self, Microversion, v};
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use canopy_app::access::Trail;
use canopy_app::identity::Caller;
use canopy_app::{App, Ctx};
use canopy_authz::{Circumstances, Snapshot};
use canopy_types::{Error, Kind, RequestId, Result};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tracing::Instrument;

/// Compute's first version: the same resources, without microversions, and with what a body does not need
/// to hold ignored instead of refused.
const LEGACY: &str = "/compute/v2/";
/// Requests in work at once. One whose body still arrives is not in work, and an agent's long poll neither.
const IN_FLIGHT: usize = 512;
/// Longest header about policies, bytes.
const MAX_EXPLAINED: usize = 4_096;
/// Collections whose members, not they themselves, are meant with a slash behind them, as in glance and nova: who deletes
/// or reads nothing has lost the id.
const NEVER_SLASHED: [&str; 3] =
    ["/image/v2/images", "/compute/v2.1/images", "/compute/v2.1/os-security-groups"];
/// Bytes of a path that a log line holds.
const MAX_LOGGED: usize = 512;
/// A body that took longer than this to arrive may have outlived its token.
const FRESH: Duration = Duration::from_secs(1);

struct Entry {
    route: Route,
    schemas: Compiled,
}

/// All routes of one path.
struct PathEntries {
    service: Service,
    path: String,
    entries: Vec<Entry>,
}

struct Shared {
    app: Arc<App>,
    /// Shown in links when a request has no usable Host header.
    authority: String,
    agent_token: String,
    in_flight: Semaphore,
}

/// The whole HTTP surface. `authority` is the listener's `host:port`.
pub fn router(app: Arc<App>, authority: String, agent_token: String) -> Router {
    let shared = Arc::new(Shared { app, authority, agent_token, in_flight: Semaphore::new(IN_FLIGHT) });
    let mut paths: BTreeMap<String, PathEntries> = BTreeMap::new();
    for route in crate::routes() {
        let path = route.full_path();
        let schemas = match route.body {
            Body::Json(schemas) => Compiled::new(schemas),
            Body::None | Body::Stream => Compiled::new(&[]),
        };
        paths
            .entry(path.clone())
            .or_insert_with(|| PathEntries { service: route.service, path, entries: Vec::new() })
            .entries
            .push(Entry { route, schemas });
    }
    let mut router = Router::new();
    for (path, entries) in paths {
        let entries = Arc::new(entries);
        let handler = {
            let shared = shared.clone();
            axum::routing::any(
                move |params: std::result::Result<RawPathParams, RawPathParamsRejection>,
                      request: Request| {
                    let (shared, entries) = (shared.clone(), entries.clone());
                    async move {
                        match params {
                            Ok(params) => serve(shared, Some(entries), params_of(&params), request).await,
                            // Bytes that are no UTF-8 name nothing.
                            Err(_) => serve(shared, None, Vec::new(), request).await,
                        }
                    }
                },
            )
        };
        // Clients ask roots and collections with and without the slash.
        let slashed = !path.ends_with('/') && !path.ends_with('}') && !NEVER_SLASHED.contains(&path.as_str());
        if slashed {
            router = router.route(&format!("{path}/"), handler.clone());
        }
        if let Some(rest) = path.strip_prefix("/compute/v2.1/") {
            router = router.route(&format!("{LEGACY}{rest}"), handler.clone());
        }
        router = router.route(&path, handler);
    }
    router.fallback(move |request: Request| {
        let shared = shared.clone();
        async move { serve(shared, None, Vec::new(), request).await }
    })
}

/// A label for a method; what a client invents is one label, not many.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The methods of a path.
fn allowed(entries: &PathEntries) -> String {
    let mut methods: Vec<&str> = entries.entries.iter().map(|entry| entry.route.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

fn params_of(params: &RawPathParams) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn serve(
    shared: Arc<Shared>,
    entries: Option<Arc<PathEntries>>,
    params: Vec<(String, String)>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let request_id = RequestId::random();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let service = entries
        .as_ref()
        .map(|entries| entries.service)
        .or_else(|| Service::of_path(&path))
        .unwrap_or(Service::Native);
    let span = tracing::info_span!(
        "request",
        request_id = %request_id,
        global_request_id = global_id(request.headers()).unwrap_or_default(),
        method = %method,
        path = &path[..path.floor_char_boundary(MAX_LOGGED)],
    );
    let mut version = version::range(service).map(|range| range.min).filter(|_| !path.starts_with(LEGACY));
    let source = client::address(&request, &shared.app.settings.trusted_proxies);
    let (parts, body) = request.into_parts();
    let (body, left) = leftover::watch(&parts.headers, body);
    let request = Request::from_parts(parts, body);
    let mut decided = None;
    let outcome = {
        let (version, decided) = (&mut version, &mut decided);
        let work =
            handle(&shared, entries.as_deref(), params, request, &request_id, source, version, decided);
        AssertUnwindSafe(work.instrument(span.clone()))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::internal("api.panicked", "a handler panicked")))
    };
    let route = entries.as_ref().map_or("-", |entries| entries.path.as_str()).to_owned();
    if outcome.as_ref().is_err_and(|error| error.kind == Kind::Unauthorized) {
        canopy_app::audit::nobody(&shared.app, &request_id, format!("{method} {route}"), source);
    }
    let mut response = {
        let _in = span.enter();
        finish(service, version, &method, &request_id, &shared, outcome)
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Some(entries) = &entries
        && let Ok(value) = HeaderValue::from_str(&allowed(entries))
    {
        response.headers_mut().insert(header::ALLOW, value);
    }
    if let Some((trail, policies)) = &decided {
        explain(response.headers_mut(), trail, policies);
    }
    if let Some(left) = left {
        left.settle(response.headers_mut()).await;
    }
    let status = response.status().as_u16().to_string();
    metrics::counter!("canopy_http_requests_total", "service" => service.name(), "method" => known(&method),
        "route" => route, "status" => status)
    .increment(1);
    metrics::histogram!("canopy_http_request_seconds", "service" => service.name())
        .record(started.elapsed().as_secs_f64());
    response
}

/// Says which policies of which bundle decided, to those who may know.
fn explain(headers: &mut HeaderMap, trail: &Trail, policies: &Snapshot) {
    let Some(ids) = trail.ids() else { return };
    let bundle = canopy_app::audit::version(policies);
    for (name, value) in [("canopy-policy-bundle", bundle), ("canopy-policies", ids.join(","))] {
        // What a header cannot hold, or no proxy would carry, is left out.
        if let (true, Ok(value)) = (value.len() <= MAX_EXPLAINED, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "what comes in, and what has to be known also when it fails")]
async fn handle(
    shared: &Shared,
    entries: Option<&PathEntries>,
    params: Vec<(String, String)>,
    request: Request,
    request_id: &RequestId,
    source: Option<IpAddr>,
    version: &mut Option<Microversion>,
    decided: &mut Option<(Trail, Snapshot)>,
) -> Result<Reply> {
    let (mut parts, body) = request.into_parts();
    let service = entries.map(|entries| entries.service).or_else(|| Service::of_path(parts.uri.path()));
    if let Some(range) = service.and_then(version::range).filter(|_| version.is_some()) {
        let standard: Vec<&str> =
            parts.headers.get_all("openstack-api-version").iter().filter_map(|h| h.to_str().ok()).collect();
        let legacy = parts.headers.get("x-openstack-nova-api-version").and_then(|h| h.to_str().ok());
        let legacy = legacy.filter(|_| service == Some(Service::Compute));
        *version = Some(version::negotiate(range, &standard, legacy)?);
    }
    let legacy = parts.uri.path().starts_with(LEGACY);
    let asked = version.unwrap_or(if legacy { version::COMPUTE.min } else { v(0, 0) });
    let unknown = || Error::not_found("api.no_route", "The resource could not be found.");
    let entries = entries.ok_or_else(|| crate::compute::gone(parts.uri.path()).unwrap_or_else(unknown))?;
    let method = if parts.method == Method::HEAD
        && !entries.entries.iter().any(|entry| entry.route.method == Method::HEAD)
    {
        Method::GET
    } else {
        parts.method.clone()
    };
    let of_method: Vec<&Entry> =
        entries.entries.iter().filter(|entry| entry.route.method == method).collect();
    let not_allowed = || {
        Error::new(
            Kind::MethodNotAllowed,
            "api.method",
            format!("The method {} is not allowed for this resource.", parts.method),
        )
    };
    let Some(first) = of_method.first() else { return Err(not_allowed()) };
    // Every route of one path and method agrees on who may call; who may not learns nothing of versions.
    let arrived = Instant::now();
    let asked_of = (&parts.method, parts.uri.path(), &parts.headers);
    let mut ctx = authenticate(shared, first.route.auth, asked_of, source, request_id).await?;
    let method_outside = first.route.method_outside;
    let mut candidates: Vec<&Entry> = of_method
        .iter()
        .copied()
        .filter(|entry| entry.route.versions.is_none_or(|(from, to)| from <= asked && asked <= to))
        .collect();
    if candidates.is_empty() {
        return Err(if method_outside { not_allowed() } else { outside() });
    }
    let (mut json, stream) = match candidates[0].route.body {
        Body::None => (serde_json::Value::Null, None),
        Body::Stream => (serde_json::Value::Null, Some(body)),
        Body::Json(_) => (
            body::read_json(entries.service, Bound::of(candidates[0].route.auth), &parts.headers, body)
                .await?,
            None,
        ),
    };
    if arrived.elapsed() > FRESH {
        ctx = authenticate(shared, candidates[0].route.auth, asked_of, source, request_id).await?;
    }
    *decided = ctx.as_ref().map(|ctx| (ctx.trail.clone(), ctx.policies.clone()));
    let _permit = match candidates[0].route.auth {
        Auth::Agent => None,
        Auth::Public | Auth::Token => Some(shared.in_flight.try_acquire().map_err(|_| {
            Error::unavailable("api.overloaded", "Too many requests are being served. Try again in a second.")
        })?),
    };
    if candidates[0].route.key.is_some() {
        candidates = vec![by_key(&candidates, &of_method, &json)?];
    }
    let entry = candidates[0];
    if legacy {
        entry.schemas.relax(asked, &mut json);
    }
    match entry.route.service {
        Service::Placement => entry.schemas.check_as_placement(asked, &json)?,
        _ => entry.schemas.check(asked, &json)?,
    }
    let query = parse_query(parts.uri.query().unwrap_or_default())?;
    entry.route.check_query(asked, &query)?;
    let req = Req {
        app: shared.app.clone(),
        request_id: request_id.clone(),
        ctx,
        version: asked,
        params,
        query,
        base: links::base(&shared.app, &parts.headers, &shared.authority),
        source,
        path: parts.uri.path().to_owned(),
        upgrade: parts.extensions.remove(),
        headers: parts.headers,
        json,
        stream,
    };
    (entry.route.handler)(req).await
}

/// What the version asked does not have.
fn outside() -> Error {
    Error::not_found("api.version", "The resource could not be found.")
}

/// `…/action` bodies have exactly one key, which names the action.
fn by_key<'a>(candidates: &[&'a Entry], all: &[&Entry], json: &serde_json::Value) -> Result<&'a Entry> {
    let keys = json.as_object().map(|object| object.keys().collect::<Vec<_>>()).unwrap_or_default();
    if let [key] = keys.as_slice() {
        let named = |entry: &&&Entry| entry.route.key == Some(key.as_str());
        if let Some(entry) = candidates.iter().find(named) {
            return Ok(entry);
        }
        if all.iter().any(|entry| named(&entry)) {
            return Err(outside());
        }
        let shown: String = key.chars().take(64).collect();
        return Err(Error::bad_request("action.unknown", format!("There is no such action: {shown}")));
    }
    Err(Error::bad_request("action.malformed", "The body must hold exactly one key, the name of the action."))
}

async fn authenticate(
    shared: &Shared,
    auth: Auth,
    (method, path, headers): (&Method, &str, &HeaderMap),
    source: Option<IpAddr>,
    request_id: &RequestId,
) -> Result<Option<Ctx>> {
    match auth {
        Auth::Public => Ok(None),
        Auth::Token => {
            let token = headers
                .get("x-auth-token")
                .and_then(|token| token.to_str().ok())
                .filter(|token| !token.is_empty())
                .ok_or_else(|| Error::unauthorized("The request you have made requires authentication."))?;
            let Caller { who, methods, delegation } =
                canopy_app::identity::authenticate(&shared.app, token).await?;
            if let Some(service) = Service::of_path(path) {
                let below = path.strip_prefix(service.prefix()).unwrap_or(path);
                let asked = (service.name(), method.as_str(), below);
                canopy_app::identity::within_rules(&shared.app, &delegation, asked)?;
            }
            let application_credential = delegation.application_credential().to_owned();
            let how = Circumstances { source, methods, application_credential };
            let policies = shared.app.authorizer.snapshot();
            let mutating = !method.is_safe();
            let trail = Trail::of(&policies, &who, &how);
            let asked = canopy_app::audit::asked(method.as_str(), path);
            let request_id = request_id.clone();
            Ok(Some(Ctx { request_id, who, how, delegation, policies, asked, mutating, trail }))
        }
        Auth::Agent => {
            let token = headers
                .get(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.strip_prefix("Bearer "))
                .unwrap_or_default();
            if same(token.as_bytes(), shared.agent_token.as_bytes()) {
                Ok(None)
            } else {
                Err(Error::unauthorized("This needs the agent token."))
            }
        }
    }
}

/// Compares without telling by its time where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    !b.is_empty() && a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

fn parse_query(text: &str) -> Result<Query> {
    if text.len() > 8_192 {
        return Err(Error::bad_request("query.too_long", "The query string may hold at most 8192 bytes."));
    }
    let uri: http::Uri = format!("/?{text}")
        .parse()
        .map_err(|_| Error::bad_request("query.malformed", "The query string is malformed."))?;
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map(|query| Query(query.0))
        .map_err(|_| Error::bad_request("query.malformed", "The query string is malformed."))
}

/// An inbound global request id, when it is one.
fn global_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-openstack-request-id")?.to_str().ok()?;
    let uuid = id.strip_prefix("req-")?;
    (uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')).then_some(id)
}

fn finish(
    service: Service,
    version: Option<Microversion>,
    method: &Method,
    request_id: &RequestId,
    shared: &Shared,
    outcome: Result<Reply>,
) -> Response {
    let mut response = match outcome {
        Ok(reply) => respond(reply, method),
        Err(error) => refuse(service, version, request_id, shared, &error, method),
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id.0) {
        headers.insert("x-openstack-request-id", id.clone());
        if service == Service::Compute {
            headers.insert("x-compute-request-id", id);
        }
    }
    if let Some(version) = version {
        if let Ok(value) = HeaderValue::from_str(&format!("{} {version}", service.name())) {
            headers.insert("openstack-api-version", value);
        }
        if service == Service::Compute {
            if let Ok(value) = HeaderValue::from_str(&version.to_string()) {
                headers.insert("x-openstack-nova-api-version", value);
            }
            let vary = HeaderValue::from_static("OpenStack-API-Version, X-OpenStack-Nova-API-Version");
            headers.append(header::VARY, vary);
        } else {
            headers.append(header::VARY, HeaderValue::from_static("openstack-api-version"));
        }
    }
    if service == Service::Identity {
        headers.append(header::VARY, HeaderValue::from_static("X-Auth-Token"));
    }
    response
}

fn respond(reply: Reply, method: &Method) -> Response {
    let mut response = match reply.body {
        ReplyBody::Empty => Response::new(axum::body::Body::empty()),
        ReplyBody::Json(bytes) => {
            let length = bytes.len();
            let body = if *method == Method::HEAD { axum::body::Body::empty() } else { bytes.into() };
            let mut response = Response::new(body);
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        ReplyBody::Stream(body) => Response::new(body),
    };
    *response.status_mut() = reply.status;
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

fn refuse(
    service: Service,
    version: Option<Microversion>,
    request_id: &RequestId,
    shared: &Shared,
    error: &Error,
    method: &Method,
) -> Response {
    if error.kind == Kind::Internal {
        tracing::error!(error = error.chain(), "request failed");
    } else {
        tracing::debug!(error = error.chain(), "request refused");
    }
    let rendered = errors::render(service, version, error, &request_id.0);
    let body = if *method == Method::HEAD { String::new() } else { rendered.body };
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = rendered.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(rendered.content_type));
    if rendered.status == StatusCode::UNAUTHORIZED {
        let base =
            shared.app.settings.public_url.clone().unwrap_or_else(|| format!("http://{}", shared.authority));
        if let Ok(value) = HeaderValue::from_str(&format!("Keystone uri=\"{base}/identity\"")) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
    }
    if matches!(error.kind, Kind::Unavailable | Kind::TooManyRequests) {
        let seconds = if error.code == canopy_app::identity::TOO_MANY_FAILURES {
            canopy_app::identity::SOURCE_PAUSE
        } else {
            1
        };
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
