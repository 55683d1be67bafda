//! The `continue` token of paged lists, in upstream's form. Pure.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use mainstay_proto_api::Status;
use serde::{Deserialize, Serialize};

/// The version of the token's form.
const FORM: &str = "meta.k8s.io/v1";
/// Tokens are shorter than this: a position has a namespace and a name.
const TOKEN_BYTES_MAX: usize = 2048;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// The store's revision of the first page, above 0; `None` goes on at the newest, after an expired token.
    pub revision: Option<i64>,
    /// The first position of the next page, counted from the listed prefix.
    pub position: String,
}

#[derive(Serialize, Deserialize)]
struct Form {
    v: String,
    rv: i64,
    start: String,
}

impl Continue {
    /// The token's text.
    pub fn encode(&self) -> String {
        let form = Form { v: FORM.to_owned(), rv: self.revision.unwrap_or(-1), start: self.position.clone() };
        // Three plain fields: serialization cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&form).unwrap_or_default())
    }

    /// Reads a token; it cannot lead out of the listed prefix.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub fn decode(token: &str) -> Result<Self, Status> {
        let invalid = |why: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid("the token is too long"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .or_else(|_unpadded| URL_SAFE.decode(token))
            .map_err(|error| invalid(&error.to_string()))?;
        let form: Form = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if form.v != FORM {
            return Err(invalid(&format!("server does not recognize this encoded version {}", form.v)));
        }
        if form.rv == 0 {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if form.start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // Upstream lets one slash lead; nobody writes such a token, and it looks like a key of another prefix.
        if form.start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(&form.start));
        }
        let revision = (form.rv > 0).then_some(form.rv);
        Ok(Self { revision, position: form.start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_written() {
        let token = Continue { revision: Some(42), position: "ns/name\0".to_owned() };
        assert_eq!(Continue::decode(&token.encode()), Ok(token));
    }

    #[test]
    fn tokens_that_are_not_ours_are_refused() {
        let token = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let bad = [
            "garbage".to_owned(),
            token("{}"),
            token(r#"{"v":"v2","rv":1,"start":"a"}"#),
            token(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/x"}"#),
            token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/a"}"#),
            token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/"}"#),
            token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#),
        ];
        for token in bad {
            assert_eq!(Continue::decode(&token).map_err(|s| s.code), Err(400), "{token}");
        }
    }
}
