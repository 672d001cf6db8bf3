//! Pages that need nothing but themselves: styles, figures and charts are in the file.

use std::fmt::Write;

use super::{chart, table};
use crate::error::BenchError;
use crate::summary::Summary;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;\
padding:0 1rem;color:#1a1a1a}pre{overflow-x:auto;background:#f5f5f5;padding:1rem;font-size:13px}\
svg{max-width:100%;height:auto}table{border-collapse:collapse}td,th{padding:.3rem .8rem;\
border-bottom:1px solid #ddd;text-align:left}";

/// The report of a run.
pub(crate) fn run_page(summary: &Summary) -> Result<String, BenchError> {
    let mut body = String::new();
    let table = escape(&table::render(summary));
    put(&mut body, format_args!("<pre>{table}</pre>\n"));
    for (_, svg) in chart::of_run(summary)? {
        put(&mut body, format_args!("{svg}\n"));
    }
    let workload = toml::to_string(&summary.workload).unwrap_or_default();
    let workload = escape(&workload);
    put(
        &mut body,
        format_args!("<h2>Workload</h2>\n<pre>{workload}</pre>\n"),
    );
    let name = match summary.workload.name.as_str() {
        "" => summary.workload.headline(),
        name => name.to_owned(),
    };
    Ok(page(&name, &body))
}

/// A page around a body that is HTML already.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n{body}</body></html>\n"
    )
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes what is written");
}

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    #[test]
    fn the_page_needs_no_network_and_no_name_breaks_out_of_it() {
        let mut result = summary(1000.0, 5.0);
        result.workload.name = "<script>alert(1)</script>".to_owned();
        let page = run_page(&result).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert_eq!(page.matches("<svg").count(), 3);
        for fetched in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(fetched), "{fetched}");
        }
    }
}
