//! Patch content types and watch event types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the body of a PATCH request is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PatchType {
    /// RFC 6902.
    #[serde(rename = "application/json-patch+json")]
    Json,
    /// RFC 7386.
    #[serde(rename = "application/merge-patch+json")]
    Merge,
    /// Kubernetes' own merge by schema.
    #[serde(rename = "application/strategic-merge-patch+json")]
    StrategicMerge,
    /// Server-side apply.
    #[serde(rename = "application/apply-patch+yaml")]
    Apply,
}

impl PatchType {
    /// All types, in the order in which errors name them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Merge, Self::StrategicMerge, Self::Apply];

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }

    /// From a `Content-Type` header's value; parameters are ignored.
    pub fn from_content_type(header: &str) -> Option<Self> {
        let essence = header.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|t| t.content_type().eq_ignore_ascii_case(essence))
    }
}

/// What a watch event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchEventType {
    /// The object came into view.
    Added,
    /// The object changed.
    Modified,
    /// The object left view.
    Deleted,
    /// Only the resource version is news.
    Bookmark,
    /// The watch ended with a `Status`.
    Error,
}

impl WatchEventType {
    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for WatchEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_content_type_are_ignored() {
        let header = "application/merge-patch+json; charset=utf-8";
        assert_eq!(PatchType::from_content_type(header), Some(PatchType::Merge));
        assert_eq!(PatchType::from_content_type("application/json"), None);
    }
}
