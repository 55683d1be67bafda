//! The version of this program.
//!
//! It stands at one place of the binary, behind a mark, with room for another one: a test of several versions in one cluster copies the
//! binary and writes another version there (docs/decisions/0100). No setting changes it, and nobody is believed for it.

/// What stands before it.
const MARK: &[u8] = b"mainstay-version=";
/// So that the mark itself is needed at compile time only, and stands in the binary once.
const MARK_BYTES: usize = MARK.len();
/// What the build says.
const BUILT: &str = env!("CARGO_PKG_VERSION");
const BYTES: usize = 48;

/// The mark, the version, and zeros.
#[used]
static FIELD: [u8; BYTES] = field();

const fn field() -> [u8; BYTES] {
    assert!(MARK.len() + BUILT.len() < BYTES, "the version has its room");
    let mut field = [0; BYTES];
    let (mark, _) = field.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    let (_, rest) = field.split_at_mut(MARK.len());
    let (version, _) = rest.split_at_mut(BUILT.len());
    version.copy_from_slice(BUILT.as_bytes());
    field
}

/// Such as `0.1.0`.
pub fn version() -> &'static str {
    // The compiler must not know what stands there.
    let field: &'static [u8; BYTES] = std::hint::black_box(&FIELD);
    let text = field.split_at(MARK_BYTES).1.split(|byte| *byte == 0).next();
    text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or(BUILT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_builds() {
        assert_eq!(version(), BUILT);
    }
}
