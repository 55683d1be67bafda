//! The option `--auth-token`: which tokens `Authenticate` gives. Parsed as etcd does.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::jwt::{Jwt, JwtError, JwtKeys};

/// The time to live of a JSON Web Token if nothing else is said.
const JWT_TTL: Duration = Duration::from_secs(300);

/// Which tokens stand for users.
#[derive(Clone, Debug, Default)]
pub enum AuthTokens {
    /// Random ones that the members remember.
    #[default]
    Simple,
    /// Signed ones, which any member with the key believes.
    Jwt(Jwt),
}

/// Why the option was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthTokenError {
    /// Neither `simple` nor `jwt`.
    #[error("--auth-token: unknown type {0:?}; there are simple and jwt")]
    Type(String),
    /// Not `name=value`, or twice.
    #[error("--auth-token: {0:?} is no option, or is there twice")]
    Option(String),
    /// A time that is none.
    #[error("--auth-token: ttl={0:?} is no time such as 5m or 90s")]
    Ttl(String),
    /// A key file that cannot be read.
    #[error("--auth-token: reading {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Keys and method do not fit.
    #[error("--auth-token: {0}")]
    Keys(#[from] JwtError),
}

impl AuthTokens {
    /// Reads an option such as `simple` or `jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=5m`. Blocks on the files.
    pub fn parse(option: &str) -> Result<Self, AuthTokenError> {
        let mut parts = option.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = HashMap::new();
        for part in parts {
            let invalid = || AuthTokenError::Option(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(invalid)?;
            if value.contains('=') || options.insert(name, value).is_some() {
                return Err(invalid());
            }
        }
        match kind {
            "simple" => Ok(Self::Simple),
            "jwt" => jwt(&options).map(Self::Jwt),
            other => Err(AuthTokenError::Type(other.to_owned())),
        }
    }
}

fn jwt(options: &HashMap<&str, &str>) -> Result<Jwt, AuthTokenError> {
    for name in options.keys() {
        if !["sign-method", "pub-key", "priv-key", "ttl"].contains(name) {
            return Err(AuthTokenError::Option((*name).to_owned()));
        }
    }
    let file = |name| -> Result<Option<Vec<u8>>, AuthTokenError> {
        let Some(path) = options.get(name).map(Path::new) else { return Ok(None) };
        std::fs::read(path).map(Some).map_err(|source| AuthTokenError::File { path: path.to_owned(), source })
    };
    let ttl = match options.get("ttl") {
        None => JWT_TTL,
        Some(text) => duration(text).ok_or_else(|| AuthTokenError::Ttl((*text).to_owned()))?,
    };
    let keys = JwtKeys { private: file("priv-key")?, public: file("pub-key")? };
    Ok(Jwt::new(options.get("sign-method").copied().unwrap_or_default(), &keys, ttl)?)
}

/// A time as Go writes it: `1h30m`, `90s`, `500ms`. Never zero.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(end)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = next;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h30m10.5s"), Some(Duration::from_millis(5_410_500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "0s", "5x", "-5m", "1e999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        assert!(matches!(AuthTokens::parse("simple"), Ok(AuthTokens::Simple)));
        assert!(matches!(AuthTokens::parse("paper"), Err(AuthTokenError::Type(_))));
        for wrong in ["jwt,ttl", "jwt,ttl=1s,ttl=2s", "jwt,color=red", "jwt,ttl=a=b"] {
            assert!(matches!(AuthTokens::parse(wrong), Err(AuthTokenError::Option(_))), "{wrong}");
        }
        assert!(matches!(AuthTokens::parse("jwt,sign-method=HS256,ttl=soon"), Err(AuthTokenError::Ttl(_))));
        let missing = AuthTokens::parse("jwt,sign-method=HS256,priv-key=/nonexistent/key");
        assert!(matches!(missing, Err(AuthTokenError::File { .. })));
        assert!(matches!(AuthTokens::parse("jwt,sign-method=HS256"), Err(AuthTokenError::Keys(_))));
        assert!(matches!(AuthTokens::parse("jwt,sign-method=none"), Err(AuthTokenError::Keys(_))));
    }
}
