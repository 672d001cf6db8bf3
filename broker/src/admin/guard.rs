//! What every request goes through: limits of time, whom it may name, where it may come from, who may do what, and
//! what is written down about it.
//!
//! A web page that somebody has open can send requests to this machine. Three things stand against that: the
//! name under which the broker is called must be one of its own (else a page could rename its own host to this
//! address), a page of another origin is refused, and what changes something must carry a header that
//! no page can send to another origin unasked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, HeaderValue,
    ORIGIN, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use tidewheel_config::limits;
use tokio::time::timeout;

use super::actions::misused;
use super::audit::{Audit, Known};
use super::auth::Role;
use super::idle::Activity;
use super::problem::{Problem, as_problem};
use super::sending::{self, Held};
use super::state::Admin;
use super::{console, health, metrics};

/// The address of whoever sends a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The outermost: bounds the time, checks where a request comes from, and makes its answer fit to leave.
pub(crate) async fn guard(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let answer = match is_mutation(request.method()) {
        // A task of its own: what has begun is carried out and written down, also when its client is gone.
        true => {
            let change = changed(Arc::clone(&admin), request, next);
            let answer = admin.changes.carry_out(change).await;
            answer.unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        false => {
            let answer = timeout(limits::ADMIN_REQUEST_WAIT, answered(&admin, request, next)).await;
            answer.unwrap_or_else(|_| {
                let detail = "it took too long; ask for less, or try again";
                Problem::unavailable("/problems/timed-out", detail).into_response()
            })
        }
    };
    finished(answer, &path).await
}

async fn answered(admin: &Admin, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    let is_scrape = metrics::is_scrape(path);
    let place = match is_scrape {
        true => admin.scrape_place().map(Some),
        false if health::is_probe(path) => Ok(None),
        false => admin.request_place().map(Some),
    };
    let place = match place.and_then(|place| check(admin, &request).map(|()| place)) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    if let Some(problem) = misused(request.method(), path) {
        return problem.into_response();
    }
    let activity = request.extensions().get::<Arc<Activity>>().map(Arc::clone);
    let is_change = is_mutation(request.method());
    let answer = next.run(request).await;
    let held = match (is_change, is_scrape) {
        (true, _) => Held::Place(place),
        (false, true) => Held::Bytes(Arc::clone(&admin.unsent_metrics)),
        (false, false) => Held::Bytes(Arc::clone(&admin.unsent)),
    };
    sending::sent(answer, held, activity.as_deref()).await
}

/// Answers what is meant to change something, and writes it down.
async fn changed(admin: Arc<Admin>, mut request: Request, next: Next) -> Response<Body> {
    let mut audit = Audit::new(&mut request);
    let answer = timeout(limits::ADMIN_REQUEST_WAIT, answered(&admin, request, next)).await;
    let answer = answer.unwrap_or_else(|_| {
        let late = Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "/problems/timed-out",
            "it took too long",
        );
        late.detail("what has begun may still be carried out: look before you try again")
            .into_response()
    });
    audit.status = Some(answer.status());
    answer
}

/// Makes an answer fit to leave.
async fn finished(answer: Response<Body>, path: &str) -> Response<Body> {
    let mut answer = as_problem(answer, path).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'",
        ),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Whether a method is meant to change something.
fn is_mutation(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn check(admin: &Admin, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = host(request)?;
    if !admin.hosts.allow(host.host()) {
        let misdirected = Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "/problems/unknown-host",
            "this broker is not known by that name",
        );
        return Err(misdirected.detail(format!(
            "{} is not in tidewheel.admin.allowed.hosts",
            host.host()
        )));
    }
    check_origin(request, &host)?;
    if is_mutation(request.method())
        && !headers.contains_key("x-requested-with")
        && !(admin.access.wants_tokens() && headers.contains_key(AUTHORIZATION))
    {
        return Err(Problem::forbidden(
            "/problems/missing-header",
            "what changes something needs the header X-Requested-With, with any value",
        ));
    }
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::ADMIN_BODY_BYTES_MAX as u64) {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "/problems/too-large",
            "the body is too large",
        ));
    }
    Ok(())
}

/// Under which name the broker is called.
fn host(request: &Request) -> Result<Authority, Problem> {
    let wrong = |detail: &'static str| Err(Problem::invalid("Host", detail));
    let mut named = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return wrong("the header must be there once");
    };
    let host = host.to_str().ok().and_then(|host| host.parse().ok());
    let Some(host): Option<Authority> = host else {
        return wrong("it is no host with an optional port");
    };
    if host.as_str().contains('@') || host.host().is_empty() {
        return wrong("it is no host with an optional port");
    }
    // Whoever names a host in the request line, too, takes the broker for a proxy.
    match request.uri().authority() {
        Some(other) if *other != host => wrong("the request line names another host"),
        _ => Ok(host),
    }
}

fn check_origin(request: &Request, host: &Authority) -> Result<(), Problem> {
    let headers = request.headers();
    // `same-site` is another port of this machine, too.
    let cross_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| matches!(site.as_bytes(), b"cross-site" | b"same-site"))
        && !console::is_opened(request);
    let foreign = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| origin.split_once("://"));
        origin.is_none_or(|(_, origin)| !origin.eq_ignore_ascii_case(host.as_str()))
    });
    if cross_site || foreign {
        return Err(Problem::forbidden(
            "/problems/cross-origin",
            "web pages of another origin are not answered",
        ));
    }
    Ok(())
}

/// The names under which the broker may be called.
#[derive(Debug)]
pub(crate) struct AllowedHosts {
    /// In lower case.
    names: Vec<String>,
}

