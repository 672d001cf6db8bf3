//! A client of the HTTP API: a connection for each request, and an answer or what is wrong in a sentence.

use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use axum::http::{HeaderName, Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, Target};

/// Bytes of an answer that are taken: those of the longest page of metrics, and room.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a file that holds a token.
const TOKEN_FILE_BYTES_MAX: usize = 4 * 1024;
/// Where the token is, if there is no file of it.
const TOKEN_VARIABLE: &str = "TIDEWHEEL_ADMIN_TOKEN";
/// What says that no web page sends this; any value does.
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Api {
    url: String,
    /// `host:port`.
    address: String,
    /// What the broker is called by.
    host: HeaderValue,
    /// Before every path, where something in between has the API under a path of its own.
    prefix: String,
    authorization: Option<HeaderValue>,
    wait: Duration,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl Api {
    /// # Errors
    /// Where the URL, or the file of the token, makes no sense.
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let url = target.admin_url.trim_end_matches('/');
        let (address, authority, prefix) = located(url)?;
        let host = HeaderValue::from_str(&authority);
        let host = host.map_err(|_| Failure::Usage(format!("{url} is not a URL")))?;
        Ok(Self {
            url: url.to_owned(),
            address,
            host,
            prefix,
            authorization: authorization(target.token_file.as_deref())?,
            wait: Duration::from_secs(target.timeout),
        })
    }

    /// Where it is, for people.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What is at a path.
    ///
    /// # Errors
    /// Where there is no answer, or it says what is wrong.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await?.good()
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask(method, path, body).await?.good()
    }

    /// The answer to a request, whatever it says.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let request = self.request(method, path, body)?;
        match timeout(self.wait, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let (url, seconds) = (&self.url, self.wait.as_secs());
                Err(Failure::TimedOut(format!(
                    "{url} does not answer within {seconds} s"
                )))
            }
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json, application/problem+json")
            .header(CONNECTION, "close")
            .header(REQUESTED_WITH, "tidewheel");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = match body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        request.map_err(|error| Failure::Usage(format!("cannot ask for {path}: {error}")))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, Failure> {
        let socket = TcpStream::connect(&self.address).await;
        let socket = socket.map_err(|error| self.unreachable(&error))?;
        let shaken = http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.unreachable(&error))?;
        // It ends with the answer, or when this is dropped with the sender.
        let driven = tokio::spawn(connection);
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await;
        driven.abort();
        match body {
            Ok(body) => Ok(Answer { status, body }),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            reason = format!("{reason}: {deeper}");
            cause = deeper.source();
        }
        Failure::Unreachable {
            url: self.url.clone(),
            reason,
        }
    }
}

impl Answer {
    /// What it says, whether it is good or not.
    ///
    /// # Errors
    /// Where it is not JSON: somebody else answers there.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| {
            let status = self.status.as_u16();
            Failure::Refused(format!(
                "the answer (HTTP {status}) is not that of a broker"
            ))
        })
    }

    /// What it says, as it is.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What it says, where it is good.
    ///
    /// # Errors
    /// What is wrong, in the words of the broker.
    pub(super) fn good(&self) -> Result<Value, Failure> {
        match self.status.is_success() {
            true => self.json(),
            false => Err(self.failure()),
        }
    }

    /// What is wrong, in the words of the broker.
    pub(super) fn failure(&self) -> Failure {
        let problem = match self.json() {
            Ok(problem) => problem,
            Err(failure) => return failure,
        };
        let sentence = sentence(self.status, &problem);
        match (self.status, problem["type"].as_str()) {
            (StatusCode::NOT_FOUND, _) => Failure::NotFound(sentence),
            // Some of it may have been done.
            (StatusCode::GATEWAY_TIMEOUT, _) | (_, Some("/problems/timed-out")) => {
                Failure::TimedOut(sentence)
            }
            (_, Some("/problems/invalid-request")) => Failure::Usage(sentence),
            _ => Failure::Refused(sentence),
        }
    }
}

/// A problem document in one line.
fn sentence(status: StatusCode, problem: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let said = problem["detail"].as_str().or(problem["title"].as_str());
    parts.extend(said.map(str::to_owned));
    for error in problem["errors"].as_array().into_iter().flatten() {
        let (pointer, detail) = (error["pointer"].as_str(), error["detail"].as_str());
        parts.extend(detail.map(|detail| format!("{}: {detail}", pointer.unwrap_or("?"))));
    }
    if status == StatusCode::UNAUTHORIZED {
        parts.push(format!("see --token-file and {TOKEN_VARIABLE}"));
    }
    let code = status.as_u16();
    let named = problem["kafka_error"].as_str();
    let named = named.map_or_else(
        || format!("HTTP {code}"),
        |name| format!("HTTP {code}, {name}"),
    );
    format!("{} ({named})", parts.join("; "))
}

