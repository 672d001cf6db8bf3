//! The table of paths, and the document about them.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tidewheel_config::limits;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::state::Admin;
use super::{
    aliases, configs, connections, console, definitions, delayed, delayed_bulk, delayed_changes,
    group_changes, group_offsets, groups, guard, health, loggers, messages, metrics, overview,
    partition_changes, partitions, problem, producers, records, reference, setting_changes, stats,
    topic_changes, topics,
};

type Paths = OpenApiRouter<Arc<Admin>>;

/// Where an operation says what its stream is.
const EVENTS: &str = "/responses/200/content/text~1event-stream";

/// What the document says beside its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidewheel",
        description = "The HTTP API of a Tidewheel broker. Times are in ms since 1970 (`_ms`), sizes in \
                       bytes (`_bytes`); null stands for what is not known. Every error is a problem \
                       document of RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::Document)),
    // Those that one handler takes, for what is behind a parameter.
    paths(
        delayed_changes::deliver_now,
        delayed_changes::reschedule,
        delayed_changes::pause,
        delayed_changes::resume,
        partition_changes::delete_records,
        partition_changes::roll,
        partition_changes::verify,
    ),
    tags(
        (name = "health", description = "Probes"),
        (name = "metrics", description = "Metrics"),
        (name = "broker", description = "The broker as a whole"),
        (name = "topics", description = "Topics"),
        (name = "partitions", description = "Partitions and their segments"),
        (name = "messages", description = "Records"),
        (name = "delayed", description = "Delayed records"),
        (name = "groups", description = "Consumer groups"),
        (name = "connections", description = "Who is connected"),
        (name = "config", description = "Settings"),
        (name = "log", description = "The log of the broker"),
    )
)]
struct Document;

/// For everybody.
fn open() -> Paths {
    OpenApiRouter::default()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::readyz_check))
        .routes(routes!(health::healthz))
        .routes(routes!(aliases::ready))
}

/// For whoever may scrape.
fn probe() -> Paths {
    OpenApiRouter::default()
        .routes(routes!(metrics::default))
        .routes(routes!(metrics::detailed))
        .routes(routes!(metrics::kafka_exporter))
}

/// For whoever may look.
fn viewer() -> Paths {
    OpenApiRouter::default()
        .routes(routes!(overview::info))
        .routes(routes!(overview::overview))
        .routes(routes!(aliases::brokers))
        .routes(routes!(aliases::health_overview))
        .routes(routes!(stats::history))
        .routes(routes!(stats::stream))
        .routes(routes!(topics::list))
        .routes(routes!(definitions::export))
        .routes(routes!(topics::one))
        .routes(routes!(topics::settings))
        .routes(routes!(partitions::list))
        .routes(routes!(partitions::one))
        .routes(routes!(partitions::segments))
        .routes(routes!(partitions::segment))
        .routes(routes!(producers::list))
        .routes(routes!(delayed::summary))
        .routes(routes!(groups::list))
        .routes(routes!(groups::one))
        .routes(routes!(groups::lag))
        .routes(routes!(groups::members))
        .routes(routes!(group_offsets::list))
        .routes(routes!(groups::readers::list))
        .routes(routes!(connections::list))
        .routes(routes!(connections::one))
        .routes(routes!(configs::list))
        .routes(routes!(configs::schema))
        .routes(routes!(configs::status))
        .routes(routes!(loggers::list))
        .routes(routes!(loggers::one))
}

/// For whoever may move groups and delayed records, and end connections.
fn operator() -> Paths {
    OpenApiRouter::default()
        .routes(routes!(group_changes::delete))
        .routes(routes!(group_changes::seek))
        .routes(routes!(group_offsets::set, group_offsets::delete))
        .routes(routes!(connections::end))
        .routes(routes!(delayed::list))
        .routes(routes!(delayed::one))
        .routes(routes!(delayed_changes::accept_clock))
        .route("/v1/delayed/messages/{id}", post(delayed_changes::act))
        .route(
            "/v1/delayed/topics/{topic}",
            post(delayed_changes::act_on_topic),
        )
        .routes(routes!(messages::read))
        .routes(routes!(messages::tail::tail))
        .routes(routes!(loggers::tail))
}

/// For whoever may make topics and take them away.
fn admin() -> Paths {
    OpenApiRouter::default()
        .routes(routes!(topic_changes::create))
        .routes(routes!(definitions::import))
        .routes(routes!(topic_changes::grow))
        .routes(routes!(topic_changes::delete))
        .routes(routes!(setting_changes::alter_topic))
        .routes(routes!(setting_changes::alter_broker))
        .routes(routes!(delayed_changes::cancel))
        .routes(routes!(delayed_bulk::cancel_all))
        .routes(routes!(records::produce))
        .route(
            "/v1/topics/{topic}/partitions/{partition}",
            post(partition_changes::act),
        )
        .routes(routes!(loggers::set))
}

