//! The document about the paths as a page for people: made from it, in the binary, without a program in it and
//! without anything from elsewhere.

use std::fmt::{self, Display, Formatter, Write};
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use serde_json::Value;

use super::console::{self, Tag};
use super::problem::Problem;
use super::routes::DOCUMENT;

static PAGE: LazyLock<(String, Tag)> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&DOCUMENT).unwrap_or_default();
    let page = page(&document);
    let tag = console::tag_of(page.as_bytes());
    (page, tag)
});

/// The page.
pub(crate) async fn docs(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    let (page, tag) = &*PAGE;
    let content = Bytes::from_static(page.as_bytes());
    Ok(console::content("docs.html", content, tag, &headers))
}

/// A text that becomes nothing but text.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The text of a member, and nothing where there is none.
fn text<'a>(part: &'a Value, name: &str) -> Text<'a> {
    Text(part[name].as_str().unwrap_or_default())
}

/// The members of an object, in its order.
fn members(part: &Value) -> impl Iterator<Item = (&String, &Value)> {
    part.as_object().into_iter().flatten()
}

fn items(part: &Value) -> impl Iterator<Item = &Value> {
    part.as_array().into_iter().flatten()
}

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Tidewheel: HTTP API</title>
<link rel="icon" href="console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="console/base.css">
<link rel="stylesheet" href="console/docs.css">
</head>
<body>
<header class="bar"><a class="brand" href="./"><img src="console/icon.svg" alt="" width="22" height="22">Tidewheel</a>
<span class="where">HTTP API</span></header>
<main class="reference">
"#;

fn page(document: &Value) -> String {
    let mut out = HEAD.to_owned();
    let written = write_page(&mut out, document);
    // Nothing that writes into a text fails.
    written.map(|()| out).unwrap_or_default()
}

fn write_page(out: &mut String, document: &Value) -> fmt::Result {
    let info = &document["info"];
    writeln!(
        out,
        "<h1>{} {}</h1>",
        text(info, "title"),
        text(info, "version")
    )?;
    writeln!(out, "<p>{}</p>", text(info, "description"))?;
    out.write_str(
        "<p>The same for programs: <a href=\"openapi.json\">openapi.json</a>.</p>\n<ul>\n",
    )?;
    for tag in items(&document["tags"]) {
        let name = text(tag, "name");
        let description = text(tag, "description");
        writeln!(
            out,
            "<li><a href=\"#of-{name}\">{name}</a> {description}</li>"
        )?;
    }
    out.write_str("<li><a href=\"#schemas\">schemas</a> What is sent and answered</li>\n</ul>\n")?;
    for tag in items(&document["tags"]) {
        let name = text(tag, "name");
        writeln!(
            out,
            "<section id=\"of-{name}\"><h2>{}</h2>",
            text(tag, "description")
        )?;
        for (path, methods) in members(&document["paths"]) {
            for (method, operation) in members(methods) {
                if operation["tags"][0] == tag["name"] {
                    write_operation(out, path, method, operation)?;
                }
            }
        }
        out.write_str("</section>\n")?;
    }
    out.write_str("<section id=\"schemas\"><h2>What is sent and answered</h2>\n")?;
    for (name, schema) in members(&document["components"]["schemas"]) {
        write_schema(out, name, schema)?;
    }
    out.write_str("</section>\n</main>\n</body>\n</html>\n")
}

fn write_operation(out: &mut String, path: &str, method: &str, operation: &Value) -> fmt::Result {
    let method = method.to_ascii_uppercase();
    let id = text(operation, "operationId");
    writeln!(
        out,
        "<article id=\"{id}\"><h3><a href=\"#{id}\"><code>{method} {}</code></a></h3>",
        Text(path)
    )?;
    writeln!(out, "<p>{}</p>", text(operation, "summary"))?;
    if !text(operation, "description").0.is_empty() {
        writeln!(out, "<p>{}</p>", text(operation, "description"))?;
    }
    let mut parameters = items(&operation["parameters"]).peekable();
    if parameters.peek().is_some() {
        out.write_str("<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>\n")?;
        for one in parameters {
            let must = if one["required"] == true {
                ", required"
            } else {
                ""
            };
            let (name, place) = (text(one, "name"), text(one, "in"));
            write!(
                out,
                "<tr><td><code>{name}</code></td><td>{place}{must}</td><td>"
            )?;
            write_type(out, &one["schema"])?;
            writeln!(out, "</td><td>{}</td></tr>", text(one, "description"))?;
        }
        out.write_str("</table>\n")?;
    }
    write_contents(out, "Body", &operation["requestBody"]["content"])?;
    write_contents(out, "Answer", &operation["responses"]["200"]["content"])?;
    out.write_str("</article>\n")
}

/// What is sent or answered, in each form that there is.
fn write_contents(out: &mut String, what: &str, contents: &Value) -> fmt::Result {
    for (form, content) in members(contents) {
        write!(out, "<p>{what} (<code>{}</code>): ", Text(form))?;
        write_type(out, &content["schema"])?;
        out.write_str("</p>\n")?;
    }
    Ok(())
}

