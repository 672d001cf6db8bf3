//! What a client of the HTTP API is told when something is wrong: RFC 9457, `application/problem+json`.

use std::borrow::Cow;
use std::fmt::Display;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use tidewheel_protocol::ErrorCode;
use utoipa::ToSchema;

use super::actions::methods;

/// Media type of every error.
const PROBLEM_JSON: &str = "application/problem+json";

/// Bytes of a library's own words about a refused request.
const WORDS_BYTES_MAX: usize = 4 * 1024;

/// What is wrong, on its way to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Document>);

/// What is wrong, and where.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// Which kind of problem, as a path: the same for the same cause.
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    /// The kind in words.
    title: Cow<'static, str>,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time.
    detail: Option<String>,
    /// The path that was asked for.
    instance: Option<String>,
    /// Kafka's name of the error, where it has one.
    kafka_error: Option<&'static str>,
    /// Kafka's number of it.
    kafka_error_code: Option<i16>,
    /// What is wrong with parts of the request.
    errors: Vec<FieldProblem>,
    #[serde(skip)]
    header: Option<(HeaderName, HeaderValue)>,
}

/// What is wrong with one part of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// The part: a JSON pointer into the body, or `?name` of a query.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, title: &'static str) -> Self {
        Self(Box::new(Document {
            kind: kind.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: None,
            instance: None,
            kafka_error: None,
            kafka_error_code: None,
            errors: Vec::new(),
            header: None,
        }))
    }

    /// What Kafka has a code for.
    pub(crate) fn kafka(status: StatusCode, code: ErrorCode, detail: String) -> Self {
        let slug = code.name().to_ascii_lowercase().replace('_', "-");
        let mut problem = Self::new(status, "", code.message());
        problem.0.kind = format!("/problems/{slug}").into();
        problem.0.kafka_error = Some(code.name());
        problem.0.kafka_error_code = Some(code.code());
        problem.detail(detail)
    }

    /// The same of a kind with a shorter name.
    fn kind(mut self, kind: &'static str) -> Self {
        self.0.kind = kind.into();
        self
    }

    /// Whether it says that something is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.status == StatusCode::NOT_FOUND.as_u16()
    }

    /// Says what is wrong this time.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Says something more.
    pub(crate) fn also(mut self, more: impl Display) -> Self {
        let detail = self.0.detail.take();
        self.detail(detail.map_or_else(|| more.to_string(), |detail| format!("{detail}; {more}")))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// There is nothing of that name.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "there is no such thing",
        )
        .detail(what)
    }

    /// There is no topic of that name.
    pub(crate) fn unknown_topic(name: &str) -> Self {
        let code = ErrorCode::UnknownTopicOrPartition;
        let detail = format!("there is no topic {name}");
        Self::kafka(StatusCode::NOT_FOUND, code, detail).kind("/problems/unknown-topic")
    }

    /// There is no partition of that number.
    pub(crate) fn unknown_partition(topic: &str, partition: i32) -> Self {
        let code = ErrorCode::UnknownTopicOrPartition;
        let detail = format!("topic {topic} has no partition {partition}");
        Self::kafka(StatusCode::NOT_FOUND, code, detail).kind("/problems/unknown-partition")
    }

    /// There is no group of that name.
    pub(crate) fn unknown_group(name: &str) -> Self {
        let detail = format!("there is no group {name}");
        Self::kafka(StatusCode::NOT_FOUND, ErrorCode::GroupIdNotFound, detail)
            .kind("/problems/unknown-group")
    }

    /// A part of the query or body is wrong.
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            "/problems/invalid-request",
            "the request is not valid",
        );
        problem.0.errors.push(FieldProblem {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        problem
    }

    /// Adds what is wrong with one part of the request.
    pub(crate) fn with_field(mut self, pointer: String, detail: String) -> Self {
        self.0.errors.push(FieldProblem { pointer, detail });
        self
    }

    /// The same where the parts stand within another part of the body.
    pub(crate) fn under(mut self, part: &str) -> Self {
        for error in &mut self.0.errors {
            error.pointer.insert_str(0, part);
        }
        self
    }

    /// The broker cannot answer now, but will.
    pub(crate) fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            kind,
            "the broker cannot answer this now",
        )
        .detail(detail)
        .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The request says nobody, or somebody who is not known.
    pub(crate) fn unauthenticated(detail: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "/problems/unauthenticated",
            "a token is needed",
        )
        .detail(detail)
        .header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"tidewheel\""),
        )
    }

    /// The path is there, and takes other methods.
    pub(crate) fn method_not_allowed(methods: &'static str) -> Self {
        Self::of_status(StatusCode::METHOD_NOT_ALLOWED)
            .header(ALLOW, HeaderValue::from_static(methods))
    }

    /// The request is refused whatever is sent with it.
    pub(crate) fn forbidden(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, "this is not allowed").detail(detail)
    }

    /// What a status means of which nothing else is known.
    fn of_status(status: StatusCode) -> Self {
        let (kind, title) = match status {
            StatusCode::NOT_FOUND => ("/problems/not-found", "there is no such path"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "/problems/method-not-allowed",
                "this path has no such method",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("/problems/too-large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "/problems/unsupported-media-type",
                "the body must be application/json",
            ),
            status if status.is_client_error() => {
                ("/problems/invalid-request", "the request is not valid")
            }
            _ => ("/problems/internal", "something went wrong in the broker"),
        };
        Self::new(status, kind, title)
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer, to a request for `path`.
    fn answer(mut self, path: &str) -> Response<Body> {
        self.0.instance = Some(path.to_owned());
        let body = serde_json::to_vec(&*self.0).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some((name, value)) = self.0.header {
            headers.insert(name, value);
        }
        response
    }
}

/// What a library says of a body that a handler has read itself.
impl From<JsonRejection> for Problem {
    fn from(refused: JsonRejection) -> Self {
        Self::of_status(refused.status()).detail(refused.body_text())
    }
}

/// The same of a query.
impl From<QueryRejection> for Problem {
    fn from(refused: QueryRejection) -> Self {
        Self::of_status(refused.status()).detail(refused.body_text())
    }
}

/// On its way to [`as_problem`], which knows the path.
impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes a problem document of every answer that is an error, also of those that a library gives.
pub(crate) async fn as_problem(mut response: Response<Body>, path: &str) -> Response<Body> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return problem.answer(path);
    }
    let is_document = |value: &HeaderValue| value.as_bytes().starts_with(b"application/");
    if response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(is_document)
    {
        // Such as a probe that says what is wrong.
        return response;
    }
    let (parts, body) = response.into_parts();
    let words = to_bytes(body, WORDS_BYTES_MAX).await.unwrap_or_default();
    let mut problem = Problem::of_status(status);
    if !words.is_empty() {
        problem = problem.detail(String::from_utf8_lossy(&words));
    }
    // Else the router says it, behind this.
    if let Some(methods) = methods(path).filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
        problem = problem.header(ALLOW, HeaderValue::from_static(methods));
    } else if let Some(known) = parts.headers.get(ALLOW) {
        problem = problem.header(ALLOW, known.clone());
    }
    problem.answer(path)
}
