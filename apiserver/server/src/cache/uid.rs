//! An object's `metadata.uid` in few bytes: nearly all are UUIDs.

use std::fmt;

/// A uid; empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Uid {
    /// A UUID in the form that this server writes.
    Uuid([u8; 16]),
    /// Whatever else somebody has stored.
    Text(Box<str>),
}

impl Uid {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::Text(Box::default())
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        uuid::Uuid::try_parse(text)
            .ok()
            .map(|uuid| Self::Uuid(uuid.into_bytes()))
            // Only what is told again as it was.
            .filter(|uid| uid.to_string() == text)
            .unwrap_or_else(|| Self::Text(text.into()))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_told_as_it_was() {
        for (text, is_short) in [
            ("0d9c1a52-7bb4-4d59-8f4e-000000000001", true),
            ("0D9C1A52-7BB4-4D59-8F4E-000000000001", false),
            ("0d9c1a527bb44d598f4e000000000001", false),
            ("{0d9c1a52-7bb4-4d59-8f4e-000000000001}", false),
            ("made up", false),
            ("", false),
        ] {
            let uid = Uid::from(text);
            assert_eq!(uid.to_string(), text);
            assert_eq!(matches!(uid, Uid::Uuid(_)), is_short, "{text}");
            assert_eq!(uid.is_empty(), text.is_empty());
        }
    }
}
