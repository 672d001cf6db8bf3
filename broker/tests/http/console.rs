//! The files of the web console.

use crate::support::http::{Answer, admin, get, raw, send, start};

fn text<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let header = answer.header(name);
    header.unwrap_or_else(|| panic!("no {name}: {answer:?}"))
}

#[test]
fn the_page_and_its_files_are_there_with_what_a_browser_needs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let page = get(&broker, "/");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8");
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    let mut files = page
        .body
        .split('"')
        .filter(|word| word.starts_with("console/"));
    let mut count = 0;
    for file in files.by_ref() {
        let answer = get(&broker, &format!("/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        let expected = match file.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("what is {other}?"),
        };
        assert_eq!(text(&answer, "content-type"), expected);
        let length: usize = text(&answer, "content-length").parse().unwrap();
        assert_eq!(length, answer.body.len());
        count += 1;
    }
    assert!(count > 3, "{}", page.body);
    for answer in [page, get(&broker, "/console/app.js")] {
        let policy = text(&answer, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        for part in ["unsafe", "http", "data:", "*", "nonce"] {
            assert!(!policy.contains(part), "{policy}");
        }
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(text(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(text(&answer, "x-frame-options"), "DENY");
        assert_eq!(text(&answer, "referrer-policy"), "no-referrer");
        let policy = text(&answer, "cross-origin-resource-policy");
        assert_eq!(policy, "same-origin");
    }
}

/// Made from the document about the paths, and open to everybody as that is.
#[test]
fn a_page_for_people_tells_of_every_path_without_anything_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let page = get(&broker, "/docs");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(text(&page, "content-type"), "text/html; charset=utf-8");
    let policy = text(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    let document = get(&broker, "/openapi.json").good();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.body.contains(&format!(" {path}</code>")), "{path}");
    }
    let mut files = page
        .body
        .split('"')
        .filter(|word| word.starts_with("console/"));
    assert!(files.all(|file| get(&broker, &format!("/{file}")).status == 200));
    // A link of any other page may open it, as it may the console.
    let opened = |path: &str| {
        let headers = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        send(&broker, "GET", path, &headers, "").status
    };
    assert_eq!((opened("/docs"), opened("/v1/info")), (200, 403));
    let tag = text(&page, "etag");
    let known = send(&broker, "GET", "/docs", &[("if-none-match", tag)], "");
    assert_eq!((known.status, known.body.as_str()), (304, ""));
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    for path in ["/", "/console/app.js", "/console/vendor/uPlot.iife.min.js"] {
        let first = get(&broker, path);
        assert_eq!(first.status, 200, "{path}");
        assert_eq!(text(&first, "cache-control"), "no-cache");
        let tag = text(&first, "etag").to_owned();
        let again = send(&broker, "GET", path, &[("if-none-match", &tag)], "");
        assert_eq!((again.status, &*again.body), (304, ""), "{path}");
        assert_eq!(text(&again, "etag"), tag);
        let other = [("if-none-match", "\"0\"")];
        assert_eq!(send(&broker, "GET", path, &other, "").status, 200);
        let head = send(&broker, "HEAD", path, &[], "");
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert_eq!(text(&head, "etag"), tag);
        assert_eq!(
            text(&head, "content-length"),
            text(&first, "content-length")
        );
    }
}

#[test]
fn nothing_else_is_a_file_of_the_console() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    for path in [
        "/console",
        "/console/",
        "/console/none.js",
        "/console//app.js",
        "/console/./app.js",
        "/console/../console/app.js",
        "/console/../Cargo.toml",
        "/console/%2e%2e/Cargo.toml",
        "/console/..%2f..%2fetc%2fpasswd",
        "/console/%2fetc%2fpasswd",
        "/console/app.js%00",
        "/console/app.js/",
        "/console/APP.js",
        "/console/README.md",
        "/index.html",
    ] {
        get(&broker, path).problem(404);
    }
    get(&broker, "/console/%ff").problem(400);
    for method in ["POST", "PUT", "DELETE"] {
        let with = [("x-requested-with", "t")];
        let refused = send(&broker, method, "/", &with, "");
        refused.problem(405);
        assert_eq!(text(&refused, "allow"), "GET,HEAD");
    }
    // The rules of the API hold here, too.
    send(&broker, "GET", "/", &[("host", "evil.example")], "").problem(421);
    let address = admin(&broker);
    let none = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    raw(&address, none).unwrap().problem(400);
}

/// A link of another page leads to the console, and to nothing else.
#[test]
fn other_pages_may_link_to_the_console() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let asked = |method: &str, path: &str, site: &str, mode: &str, dest: &str| {
        let headers = [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
            ("x-requested-with", "t"),
        ];
        send(&broker, method, path, &headers, "").status
    };
    for site in ["cross-site", "same-site", "same-origin", "none"] {
        assert_eq!(asked("GET", "/", site, "navigate", "document"), 200);
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(asked("GET", "/", site, "navigate", "iframe"), 403);
        assert_eq!(asked("GET", "/", site, "no-cors", "script"), 403);
        assert_eq!(asked("GET", "/", site, "cors", "empty"), 403);
        assert_eq!(asked("POST", "/", site, "navigate", "document"), 403);
        for path in ["/console/app.js", "/v1/info", "/v1/topics", "/openapi.json"] {
            assert_eq!(asked("GET", path, site, "navigate", "document"), 403);
        }
    }
}

/// There is nothing in it that a token would have to protect, and it asks for one.
#[test]
fn everybody_may_have_the_files_and_nobody_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "ada admin an-admin-token-0123456789\n").unwrap();
    let setting = format!("tidewheel.admin.tokens.file={}", file.display());
    let broker = start(&dir.path().join("data"), &[&setting]);
    for path in ["/", "/console/app.js"] {
        assert_eq!(get(&broker, path).status, 200, "{path}");
    }
    get(&broker, "/v1/overview").problem(401);
}
