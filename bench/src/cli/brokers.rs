//! Where a cluster is: what every command takes that speaks Kafka's protocol.

use clap::Args;

/// Kafka's port.
const PORT: u16 = 9092;

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub struct BrokersArguments {
    /// Brokers to begin with: host:port, several with commas
    #[arg(
        short,
        long,
        env = "TIDEWHEEL_BROKERS",
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        value_parser = address
    )]
    pub brokers: Vec<String>,
}

/// `host:port`, where the port may be left out and an IPv6 address may have no brackets then.
fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_whole = !host.is_empty() && (!host.contains(':') || host.ends_with(']'));
        is_whole && port.parse::<u16>().is_ok()
    });
    let colons = text.matches(':').count();
    match text {
        "" => Err("name a host, or host:port".to_owned()),
        _ if has_port => Ok(text.to_owned()),
        _ if colons == 0 || text.ends_with(']') => Ok(format!("{text}:{PORT}")),
        _ if colons > 1 => Ok(format!("[{text}]:{PORT}")),
        _ => Err("it is not host:port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_left_out() {
        for (text, expected) in [
            ("kafka", Some("kafka:9092")),
            (" kafka:1 ", Some("kafka:1")),
            ("127.0.0.1:29092", Some("127.0.0.1:29092")),
            ("[::1]:5", Some("[::1]:5")),
            ("[::1]", Some("[::1]:9092")),
            ("::1", Some("[::1]:9092")),
            ("", None),
            (":9092", None),
            ("kafka:port", None),
            ("kafka:70000", None),
        ] {
            assert_eq!(address(text).ok().as_deref(), expected, "{text}");
        }
    }
}
