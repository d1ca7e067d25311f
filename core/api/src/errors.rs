//! The one internal error in each service's own shape.
//!
//! Shapes: identity `{"error":{code,title,message}}` (and every 401); compute `{"<kind>":{code,message}}`
//! (nova's `Fault`); network `{"NeutronError":{type,message,detail}}`; image `{message,code,title}`, as
//! glance's webob answers who accepts JSON (openstacksdk shows the message of no other form); placement
//! `{"errors":[{status,title,detail,code,request_id}]}`; native `{"error":{code,kind,message,request_id}}`.

use crate::route::Service;
use crate::version::Microversion;
use canopy_types::{Error, Kind};
use http::StatusCode;
use serde_json::json;

pub struct Rendered {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

pub fn status(service: Service, kind: Kind) -> StatusCode {
    use StatusCode as S;
    match kind {
        Kind::BadRequest => S::BAD_REQUEST,
        Kind::Unauthorized => S::UNAUTHORIZED,
        Kind::Forbidden => S::FORBIDDEN,
        Kind::OverQuota => match service {
            Service::Network => S::CONFLICT,
            Service::Image => S::PAYLOAD_TOO_LARGE,
            _ => S::FORBIDDEN,
        },
        Kind::NotFound => S::NOT_FOUND,
        Kind::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
        Kind::NotAcceptable => S::NOT_ACCEPTABLE,
        Kind::Conflict => S::CONFLICT,
        Kind::Gone => S::GONE,
        Kind::TooLarge | Kind::StorageFull => S::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMediaType => S::UNSUPPORTED_MEDIA_TYPE,
        Kind::Unprocessable => S::UNPROCESSABLE_ENTITY,
        Kind::RangeNotSatisfiable => S::RANGE_NOT_SATISFIABLE,
        Kind::TooManyRequests => S::TOO_MANY_REQUESTS,
        Kind::Internal => S::INTERNAL_SERVER_ERROR,
        Kind::NotImplemented => S::NOT_IMPLEMENTED,
        Kind::Unavailable => S::SERVICE_UNAVAILABLE,
    }
}

pub fn render(service: Service, version: Option<Microversion>, error: &Error, request_id: &str) -> Rendered {
    let status = status(service, error.kind);
    let code = status.as_u16();
    let title = status.canonical_reason().unwrap_or("Error");
    let json_type = "application/json";
    if status == StatusCode::UNAUTHORIZED {
        let body = json!({"error": {"code": code, "title": title, "message": error.message}});
        return Rendered { status, content_type: json_type, body: body.to_string() };
    }
    match service {
        Service::Identity => {
            let body = json!({"error": {"code": code, "title": title, "message": error.message}});
            Rendered { status, content_type: json_type, body: body.to_string() }
        }
        Service::Compute => {
            let body = json!({ fault_name(code): {"code": code, "message": error.message} });
            Rendered { status, content_type: "application/json; charset=UTF-8", body: body.to_string() }
        }
        Service::Network => {
            let body = json!({"NeutronError": {"type": neutron_type(error), "message": error.message, "detail": ""}});
            Rendered { status, content_type: json_type, body: body.to_string() }
        }
        Service::Image => {
            let body = json!({"message": error.message, "code": format!("{code} {title}"), "title": title});
            Rendered { status, content_type: json_type, body: body.to_string() }
        }
        Service::Placement => Rendered {
            status,
            content_type: json_type,
            body: crate::placement::refusal(version, code, title, error, request_id).to_string(),
        },
        Service::Native | Service::Console | Service::Agent => {
            let body = json!({"error": {
                "code": error.code, "status": code, "message": error.message, "request_id": request_id,
            }});
            Rendered { status, content_type: json_type, body: body.to_string() }
        }
    }
}

/// nova's element names by status.
fn fault_name(status: u16) -> &'static str {
    match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 => "overLimit",
        415 => "badMediaType",
        429 => "tooManyRequests",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

/// neutron's exception names, which clients match on: `network.NetworkNotFound` carries its own; others
/// go by kind.
fn neutron_type(error: &Error) -> &str {
    if let Some(name) = error.code.strip_prefix("network.")
        && name.starts_with(|c: char| c.is_ascii_uppercase())
    {
        return name;
    }
    match error.kind {
        Kind::NotFound => "HTTPNotFound",
        Kind::Forbidden => "PolicyNotAuthorized",
        Kind::OverQuota => "OverQuota",
        Kind::Conflict => "Conflict",
        Kind::MethodNotAllowed => "HTTPMethodNotAllowed",
        Kind::Unavailable => "ServiceUnavailable",
        Kind::Internal => "HTTPInternalServerError",
        _ => "HTTPBadRequest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_answers_in_its_own_shape() {
        let error = Error::not_found("network.NetworkNotFound", "Network x could not be found.");
        let parsed = |service| {
            serde_json::from_str::<serde_json::Value>(&render(service, None, &error, "").body).unwrap()
        };
        assert_eq!(
            parsed(Service::Compute),
            json!({"itemNotFound": {"code": 404, "message": "Network x could not be found."}})
        );
        assert_eq!(
            parsed(Service::Network),
            json!({"NeutronError": {
                "type": "NetworkNotFound", "message": "Network x could not be found.", "detail": ""}})
        );
        assert_eq!(
            parsed(Service::Image),
            json!({"message": "Network x could not be found.", "code": "404 Not Found", "title": "Not Found"})
        );
        assert!(render(Service::Identity, None, &error, "").body.contains(r#""title":"Not Found""#));
    }

    #[test]
    fn over_quota_follows_the_service() {
        let error = Error::new(Kind::OverQuota, "quota.exceeded", "Quota exceeded.");
        assert_eq!(render(Service::Compute, None, &error, "").status, 403);
        assert_eq!(render(Service::Network, None, &error, "").status, 409);
        assert_eq!(render(Service::Image, None, &error, "").status, 413);
    }
}
