//! Addresses in settings: `NAME://host:port` of listeners and `host:port` of the HTTP API.

use std::fmt;

/// A host and a port. An IPv6 literal is kept without its brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name in upper case, for example `PLAINTEXT`.
    pub name: String,
    /// Name or address, an IPv6 literal without its brackets; empty for every address.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, `[v6]:port` or `:port` (every address).
    ///
    /// # Errors
    /// A clause that says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<HostPort, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("a port is missing after the host")?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(literal) if literal.parse::<std::net::Ipv6Addr>().is_ok() => literal,
            Some(_) => return Err("the address in brackets is not an IPv6 address".to_owned()),
            None if host.contains(':') => {
                return Err("an IPv6 address must stand in brackets, as in [::1]:9092".to_owned());
            }
            None if host.chars().all(is_host_char) => host,
            None => return Err("the host has a character that no host name has".to_owned()),
        };
        let port = port
            .parse()
            .map_err(|_| "the port is not a number from 0 to 65535")?;
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(HostPort {
            host: host.to_owned(),
            port,
        })
    }
}

impl Listener {
    /// Reads `NAME://host:port`.
    ///
    /// # Errors
    /// A clause that says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Listener, String> {
        let (name, address) = text
            .split_once("://")
            .ok_or("a listener looks like PLAINTEXT://127.0.0.1:9092")?;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        if name.is_empty() || !name.chars().all(valid) {
            return Err("the listener name before :// is empty or has odd characters".to_owned());
        }
        let HostPort { mut host, port } = HostPort::parse(address)?;
        if address.starts_with(':') {
            // Of IPv6 too, which no address says.
            host.clear();
        }
        Ok(Listener {
            name: name.to_ascii_uppercase(),
            host,
            port,
        })
    }

    /// Whether the listener accepts on every address of the machine, so that clients need
    /// `advertised.listeners` to find it.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.is_empty() || address.is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = HostPort {
            host: self.host.clone(),
            port: self.port,
        };
        write!(f, "{}://{address}", self.name)
    }
}

fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, host: &str, port: u16) -> Listener {
        Listener {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn listeners_are_read_and_written_alike() {
        for (text, want) in [
            (
                "PLAINTEXT://127.0.0.1:9092",
                listener("PLAINTEXT", "127.0.0.1", 9092),
            ),
            ("PLAINTEXT://[::1]:0", listener("PLAINTEXT", "::1", 0)),
            (
                "INSIDE://broker-1.example:19092",
                listener("INSIDE", "broker-1.example", 19092),
            ),
            ("PLAINTEXT://:9092", listener("PLAINTEXT", "", 9092)),
        ] {
            assert_eq!(Listener::parse(text), Ok(want.clone()));
            assert_eq!(want.to_string(), text);
        }
        assert_eq!(
            Listener::parse("plaintext://h:9092"),
            Ok(listener("PLAINTEXT", "h", 9092))
        );
    }

    #[test]
    fn broken_listeners_are_refused() {
        for text in [
            "127.0.0.1:9092",
            "PLAINTEXT://127.0.0.1",
            "PLAINTEXT://::1:9092",
            "PLAINTEXT://[::g]:9092",
            "PLAINTEXT://127.0.0.1:65536",
            "PLAINTEXT://127.0.0.1:-1",
            "://127.0.0.1:1",
            "PLAINTEXT://a b:1",
        ] {
            assert!(Listener::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_unspecified_addresses_are_wildcards() {
        for (text, wildcard) in [
            ("A://:1", true),
            ("A://0.0.0.0:1", true),
            ("A://[::]:1", true),
            ("A://127.0.0.1:1", false),
            ("A://name:1", false),
        ] {
            assert_eq!(
                Listener::parse(text).map(|l| l.is_wildcard()),
                Ok(wildcard),
                "{text}"
            );
        }
    }
}
