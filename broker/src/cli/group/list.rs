//! Which groups there are.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::{ClusterArguments, refused};
use crate::cli::outcome::{Failure, Format, print_json};
use crate::cli::table::{Table, escaped};

/// Arguments of `group ls`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Only groups in these states, as Stable and Empty
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// A table, or one JSON object per group and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A group in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
pub(super) struct Group {
    group: String,
    #[serde(rename = "type")]
    group_type: String,
    protocol_type: String,
    state: String,
}

/// Lists groups.
pub(super) async fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let groups = all(&mut client, &arguments.state).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.format == Format::Json {
        for group in groups.values() {
            print_json(&mut out, group)?;
        }
        return Ok(out.flush()?);
    }
    let mut table = Table::new(&["GROUP", "TYPE", "PROTOCOL-TYPE", "STATE"]);
    for group in groups.values() {
        let cells = [
            &group.group,
            &group.group_type,
            &group.protocol_type,
            &group.state,
        ];
        let cells = cells.map(|text| match text.is_empty() {
            true => "-".to_owned(),
            false => escaped(text),
        });
        table.row(cells.to_vec());
    }
    table.write(&mut out)?;
    Ok(out.flush()?)
}

/// The groups that all brokers look after, in the order of their names.
pub(super) async fn all(
    client: &mut Client,
    states: &[String],
) -> Result<BTreeMap<String, Group>, Failure> {
    let request = ListGroupsRequest {
        states_filter: states
            .iter()
            .map(|name| StrBytes::from(name.as_str()))
            .collect(),
        ..ListGroupsRequest::default()
    };
    let nodes: Vec<i32> = client.brokers().keys().copied().collect();
    let mut groups = BTreeMap::new();
    for node in nodes {
        let answer: ListGroupsResponse = client.call(To::Node(node), i16::MAX, &request).await?;
        if answer.error_code != 0 {
            let of = format!("groups of broker {node}");
            return Err(refused(&of, answer.error_code, None));
        }
        groups.extend(answer.groups.into_iter().map(|group| {
            let name = group.group_id.to_string();
            let group = Group {
                group: name.clone(),
                group_type: group.group_type.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            };
            (name, group)
        }));
    }
    Ok(groups)
}
