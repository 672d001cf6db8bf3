//! Settings of the HTTP API.

use crate::key::{Check, ConfigKey, ConfigType};

use super::checks;
use ConfigType::{Boolean, List, String};

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "tidewheel.admin.listen",
        String,
        "127.0.0.1:9644",
        "Where the HTTP API listens, as host:port; port 0 lets the system choose, off switches the API \
         off. On an address that other machines reach, tidewheel.admin.auth must say who may use it.",
    )
    .check(Check::Custom(checks::address_or_off)),
    ConfigKey::broker(
        "tidewheel.admin.auth",
        String,
        "",
        "Who may use the HTTP API: token for those who send a token of tidewheel.admin.tokens.file, none \
         for everybody who reaches it. Not set, token where there is such a file, else none, which is only \
         allowed on this machine's own addresses.",
    )
    .unset()
    .check(Check::OneOf(&["none", "token"])),
    ConfigKey::broker(
        "tidewheel.admin.tokens.file",
        String,
        "",
        "File with the tokens of the HTTP API, one NAME ROLE TOKEN a line, roles probe, viewer, operator \
         and admin. It is read again when it changes.",
    )
    .unset(),
    ConfigKey::broker(
        "tidewheel.admin.allowed.hosts",
        List,
        "",
        "Names under which the HTTP API may be called beside localhost, its own address and any IP \
         address. Requests for other names are refused, so that no web page can lead a browser there.",
    )
    .unset(),
    ConfigKey::broker(
        "tidewheel.admin.metrics.open",
        Boolean,
        "true",
        "Whether /metrics and the pages below it, which name topics and groups, are answered without a \
         token where everything else needs one.",
    ),
    ConfigKey::broker(
        "tidewheel.admin.produce",
        Boolean,
        "false",
        "Whether records can be produced through the HTTP API, one a request: for tests and for people, not \
         for load.",
    ),
];
