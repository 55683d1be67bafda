//! For tests: files with what must not change unnoticed. `UPDATE_GOLDEN=1` rewrites them; the difference is read in review.

/// Compares with `tests/golden/<name>`.
pub(crate) fn check(name: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{actual}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, golden.trim_end(), "{} differs; UPDATE_GOLDEN=1 rewrites it", path.display());
}

/// Bytes as lines of 32.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 32 == 0 {
            out.push('\n');
        }
        out.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap()));
    }
    out
}
