//! The one internal error: a kind, a stable code, a public text and a private source.
//!
//! Each API service renders it in its own shape (`canopy-api`, `errors.rs`); the source chain is
//! logged once at the edge and never reaches a client.

use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, from the caller's point of view. Every kind maps to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    BadRequest,
    Unauthorized,
    Forbidden,
    /// Over quota: 403 in compute, 409 in network, 413 in image.
    OverQuota,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    Gone,
    TooLarge,
    UnsupportedMediaType,
    Unprocessable,
    RangeNotSatisfiable,
    TooManyRequests,
    Internal,
    NotImplemented,
    Unavailable,
    /// The disk or an image store is full: 507 inside, 413 or 500-free texts outside.
    StorageFull,
}

#[derive(Clone, Debug)]
pub struct Error {
    pub kind: Kind,
    /// Stable and greppable, e.g. `image.not_found`; the help page carries the same name. For the
    /// network API the adapter also derives the `type` from it.
    pub code: &'static str,
    /// Shown to the client: says what to do.
    pub message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), source: None }
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, code, message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(Kind::Unauthorized, "auth.required", message)
    }

    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, code, message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    /// An error the client can do nothing about. The cause goes to the log, not to the client.
    pub fn internal(code: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            Kind::Internal,
            code,
            "The request could not be served because of an unexpected error. The request id leads to the log line.",
        )
        .with_source(source)
    }

    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, code, message)
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The whole chain on one line, for the log.
    pub fn chain(&self) -> String {
        let mut text = format!("{}: {}", self.code, self.message);
        let mut next: Option<&dyn std::error::Error> =
            self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}