/// Where a URL leads: the address to connect to, the name to call it by, and what stands before every path.
fn located(url: &str) -> Result<(String, String, String), Failure> {
    // A password would be shown, to logs as well.
    let shown = url.rsplit('@').next().unwrap_or_default();
    let wrong = |reason: &str| Failure::Usage(format!("{shown}: {reason}"));
    let uri: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
    match uri.scheme_str() {
        None | Some("http") => {}
        Some("https") => return Err(wrong("the HTTP API has no TLS; begin with http://")),
        Some(_) => return Err(wrong("it does not begin with http://")),
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("a name before @ has no effect; see --token-file"));
    }
    if uri.query().is_some() {
        return Err(wrong("it must not have a query"));
    }
    let has_port = authority.as_str().len() > authority.host().len();
    let port = match authority.port_u16() {
        Some(port) => port,
        None if has_port => return Err(wrong("its port is none")),
        None => 80,
    };
    let address = format!("{}:{port}", authority.host());
    let prefix = uri.path().trim_end_matches('/').to_owned();
    Ok((address, authority.to_string(), prefix))
}

/// The header with the token, if there is one.
fn authorization(file: Option<&Path>) -> Result<Option<HeaderValue>, Failure> {
    let (token, origin) = match file {
        Some(path) => {
            let file = crate::cli::settings::read(path).map_err(Failure::Usage)?;
            if file.bytes.len() > TOKEN_FILE_BYTES_MAX {
                return Err(Failure::Usage(format!("{}: it is no token", file.name)));
            }
            let text = String::from_utf8_lossy(&file.bytes).trim().to_owned();
            (text, file.name)
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) => (token.trim().to_owned(), TOKEN_VARIABLE.to_owned()),
            Err(VarError::NotPresent) => return Ok(None),
            // It was meant to be one.
            Err(VarError::NotUnicode(_)) => (String::new(), TOKEN_VARIABLE.to_owned()),
        },
    };
    // The words of the library would show it.
    let is_token = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(Failure::Usage(format!("{origin}: it is no token")));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::Usage(format!("{origin}: it is no token")))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A piece of a path, or a value of a query, so that nothing in it has a meaning.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_leads_to_an_address_a_name_and_a_path() {
        for (url, address, name, prefix) in [
            (
                "http://127.0.0.1:9644",
                "127.0.0.1:9644",
                "127.0.0.1:9644",
                "",
            ),
            ("localhost:9644", "localhost:9644", "localhost:9644", ""),
            ("http://[::1]:9644", "[::1]:9644", "[::1]:9644", ""),
            ("http://gate/broker", "gate:80", "gate", "/broker"),
        ] {
            let found = located(url).unwrap();
            assert_eq!(found, (address.into(), name.into(), prefix.into()), "{url}");
        }
        for url in [
            "",
            "/v1",
            "https://host:9644",
            "ftp://host",
            "http://me:secret@host",
            "http://host?x=y",
            "http://ho st",
            "http://host:99999",
        ] {
            assert!(matches!(located(url), Err(Failure::Usage(_))), "{url}");
        }
    }

    #[test]
    fn nothing_in_a_name_has_a_meaning_in_a_path() {
        assert_eq!(encoded("t-0_1.~"), "t-0_1.~");
        assert_eq!(encoded("a/b?c&d=é %"), "a%2Fb%3Fc%26d%3D%C3%A9%20%25");
    }

    #[test]
    fn a_problem_becomes_a_sentence_and_an_exit_code() {
        let answer = |status: u16, problem: &Value| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::from(problem.to_string()),
        };
        let unknown = json!({"type": "/problems/unknown-topic", "title": "x",
            "detail": "there is no topic t", "errors": [], "kafka_error": "UNKNOWN_TOPIC_OR_PARTITION"});
        let failure = answer(404, &unknown).failure();
        let said = "there is no topic t (HTTP 404, UNKNOWN_TOPIC_OR_PARTITION)";
        assert_eq!(
            (failure.exit_code(), failure.to_string().as_str()),
            (3, said)
        );
        let wrong = json!({"type": "/problems/invalid-request", "title": "not valid", "detail": null,
            "errors": [{"pointer": "?limit", "detail": "too much"}]});
        let failure = answer(400, &wrong).failure();
        let said = "not valid; ?limit: too much (HTTP 400)";
        assert_eq!(
            (failure.exit_code(), failure.to_string().as_str()),
            (2, said)
        );
        let late = json!({"type": "/problems/timed-out", "title": "late"});
        assert_eq!(answer(503, &late).failure().exit_code(), 4);
        assert_eq!(answer(504, &late).failure().exit_code(), 4);
        // Something else than a broker.
        let page = Answer {
            status: StatusCode::OK,
            body: Bytes::from_static(b"<html>"),
        };
        assert_eq!(page.good().unwrap_err().exit_code(), 1);
        assert_eq!(answer(500, &json!([1])).failure().exit_code(), 1);
    }
}