/// The document about all paths, as it is served.
pub(super) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let paths = OpenApiRouter::with_openapi(Document::openapi())
        .merge(open())
        .merge(probe())
        .merge(viewer())
        .merge(operator())
        .merge(admin());
    let mut document = serde_json::to_value(paths.into_openapi()).unwrap_or_default();
    document["security"] = json!([{"bearer": []}]);
    document["components"]["securitySchemes"] =
        json!({"bearer": {"type": "http", "scheme": "bearer"}});
    let mut lists = Vec::new();
    let paths = document["paths"].as_object_mut();
    for (path, methods) in paths.into_iter().flatten() {
        let methods = methods.as_object_mut();
        for (method, operation) in methods.into_iter().flatten() {
            complete(operation, &format!("{method} {path}"));
            lists.extend(list_of_fields(operation));
        }
    }
    for list in lists {
        // None of its fields has to be there.
        let page = &mut document["components"]["schemas"][list]["properties"]["items"]["items"];
        if let Some(entry) = page.as_object_mut() {
            entry.remove("required");
        }
    }
    // A word, or an object whose one member says what it is.
    for name in ["SeekTo", "DeletedBefore"] {
        let places = document["components"]["schemas"][name]["oneOf"].as_array_mut();
        for place in places.into_iter().flatten() {
            if place["type"] == "object" {
                place["additionalProperties"] = json!(false);
            }
        }
    }
    format!("{document:#}\n")
});

/// Adds what the library leaves out: a name that no other operation has, words for each answer, and that any may
/// be a problem.
fn complete(operation: &mut Value, name: &str) {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    operation["operationId"] = json!(words.join("_"));
    let answers = operation["responses"].as_object_mut();
    for (_, answer) in answers.into_iter().flatten() {
        if answer["description"].as_str().is_none_or(str::is_empty) {
            answer["description"] = json!("what was asked for");
        }
    }
    if let Some(answer) = operation.pointer_mut(EVENTS) {
        let data = answer["schema"].take();
        answer["schema"] = event_with(&data);
    }
    operation["responses"]["default"] = any_problem();
}

/// The answer of an operation that can be asked for some fields of each entry only, by the name of its schema.
fn list_of_fields(operation: &Value) -> Option<String> {
    let parameters = operation["parameters"].as_array()?;
    parameters.iter().find(|one| one["name"] == "fields")?;
    let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
    Some(answer.as_str()?.rsplit('/').next()?.to_owned())
}

/// An event of a stream, of which the library knows what its data is.
fn event_with(data: &Value) -> Value {
    json!({
        "type": "object",
        "description": "An event. `gap` and `end` have other data.",
        "required": ["data"],
        "properties": {
            "event": {"type": "string", "description": "Which kind."},
            "id": {"type": "string", "description": "Where to go on, as `Last-Event-ID`."},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    })
}

/// What any path may answer.
fn any_problem() -> Value {
    json!({
        "description": "what is wrong",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

/// All paths, with what their requests go through.
pub(crate) fn router(shared: &Arc<Admin>) -> Router {
    let layer = || Arc::clone(shared);
    let probe = probe().route_layer(from_fn_with_state(layer(), guard::probe));
    let viewer = viewer().route_layer(from_fn_with_state(layer(), guard::viewer));
    let operator = operator().route_layer(from_fn_with_state(layer(), guard::operator));
    let admin = admin().route_layer(from_fn_with_state(layer(), guard::admin));
    let paths = open()
        .merge(probe)
        .merge(viewer)
        .merge(operator)
        .merge(admin);
    let (router, _) = paths.split_for_parts();
    let document = || async { ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()) };
    router
        .route("/openapi.json", get(document))
        .route("/docs", get(reference::docs))
        .route("/", get(console::index))
        .route("/console/{*path}", get(console::file))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
        .layer(from_fn_with_state(layer(), guard::guard))
        .with_state(layer())
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no path {}", uri.path()))
}

/// The library names the methods that there are.
async fn unknown_method() -> impl IntoResponse {
    StatusCode::METHOD_NOT_ALLOWED
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change of the paths, run with `TIDEWHEEL_REGENERATE=1`, and look at the difference.
    #[test]
    fn the_document_is_the_one_that_was_reviewed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("TIDEWHEEL_REGENERATE").is_some() {
            std::fs::write(path, DOCUMENT.as_str()).unwrap();
        }
        let reviewed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            reviewed == *DOCUMENT,
            "docs/openapi.json is stale: run TIDEWHEEL_REGENERATE=1 cargo test -p tidewheel-broker --lib routes"
        );
    }

    #[test]
    fn every_path_says_what_it_answers() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let mut names = std::collections::BTreeSet::new();
        // What a topic's settings take, as their handler does.
        let settings = &document["components"]["schemas"]["Settings"]["additionalProperties"];
        assert_eq!(
            settings["type"],
            json!(["string", "number", "boolean", "null"])
        );
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/v1/topics/{topic}/partitions/{partition}"));
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(!summary.is_empty(), "{method} {path} says nothing");
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} stands twice");
                let good = operation["responses"]["200"]["content"].as_object();
                let mut answers = good.unwrap().values();
                assert!(
                    answers.all(|one| one["schema"].is_object()),
                    "{method} {path}"
                );
            }
        }
    }

    /// The places that the document names in itself.
    fn references<'a>(part: &'a Value, found: &mut Vec<&'a str>) {
        match part {
            Value::Object(members) => {
                found.extend(part["$ref"].as_str());
                members.values().for_each(|one| references(one, found));
            }
            Value::Array(items) => items.iter().for_each(|one| references(one, found)),
            _ => {}
        }
    }

    #[test]
    fn what_the_document_refers_to_is_there() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }
}