fn write_schema(out: &mut String, name: &str, schema: &Value) -> fmt::Result {
    let name = Text(name);
    writeln!(
        out,
        "<article id=\"schema-{name}\"><h3><code>{name}</code></h3>"
    )?;
    writeln!(out, "<p>{}</p>", text(schema, "description"))?;
    let mut properties = members(&schema["properties"]).peekable();
    match properties.peek() {
        Some(_) => write_properties(out, schema, properties)?,
        None => {
            out.write_str("<p>")?;
            write_type(out, schema)?;
            out.write_str("</p>\n")?;
        }
    }
    if !schema["example"].is_null() {
        let example = format!("{:#}", schema["example"]);
        writeln!(out, "<pre>{}</pre>", Text(&example))?;
    }
    out.write_str("</article>\n")
}

fn write_properties<'a>(
    out: &mut String,
    schema: &Value,
    properties: impl Iterator<Item = (&'a String, &'a Value)>,
) -> fmt::Result {
    out.write_str("<table><tr><th>Field</th><th>Type</th><th></th></tr>\n")?;
    for (name, property) in properties {
        let must = items(&schema["required"]).any(|one| one == name.as_str());
        let may = if must { "" } else { ", optional" };
        write!(out, "<tr><td><code>{}</code>{may}</td><td>", Text(name))?;
        write_type(out, property)?;
        writeln!(out, "</td><td>{}</td></tr>", text(property, "description"))?;
    }
    out.write_str("</table>\n")
}

/// What a value is, in words and with links to what has a name.
fn write_type(out: &mut String, schema: &Value) -> fmt::Result {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = Text(reference.rsplit('/').next().unwrap_or_default());
        return write!(out, "<a href=\"#schema-{name}\">{name}</a>");
    }
    let several = ["oneOf", "anyOf", "allOf"];
    if let Some(parts) = several.iter().find_map(|key| schema[*key].as_array()) {
        return write_list(out, parts, " or ", write_type);
    }
    if let Some(values) = schema["enum"].as_array() {
        let one = |out: &mut String, value: &Value| {
            write!(out, "<code>{}</code>", Text(&value.to_string()))
        };
        return write_list(out, values, ", ", one);
    }
    match &schema["type"] {
        Value::String(name) => write_named(out, name, schema),
        Value::Array(names) => write_list(out, names, " or ", |out, name| {
            write_named(out, name.as_str().unwrap_or_default(), schema)
        }),
        _ => out.write_str("anything"),
    }
}

fn write_named(out: &mut String, name: &str, schema: &Value) -> fmt::Result {
    write!(out, "{}", Text(name))?;
    if name == "array" {
        out.write_str(" of ")?;
        return write_type(out, &schema["items"]);
    }
    // An object within another one.
    if name == "object" && schema["properties"].is_object() {
        out.write_str(" {")?;
        let inner: Vec<_> = members(&schema["properties"]).collect();
        write_list(out, &inner, ", ", |out, (name, property)| {
            write!(out, "<code>{}</code>: ", Text(name))?;
            write_type(out, property)
        })?;
        return out.write_str("}");
    }
    for (key, word) in [("minimum", "from"), ("maximum", "to")] {
        if !schema[key].is_null() && name != "null" {
            write!(out, " {word} {}", Text(&schema[key].to_string()))?;
        }
    }
    Ok(())
}

fn write_list<T>(
    out: &mut String,
    parts: &[T],
    between: &str,
    one: impl Fn(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.write_str(between)?;
        }
        one(out, part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    /// What stands behind `mark` up to the next quotation mark, each time.
    fn after<'a>(page: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
        page.split(mark)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_operation_and_schema_is_there_and_every_link_leads_somewhere() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let page = &PAGE.0;
        let ids: Vec<&str> = after(page, " id=\"").collect();
        let known: HashSet<&str> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "one stands twice");
        let mut count = 0;
        for (_, methods) in members(&document["paths"]) {
            for (_, operation) in members(methods) {
                assert!(known.contains(operation["operationId"].as_str().unwrap()));
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
        for (name, _) in members(&document["components"]["schemas"]) {
            assert!(known.contains(&*format!("schema-{name}")), "{name}");
        }
        for link in after(page, "href=\"#") {
            assert!(known.contains(link), "{link} leads nowhere");
        }
        for part in ["<script", "http:", "https:", "//", "style="] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn texts_become_no_markup() {
        let evil = "<b>&\"'";
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "tags": [{"name": evil, "description": evil}],
            "paths": {evil: {"get": {
                "tags": [evil], "operationId": evil, "summary": evil, "description": evil,
                "parameters": [{"name": evil, "in": evil, "description": evil,
                    "schema": {"type": ["null", evil]}}],
                "responses": {"200": {"content": {evil: {"schema": {"$ref": evil}}}}},
            }}},
            "components": {"schemas": {evil: {
                "description": evil, "example": evil, "required": [evil],
                "properties": {evil: {"description": evil, "enum": [evil]}},
            }}},
        });
        let page = page(&document);
        assert!(!page.contains("<b>") && !page.contains(evil), "{page}");
        assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;"), "{page}");
    }
}
