//! Paths to fields of a schema, as `fieldPath` of validation rules and selectable fields write them: `.spec.a`,
//! `.spec['a.b']`.

use mainstay_apiserver_machinery::structural::{Additional, Structural};
use smol_str::SmolStr;

/// Why a path leads nowhere; the texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// Brackets where only names may stand.
    #[error("array notation is not allowed")]
    Bracket,
    /// The path ends too early.
    #[error("unexpected end of JSON path")]
    End,
    /// Something else than a quoted name in brackets.
    #[error("expected single quoted string but got {0}")]
    Quote(String),
    /// No field of that name.
    #[error("does not refer to a valid field")]
    Unknown,
    /// Neither a dot nor a bracket.
    #[error("expected [ or . but got: {0}")]
    Start(String),
}

/// The schema that a path leads to, and the path as errors show it.
///
/// # Errors
/// [`FieldPathError`].
pub fn valid_field_path<'s>(
    text: &str,
    schema: &'s Structural,
    allow_brackets: bool,
) -> Result<(String, &'s Structural), FieldPathError> {
    let (mut rest, mut here, mut shown) = (text, schema, String::new());
    while !rest.is_empty() {
        let (name, after) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return Err(FieldPathError::End);
            }
            (SmolStr::new(name), after)
        } else if let Some(after) = rest.strip_prefix('[') {
            if !allow_brackets {
                return Err(FieldPathError::Bracket);
            }
            quoted(after)?
        } else {
            return Err(FieldPathError::Start(rest.to_owned()));
        };
        here = if here.properties.is_empty() {
            let Additional::Schema(all) = &here.additional else { return Err(FieldPathError::Unknown) };
            shown.extend(["[", &name, "]"]);
            all
        } else {
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(&name);
            here.property(&name).ok_or(FieldPathError::Unknown)?
        };
        rest = after;
    }
    Ok((shown, here))
}

/// `'name']`, and what follows.
fn quoted(text: &str) -> Result<(SmolStr, &str), FieldPathError> {
    let Some(inner) = text.strip_prefix('\'') else { return Err(FieldPathError::Quote(text.to_owned())) };
    let mut name = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '\'' => {
                let after = inner.get(at + 1..).unwrap_or_default();
                let after = after.strip_prefix(']').ok_or(FieldPathError::End)?;
                return Ok((name.into(), after));
            }
            c => name.push(c),
        }
    }
    Err(FieldPathError::End)
}
