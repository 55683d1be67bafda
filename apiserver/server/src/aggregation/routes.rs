//! [`Routes`]: which groups and versions other servers answer, as of the last look at them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, openapi};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::remote::Remote;

/// A group and version that another server answers.
#[derive(Debug)]
pub struct RemoteVersion {
    /// The group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// Whether requests go there now.
    pub is_available: bool,
    /// Its `APIResourceList` when it was last available; null before.
    pub resources: Value,
    /// The entry of its OpenAPI v3 index; null when it has none.
    pub openapi: Value,
    /// Its part of the OpenAPI v2 document, if it has told any.
    pub openapi_v2: Option<Arc<OpenApiPart>>,
    /// Where it is.
    pub(super) remote: Arc<Remote>,
}

/// Paths and definitions of another server.
#[derive(Debug, PartialEq)]
pub struct OpenApiPart {
    /// What the whole document was tagged with; empty if it was not.
    pub(super) etag: String,
    /// Of the whole document: a server without tags sends the same one at each look.
    hash: [u8; 32],
    /// The part, as `openapi::part_below` makes it.
    pub document: Value,
}

impl OpenApiPart {
    /// The part of a server's document below `prefix`; none where the document is the known one, or no document at all.
    pub(super) fn newer(known: Option<&Self>, body: &[u8], etag: String, prefix: &str) -> Option<Self> {
        let hash: [u8; 32] = Sha256::digest(body).into();
        if known.is_some_and(|known| known.hash == hash && known.etag == etag) {
            return None;
        }
        let whole = match json::decode_free(body) {
            Ok(whole) => whole,
            Err(error) => {
                warn!(below = prefix, %error, "the OpenAPI document of another server is no JSON; it is left out");
                return None;
            }
        };
        Some(Self { etag, hash, document: openapi::part_below(&whole, prefix) })
    }
}

/// The versions at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Counts the changes.
    pub(crate) generation: u64,
    pub(crate) versions: Vec<Arc<RemoteVersion>>,
}

/// The present versions. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    table: Arc<ArcSwap<Table>>,
}

impl Routes {
    /// The version that answers a path below `/apis/{group}/{version}` or its OpenAPI document.
    pub fn find(&self, path: &str) -> Option<Arc<RemoteVersion>> {
        let table = self.table.load();
        if table.versions.is_empty() {
            return None;
        }
        let rest = path.strip_prefix("/openapi/v3").unwrap_or(path).strip_prefix("/apis/")?;
        let mut segments = rest.split('/');
        let (group, version) = (segments.next()?, segments.next()?);
        let mut versions = table.versions.iter();
        versions.find(|one| one.group == group && one.version == version).cloned()
    }

    pub(crate) fn current(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Takes over what a look has found. One task calls this.
    pub(super) fn set(&self, versions: Vec<Arc<RemoteVersion>>) {
        let generation = self.table.load().generation + 1;
        self.table.store(Arc::new(Table { generation, versions }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_taken_in_once_tagged_or_not() {
        let body = br#"{"paths": {"/apis/g/v1/things": {"get": {}}, "/apis/g/v2/things": {}}}"#;
        let first = OpenApiPart::newer(None, body, String::new(), "/apis/g/v1/").unwrap();
        assert!(first.document.path(&["paths", "/apis/g/v1/things"]).is_some());
        assert!(first.document.path(&["paths", "/apis/g/v2/things"]).is_none());
        assert_eq!(OpenApiPart::newer(Some(&first), body, String::new(), "/apis/g/v1/"), None);
        let other = br#"{"paths": {"/apis/g/v1/others": {}}}"#;
        let second = OpenApiPart::newer(Some(&first), other, String::new(), "/apis/g/v1/").unwrap();
        assert!(second.document.path(&["paths", "/apis/g/v1/others"]).is_some());
        assert!(OpenApiPart::newer(Some(&first), body, "\"new\"".to_owned(), "/apis/g/v1/").is_some());
        assert_eq!(OpenApiPart::newer(Some(&first), b"not JSON", String::new(), "/apis/g/v1/"), None);
    }
}
