//! Who may do what: roles, and the file of tokens.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use subtle::ConstantTimeEq;
use tidewheel_config::{AdminAuth, AdminConfig, limits};
use tracing::{info, warn};

use super::look::Look;
use super::problem::Problem;

/// Characters of a token: enough that none is guessed.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=256;

/// What somebody may do; each may also do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look at metrics.
    Probe,
    /// Look at everything but records.
    Viewer,
    /// Look at records; move groups.
    Operator,
    /// Make and delete topics, change settings.
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "probe" => Self::Probe,
            "viewer" => Self::Viewer,
            "operator" => Self::Operator,
            "admin" => Self::Admin,
            _ => return None,
        })
    }
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// As the file of tokens names it.
    pub(crate) name: Arc<str>,
    /// What it may do.
    pub(crate) role: Role,
}

/// The file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tidewheel.admin.tokens.file {path}: {reason}")]
pub(crate) struct TokensError {
    path: String,
    reason: String,
}

/// Who is let in.
#[derive(Debug)]
pub(crate) enum Access {
    /// Everybody, as admin.
    Open,
    /// Whoever has a token.
    Tokens(Arc<TokenFile>),
}

impl Access {
    /// What the settings say. Reads the file of tokens.
    ///
    /// # Errors
    /// Where that cannot be used.
    pub(crate) fn load(config: &AdminConfig) -> Result<Self, TokensError> {
        Ok(match (config.auth, &config.tokens_file) {
            (AdminAuth::Token, Some(path)) => Self::Tokens(Arc::new(TokenFile::load(path)?)),
            (AdminAuth::Token, None) => {
                return Err(TokensError {
                    path: String::new(),
                    reason: "it is not given".to_owned(),
                });
            }
            (AdminAuth::None, _) => Self::Open,
        })
    }

    /// Whether it takes a token to be let in.
    pub(crate) fn wants_tokens(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }

    /// Who sends a request with this `Authorization`.
    ///
    /// # Errors
    /// Where it is no token, or none that is known.
    pub(crate) async fn principal(
        &self,
        header: Option<&HeaderValue>,
    ) -> Result<Principal, Problem> {
        let file = match self {
            Self::Open => {
                return Ok(Principal {
                    name: "anyone".into(),
                    role: Role::Admin,
                });
            }
            Self::Tokens(file) => file,
        };
        let header = header
            .ok_or_else(|| Problem::unauthenticated("send one: Authorization: Bearer TOKEN"))?;
        let (scheme, token) = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or_else(|| Problem::unauthenticated("the header is no Bearer TOKEN"))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthenticated("only Bearer is understood"));
        }
        file.look().await;
        let known = file.known.load();
        let known = known.find(token.trim().as_bytes());
        known.ok_or_else(|| Problem::unauthenticated("the token is not known"))
    }
}

#[derive(Debug, Default, PartialEq)]
struct Tokens(Vec<(Principal, Box<[u8]>)>);

impl Tokens {
    /// `NAME ROLE TOKEN` a line; `#` begins a comment line.
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let wrong = |what: &str| Err(format!("line {number}: {what}"));
            let (name, role, token) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [name, role, token] => (*name, *role, *token),
                // Never the line itself: it may hold a token.
                _ => return wrong("it must be NAME ROLE TOKEN"),
            };
            let Some(role) = Role::parse(role) else {
                return wrong("the role must be probe, viewer, operator or admin");
            };
            if !TOKEN_LEN.contains(&token.len())
                || !token.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return wrong("a token has 16 to 256 visible ASCII characters");
            }
            let name = name.into();
            tokens.push((Principal { name, role }, token.as_bytes().into()));
        }
        Ok(Self(tokens))
    }

    /// Takes the same time for every token of a length.
    fn find(&self, token: &[u8]) -> Option<Principal> {
        let mut found = None;
        for (principal, known) in &self.0 {
            if bool::from(known.ct_eq(token)) {
                found = Some(principal);
            }
        }
        found.cloned()
    }
}

/// The file of tokens, as it was read last.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    known: ArcSwap<Tokens>,
    look: Arc<Look<()>>,
    /// Whether that could not be read the last time.
    is_broken: AtomicBool,
}

impl TokenFile {
    fn load(path: &Path) -> Result<Self, TokensError> {
        let tokens = read(path).map_err(|reason| TokensError {
            path: path.display().to_string(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            known: ArcSwap::from_pointee(tokens),
            look: Look::new(limits::ADMIN_TOKENS_LOOK, limits::ADMIN_LOOK_WAIT),
            is_broken: AtomicBool::new(false),
        })
    }

    /// Reads it again, unless somebody did a moment ago. Where its file system hangs, the old tokens stay.
    async fn look(self: &Arc<Self>) {
        let file = Arc::clone(self);
        self.look.at(move || file.reload()).await;
    }

    fn reload(&self) {
        let read = read(&self.path);
        let was_broken = self.is_broken.swap(read.is_err(), Ordering::Relaxed);
        match read {
            Ok(tokens) if tokens == **self.known.load() => {}
            Ok(tokens) => {
                info!(
                    tokens = tokens.0.len(),
                    "the HTTP API's tokens were read again"
                );
                self.known.store(Arc::new(tokens));
            }
            Err(_) if was_broken => {}
            Err(reason) => {
                warn!(file = %self.path.display(), reason, "the HTTP API goes on with its old tokens");
            }
        }
    }
}

fn read(path: &Path) -> Result<Tokens, String> {
    let most = limits::ADMIN_TOKENS_FILE_BYTES_MAX;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > most {
        return Err(format!("it is longer than {most} bytes"));
    }
    Tokens::parse(&text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tokens_are_lines_of_three_words() {
        let text = "# who\n\nada admin 0123456789abcdef\n  bob\tprobe  0123456789abcdeX \n";
        let tokens = Tokens::parse(text).unwrap();
        let found = tokens.find(b"0123456789abcdeX").unwrap();
        assert_eq!((&*found.name, found.role), ("bob", Role::Probe));
        assert_eq!(tokens.find(b"0123456789abcde"), None);
        assert_eq!(tokens.find(b""), None);
        assert!(Role::Probe < Role::Viewer && Role::Operator < Role::Admin);
    }

    #[test]
    fn a_broken_line_is_named_but_not_shown() {
        for (text, word) in [
            ("ada admin", "NAME ROLE TOKEN"),
            ("ada admin 0123456789abcdef extra", "NAME ROLE TOKEN"),
            ("ada root 0123456789abcdef", "role"),
            ("ada admin short", "characters"),
            ("ada admin 0123456789abcdefü", "characters"),
        ] {
            let error = Tokens::parse(&format!("# one\n{text}")).unwrap_err();
            assert!(
                error.starts_with("line 2: ") && error.contains(word),
                "{error}"
            );
            assert!(!error.contains("0123456789"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_one_that_breaks_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "ada admin 0123456789abcdef\n").unwrap();
        let mut file = TokenFile::load(&path).unwrap();
        file.look = Look::new(Duration::ZERO, Duration::from_secs(60));
        let file = Arc::new(file);
        let known = |token: &str| file.known.load().find(token.as_bytes()).is_some();
        for (text, first, second) in [
            ("ada admin fedcba9876543210\n", false, true),
            ("nonsense\n", false, true),
            ("", false, false),
        ] {
            std::fs::write(&path, text).unwrap();
            file.look().await;
            assert_eq!(known("0123456789abcdef"), first, "{text}");
            assert_eq!(known("fedcba9876543210"), second, "{text}");
        }
    }
}
