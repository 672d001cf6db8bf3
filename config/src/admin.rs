//! The settings of the HTTP API.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::listener::HostPort;
use crate::settings::Settings;

/// Who may use the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAuth {
    /// Everybody who reaches it.
    None,
    /// Whoever sends a token of the file.
    Token,
}

/// What governs the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// `tidewheel.admin.listen`; `None` for off.
    pub listen: Option<HostPort>,
    /// Whether nobody said where to listen.
    pub listen_is_default: bool,
    /// `tidewheel.admin.auth`.
    pub auth: AdminAuth,
    /// `tidewheel.admin.tokens.file`.
    pub tokens_file: Option<PathBuf>,
    /// `tidewheel.admin.allowed.hosts`, in lower case.
    pub allowed_hosts: Vec<String>,
    /// `tidewheel.admin.metrics.open`.
    pub metrics_open: bool,
    /// `tidewheel.admin.produce`.
    pub produce: bool,
}

const LISTEN: &str = "tidewheel.admin.listen";
const AUTH: &str = "tidewheel.admin.auth";
const TOKENS_FILE: &str = "tidewheel.admin.tokens.file";

impl AdminConfig {
    pub(crate) fn from_settings(settings: &Settings) -> AdminConfig {
        let tokens_file = text(settings, TOKENS_FILE).map(PathBuf::from);
        let auth = match settings.text(AUTH).as_deref() {
            Some("none") => AdminAuth::None,
            None if tokens_file.is_none() => AdminAuth::None,
            _ => AdminAuth::Token,
        };
        let hosts = settings.list("tidewheel.admin.allowed.hosts");
        AdminConfig {
            listen: settings
                .text(LISTEN)
                .and_then(|address| HostPort::parse(&address).ok()),
            listen_is_default: settings.given(LISTEN).is_none(),
            auth,
            tokens_file,
            allowed_hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            metrics_open: settings.boolean("tidewheel.admin.metrics.open"),
            produce: settings.boolean("tidewheel.admin.produce"),
        }
    }

    /// What several settings say together and must not: the one to blame, and why.
    pub(crate) fn contradictions(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let open = self.auth == AdminAuth::None && settings.given(AUTH).is_none();
        if let Some(listen) = &self.listen
            && open
            && !is_local(&listen.host)
        {
            let reason = format!(
                "other machines reach {listen}: give {TOKENS_FILE}, or {AUTH}=none where something \
                 else keeps strangers away"
            );
            found.push((LISTEN, reason));
        }
        if self.auth == AdminAuth::Token && self.tokens_file.is_none() {
            found.push((AUTH, format!("{TOKENS_FILE} must say where the tokens are")));
        }
        found
    }
}

fn text(settings: &Settings, name: &str) -> Option<String> {
    settings.text(name).filter(|text| !text.is_empty())
}

/// Whether only this machine reaches an address. A name may mean anything.
fn is_local(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