impl AllowedHosts {
    /// Those of the settings, and the one that it listens on.
    pub(crate) fn new(configured: &[String], listens_on: &str) -> Self {
        let mut names = configured.to_vec();
        names.push("localhost".to_owned());
        names.push(listens_on.to_ascii_lowercase());
        Self { names }
    }

    /// An address is as good as a name of ours: a page can rename its host, but not an address.
    fn allow(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let host = bare.trim_end_matches('.').to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || self.names.contains(&host)
    }
}

/// Lets those in who may at least do what `role` does.
async fn require(admin: &Admin, role: Role, request: Request, next: Next) -> Response<Body> {
    let sent = request.headers().get(AUTHORIZATION);
    let principal = match admin.principal(sent).await {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    if let Some(known) = request.extensions().get::<Known>() {
        // Each request asks once.
        known.get_or_init(|| principal.clone());
    }
    if principal.role < role {
        let detail = format!("the role of {} is too low", principal.name);
        return Problem::forbidden("/problems/forbidden", detail).into_response();
    }
    next.run(request).await
}

/// For what scrapers look at.
pub(crate) async fn probe(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    if admin.metrics_open {
        return next.run(request).await;
    }
    require(&admin, Role::Probe, request, next).await
}

/// For what changes nothing.
pub(crate) async fn viewer(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    require(&admin, Role::Viewer, request, next).await
}

/// For what moves groups and ends connections.
pub(crate) async fn operator(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    require(&admin, Role::Operator, request, next).await
}

/// For what makes topics and takes them away.
pub(crate) async fn admin(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    require(&admin, Role::Admin, request, next).await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header::RETRY_AFTER;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{MethodRouter, delete, get};
    use tower::ServiceExt;

    use super::*;
    use crate::lifecycle::Lifecycle;
    use crate::logging::{AUDIT, LogLines};

    /// The answer to a change of `/x`.
    async fn changes(admin: Arc<Admin>, handler: MethodRouter) -> StatusCode {
        let paths = Router::new().route("/x", handler);
        let paths = paths.layer(from_fn_with_state(admin, guard));
        let request = Request::builder().method(Method::DELETE).uri("/x?y");
        let request = request.header(HOST, "localhost");
        let request = request.header("x-requested-with", "t");
        let request = request.body(Body::empty()).unwrap();
        paths.oneshot(request).await.unwrap().status()
    }

    fn audited(lines: &LogLines) -> Vec<String> {
        let lines = lines.follow().0.into_iter();
        let lines = lines.filter(|line| line.target == AUDIT);
        lines.map(|line| line.message.clone()).collect()
    }

    #[tokio::test]
    async fn a_change_that_comes_to_grief_is_written_down() {
        async fn broken() -> StatusCode {
            std::panic::resume_unwind(Box::new(()))
        }
        let (lines, _noted) = LogLines::of_this_thread();
        let admin = Admin::of(Lifecycle::begin());
        let status = changes(Arc::clone(&admin), delete(broken)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let audited = audited(&lines);
        assert_eq!(audited.len(), 1, "{audited:?}");
        assert!(
            audited[0].ends_with("method=DELETE path=\"/x?y\" asked=\"\" status=500"),
            "{audited:?}"
        );
        assert!(admin.request_place().is_ok());
    }

    /// Also where nobody waits for its answer.
    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_what_is_changed_and_cuts_what_hangs() {
        for (takes, status) in [
            (limits::ADMIN_STOP_GRACE / 2, "status=200"),
            (limits::ADMIN_STOP_GRACE * 2, "status=abandoned"),
        ] {
            let (lines, _noted) = LogLines::of_this_thread();
            let admin = Admin::of(Lifecycle::begin());
            let slow = delete(move || tokio::time::sleep(takes));
            let soon = limits::ADMIN_STOP_GRACE / 10;
            let asked = timeout(soon, changes(Arc::clone(&admin), slow)).await;
            assert!(asked.is_err(), "its client goes before it is done");
            assert_eq!(audited(&lines), [""; 0]);
            admin.changes.end().await;
            let audited = audited(&lines);
            assert_eq!(audited.len(), 1, "{audited:?}");
            assert!(audited[0].ends_with(status), "{audited:?}");
            assert_eq!(Arc::strong_count(&admin), 1, "nothing of it is left");
        }
    }

    /// What takes too long is cut short; only of what changes nothing it is known that nothing comes of it.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_to_try_again_what_may_still_happen() {
        let never = || std::future::pending::<StatusCode>();
        let paths = Router::new().route("/x", delete(never).merge(get(never)));
        let paths = paths.layer(from_fn_with_state(Admin::of(Lifecycle::begin()), guard));
        for (method, status) in [
            (Method::DELETE, StatusCode::GATEWAY_TIMEOUT),
            (Method::GET, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let request = Request::builder().method(&method).uri("/x");
            let request = request.header(HOST, "localhost");
            let request = request.header("x-requested-with", "t");
            let request = request.body(Body::empty()).unwrap();
            let answer = paths.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status);
            let tries = answer.headers().contains_key(RETRY_AFTER);
            assert_eq!(tries, method == Method::GET);
        }
    }

    #[test]
    fn a_broker_is_called_by_its_names_and_by_addresses() {
        let hosts = AllowedHosts::new(&["broker.example".to_owned()], "Admin.Internal");
        for good in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "10.1.2.3",
            "[::1]",
            "admin.internal",
            "broker.example",
        ] {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "broker.example.evil",
            "0x7f000001",
            "2130706433",
            "",
        ] {
            assert!(!hosts.allow(bad), "{bad}");
        }
    }
}
