//! The web console: static files that are part of the binary.
//!
//! They hold no data, so that everybody may have them, also where tokens are needed. What they show they ask the API
//! for, with the token of whoever looks.

use std::hash::Hasher;
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY,
};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::IntoResponse;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::problem::Problem;

/// What a page of the console may do: use files and the API of this broker, and nothing else. No text becomes
/// markup or a program, also by mistake (`require-trusted-types-for`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A file of the console.
#[derive(Debug)]
struct File {
    /// Below `broker/console`.
    path: &'static str,
    content: &'static [u8],
}

macro_rules! files {
    ($($path:literal)*) => {
        &[$(File {
            path: $path,
            content: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/", $path)),
        }),*]
    };
}

/// All of them. A test compares the list with the folder.
const FILES: &[File] = files! {
    "api.js"
    "app.js"
    "base.css"
    "chart.js"
    "dialogs.js"
    "docs.css"
    "dom.js"
    "features.js"
    "format.js"
    "goto.js"
    "icon.svg"
    "index.html"
    "metrics.js"
    "page.js"
    "pages/broker.js"
    "pages/config.js"
    "pages/connections.js"
    "pages/delayed.js"
    "pages/group.js"
    "pages/group_parts.js"
    "pages/groups.js"
    "pages/logs.js"
    "pages/messages.js"
    "pages/overview.js"
    "pages/partitions.js"
    "pages/produce.js"
    "pages/produce_parts.js"
    "pages/setting_parts.js"
    "pages/storage.js"
    "pages/topic.js"
    "pages/topic_consumers.js"
    "pages/topic_settings.js"
    "pages/topics.js"
    "parts.css"
    "payload.js"
    "sse.js"
    "table.js"
    "theme.js"
    "vendor/uPlot.LICENSE.txt"
    "vendor/uPlot.iife.min.js"
    "vendor/uPlot.min.css"
};

/// The name of each content, which changes with it.
static TAGS: LazyLock<Vec<Tag>> =
    LazyLock::new(|| FILES.iter().map(|file| tag_of(file.content)).collect());

/// The name of a content.
pub(super) type Tag = HeaderValue;

/// The name of a content.
pub(super) fn tag_of(content: &[u8]) -> Tag {
    let mut hasher = SipHasher13::new();
    hasher.write(content);
    let hash = hasher.finish128().as_u128();
    HeaderValue::from_str(&format!("\"{hash:032x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether somebody opens the console or the page about the API, for which a link of any other page will do: there
/// is no data in what is answered, and no other page can frame it.
pub(super) fn is_opened(request: &Request) -> bool {
    let says = |name: &str, value: &str| {
        let header = request.headers().get(name);
        header.is_some_and(|header| header.as_bytes() == value.as_bytes())
    };
    request.method() == Method::GET
        && ["/", "/docs"].contains(&request.uri().path())
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
}

/// The page.
pub(crate) async fn index(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    answer("index.html", &headers)
}

/// What it consists of.
pub(crate) async fn file(
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    answer(&path, &headers)
}

/// A file by its path as it stands in the table: nothing is looked for on a disk.
fn answer(path: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let found = FILES.iter().zip(TAGS.iter());
    let found = found.into_iter().find(|(file, _)| file.path == path);
    let (file, tag) =
        found.ok_or_else(|| Problem::not_found(format!("the console has no file {path}")))?;
    let bytes = Bytes::from_static(file.content);
    Ok(content(path, bytes, tag, headers))
}

/// A content with the rules that a browser is given with it; the name says of which kind it is.
pub(super) fn content(
    name: &str,
    content: Bytes,
    tag: &Tag,
    headers: &HeaderMap,
) -> Response<Body> {
    let rules: [(HeaderName, HeaderValue); 5] = [
        (ETAG, tag.clone()),
        // It may be kept, and is asked for each time: after an upgrade everything is of one version.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // No other page puts its files into itself.
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    if is_known(headers, tag) {
        return (StatusCode::NOT_MODIFIED, rules).into_response();
    }
    let content_type = [(CONTENT_TYPE, content_type(name))];
    (content_type, rules, content).into_response()
}

/// Whether the client has a content of that name.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let known = known.filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    known.any(|one| one == "*" || one.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/console");

    fn below(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => below(&path, found),
                false => {
                    let name = path.strip_prefix(FOLDER).unwrap().to_str().unwrap();
                    found.insert(name.to_owned());
                }
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let mut there = BTreeSet::new();
        below(Path::new(FOLDER), &mut there);
        there.remove("README.md");
        let served: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(served, there);
        assert_eq!(served.len(), FILES.len(), "none stands twice");
        let tags: BTreeSet<&[u8]> = TAGS.iter().map(HeaderValue::as_bytes).collect();
        assert!(tags.iter().all(|tag| tag.len() == 34), "{tags:?}");
    }

    #[test]
    fn a_client_says_what_it_knows_in_several_ways() {
        let tag = HeaderValue::from_static("\"abc\"");
        for (said, known) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("*", true),
            ("\"ab\"", false),
            ("abc", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(said));
            assert_eq!(is_known(&headers, &tag), known, "{said}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
