//! The descriptors that the system grants the process, shared between connections and files.
//!
//! A peer that opens connections must not take what the log needs to roll a segment or to sync a directory:
//! half of all descriptors are never given to connections.

use tidewheel_config::limits;
use tracing::{info, warn};

/// Raises the limit of open files to all that the system grants, and returns it.
pub(crate) fn raise_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections may be open at once with `limit` descriptors: `max.connections`, or what the
/// limit leaves for them.
pub(crate) fn connections_max(max_connections: u32, limit: u64) -> u32 {
    let possible = u32::try_from(limit / 2).unwrap_or(u32::MAX);
    if possible < max_connections {
        warn!(
            "max.connections is {max_connections}, but {limit} open files allow {possible} connections: \
             the other half is for files; raise the limit (ulimit -n, LimitNOFILE) for more"
        );
        return possible;
    }
    info!(
        connections = max_connections,
        open_files = limit,
        "limits of this process"
    );
    max_connections
}

/// How many connections of the HTTP API may be open at once: far less than what is left for files.
pub(crate) fn admin_connections_max(limit: u64) -> usize {
    let possible = usize::try_from(limit / 16).unwrap_or(usize::MAX);
    possible.clamp(limits::ADMIN_CONNECTIONS_MIN, limits::ADMIN_CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_api_gets_few_descriptors() {
        let fewest = admin_connections_max(0);
        assert_eq!(fewest, limits::ADMIN_CONNECTIONS_MIN);
        assert_eq!(admin_connections_max(256), 16);
        let most = admin_connections_max(u64::MAX);
        assert_eq!(most, limits::ADMIN_CONNECTIONS_MAX);
    }

    #[test]
    fn connections_get_at_most_half_of_the_descriptors() {
        assert_eq!(connections_max(10_000, u64::MAX), 10_000);
        assert_eq!(connections_max(10_000, 20_000), 10_000);
        assert_eq!(connections_max(10_000, 1_024), 512);
        assert_eq!(connections_max(u32::MAX, u64::MAX), u32::MAX);
        assert_eq!(connections_max(0, 1_024), 0);
    }

    #[test]
    fn the_limit_is_all_that_is_granted() {
        use rustix::process::{Resource, getrlimit};
        let limit = raise_limit();
        let granted = getrlimit(Resource::Nofile);
        assert_eq!(granted.current, granted.maximum);
        assert_eq!(limit, granted.maximum.unwrap_or(u64::MAX));
    }
}
