//! Checks of settings whose values are more than one number or word.

use crate::listener::{HostPort, Listener};
use crate::retry::RetryBackoff;

fn entries(text: &str) -> impl Iterator<Item = Result<Listener, String>> {
    text.split(',').map(|entry| {
        Listener::parse(entry.trim()).map_err(|reason| format!("{}: {reason}", entry.trim()))
    })
}

/// As Java's deflater: there is no level 0 among Kafka's.
pub(super) fn gzip_level(text: &str) -> Result<(), String> {
    match text.parse() {
        Ok(-1 | 1..=9) => Ok(()),
        _ => Err("it must be 1 to 9, or -1 for the default".to_owned()),
    }
}

pub(super) fn listeners(text: &str) -> Result<(), String> {
    let mut seen: Vec<Listener> = Vec::new();
    for listener in entries(text) {
        let listener = listener?;
        let same_address = |other: &Listener| {
            listener.port != 0 && other.port == listener.port && other.host == listener.host
        };
        if seen.iter().any(same_address) {
            return Err(format!("{listener} stands twice"));
        }
        seen.push(listener);
    }
    Ok(())
}

pub(super) fn advertised_listeners(text: &str) -> Result<(), String> {
    let mut names: Vec<String> = Vec::new();
    for listener in entries(text) {
        let listener = listener?;
        if listener.is_wildcard() {
            return Err(format!(
                "clients cannot connect to {listener}; it needs a host"
            ));
        }
        if names.contains(&listener.name) {
            return Err(format!("the listener name {} stands twice", listener.name));
        }
        names.push(listener.name);
    }
    Ok(())
}

/// Reads `NAME:PROTOCOL,…` into pairs in upper case.
pub(crate) fn protocol_map(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| {
            let (name, protocol) = entry
                .split_once(':')
                .ok_or("entries look like NAME:PLAINTEXT")?;
            let protocol = protocol.trim().to_ascii_uppercase();
            if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&protocol.as_str()) {
                return Err(format!("{protocol} is not a security protocol"));
            }
            Ok((name.trim().to_ascii_uppercase(), protocol))
        })
        .collect()
}

/// The pauses of a retry topic.
pub(super) fn retry_backoff(text: &str) -> Result<(), String> {
    match RetryBackoff::parse(text) {
        Some(_) => Ok(()),
        None => Err("it must be like 1000,2x,max 1h,jitter".to_owned()),
    }
}

/// `delete`, `compact` or both.
pub(super) fn cleanup_policy(text: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    for policy in text.split(',').map(str::trim) {
        if !["delete", "compact"].contains(&policy) {
            return Err("it must be delete, compact, or both with a comma".to_owned());
        }
        if seen.contains(&policy) {
            return Err(format!("{policy} stands twice"));
        }
        seen.push(policy);
    }
    Ok(())
}

/// A share.
pub(super) fn ratio(text: &str) -> Result<(), String> {
    double(text, "it must be from 0 to 1", |value| {
        (0.0..=1.0).contains(&value)
    })
}

/// A share that leaves some room and is not nothing.
pub(super) fn load_factor(text: &str) -> Result<(), String> {
    double(text, "it must be from 0.1 to 0.99", |value| {
        (0.1..=0.99).contains(&value)
    })
}

/// At least one byte a second.
pub(super) fn rate(text: &str) -> Result<(), String> {
    double(text, "it must be at least 1", |value| value >= 1.0)
}

fn double(text: &str, expected: &str, good: impl Fn(f64) -> bool) -> Result<(), String> {
    match text.parse() {
        Ok(value) if good(value) => Ok(()),
        _ => Err(expected.to_owned()),
    }
}

pub(super) fn log_dirs(text: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    for dir in text.split(',').map(str::trim) {
        if dir.is_empty() {
            return Err("a directory name is missing".to_owned());
        }
        if seen.contains(&dir) {
            return Err(format!("{dir} stands twice"));
        }
        seen.push(dir);
    }
    Ok(())
}

pub(super) fn address_or_off(text: &str) -> Result<(), String> {
    match text {
        "off" => Ok(()),
        address => HostPort::parse(address).map(|_| ()),
    }
}

pub(super) fn protocols(text: &str) -> Result<(), String> {
    protocol_map(text).map(|_| ())
}
