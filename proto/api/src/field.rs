//! Field selectors: `metadata.name=x,status.phase!=Running`.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::fmt;

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// The field's path.
    pub field: SmolStr,
    /// The value compared with.
    pub value: SmolStr,
    /// Whether the field must have (true) or must not have the value.
    pub equal: bool,
}

/// All of these terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector {
    terms: Vec<Term>,
}

/// Why a field selector cannot be read; upstream's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The term at fault.
        term: String,
    },
    /// A backslash stands before a character that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(SmolStr),
    /// The text is too long.
    #[error("the selector is longer than {} bytes", crate::label::SELECTOR_BYTES_MAX)]
    TooLong,
}

impl Selector {
    /// Matches every object.
    pub const fn everything() -> Self {
        Self { terms: Vec::new() }
    }

    /// One field that must have one value.
    pub fn equal(field: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Self {
        Self { terms: vec![Term { field: field.into(), value: value.into(), equal: true }] }
    }

    /// From the text of a `fieldSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > crate::label::SELECTOR_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let (field, operator, value) = split_term(part)
                .ok_or_else(|| SelectorError::Term { selector: text.to_owned(), term: part.to_owned() })?;
            terms.push(Term { field: field.into(), value: unescape(value)?, equal: operator != "!=" });
        }
        Ok(Self { terms })
    }

    /// The terms, as written.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, if one term says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether an object meets all terms; `value_of` gives a field's value, and an unknown field is empty.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|t| (value_of(&t.field).unwrap_or_default() == t.value) == t.equal)
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
}

/// Splits at the first `!=`, `==` or `=`.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    let at = term.char_indices().find_map(|(at, _)| {
        let rest = &term[at..];
        ["!=", "==", "="].into_iter().find(|op| rest.starts_with(op)).map(|op| (at, op))
    });
    let (at, operator) = at?;
    Some((&term[..at], operator, &term[at + operator.len()..]))
}

fn unescape(value: &str) -> Result<SmolStr, SelectorError> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.into());
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let text: String = std::iter::once('\\').chain(other).collect();
                    return Err(SelectorError::Escape(text.into()));
                }
            },
            ',' | '=' => return Err(SelectorError::Escape(c.to_string().into())),
            c => plain.push(c),
        }
    }
    Ok(plain.into())
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}", term.field)?;
            for c in term.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terms_are_split_at_operators_and_unescaped() {
        let selector = Selector::parse(r"metadata.name=a,status.phase!=Running,x==b\,c\=d,").unwrap();
        let terms: Vec<_> =
            selector.terms().iter().map(|t| (t.field.as_str(), t.value.as_str(), t.equal)).collect();
        assert_eq!(
            terms,
            [("metadata.name", "a", true), ("status.phase", "Running", false), ("x", "b,c=d", true)]
        );
        assert_eq!(selector.required("metadata.name"), Some("a"));
        assert!(selector.matches(|f| match f {
            "metadata.name" => Some("a"),
            "x" => Some("b,c=d"),
            _ => None,
        }));
    }

    #[test]
    fn a_term_without_operator_is_refused_with_upstreams_text() {
        let text = Selector::parse("a=b,c").unwrap_err().to_string();
        assert_eq!(text, "invalid selector: 'a=b,c'; can't understand 'c'");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c=!,\\\\]{0,30}|.{0,30}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
            }
        }
    }
}
