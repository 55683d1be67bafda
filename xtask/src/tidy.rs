//! What rustfmt and clippy do not check of docs/CONVENTIONS.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

const FILE_LINES_MAX: usize = 600;
const LIB_LINES_MAX: usize = 80;
const BANNED_NAMES: [&str; 5] = ["util", "utils", "common", "helper", "misc"];

/// Every breach of the rules, as `file: what is wrong`.
///
/// # Errors
/// The tree cannot be listed or read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in sources(root)? {
        let text =
            fs::read_to_string(root.join(&path)).with_context(|| format!("reading {}", path.display()))?;
        problems.extend(breaches(&path, &text).into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    Ok(problems)
}

/// Rust files that git tracks or would track.
fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root)
        .output()
        .context("running git ls-files")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("file names are not UTF-8")?;
    Ok(names.lines().map(PathBuf::from).filter(|path| root.join(path).exists()).collect())
}

fn breaches(path: &Path, text: &str) -> Vec<String> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let code_lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    let mut found = Vec::new();
    // Modules that several test programs share have no other place than mod.rs, and no program calls all of one.
    if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
        found.push("does not open with `//!` docs".to_owned());
    }
    if code_lines > FILE_LINES_MAX {
        found.push(format!("{code_lines} lines without tests, more than {FILE_LINES_MAX}"));
    }
    if name == "lib" && code_lines > LIB_LINES_MAX {
        found.push(format!("lib.rs has {code_lines} lines, more than {LIB_LINES_MAX}"));
    }
    if BANNED_NAMES.contains(&name)
        || path.iter().any(|part| BANNED_NAMES.iter().any(|banned| part == *banned))
    {
        found.push("is named for no thing (util, common, helper, misc)".to_owned());
    }
    if name == "mod" && !in_tests(path) && text.lines().any(declares_item) {
        found.push("mod.rs holds more than docs, mod lines and re-exports".to_owned());
    }
    found.extend(leftovers(path, text));
    found
}

/// Modules that several test programs share have no other place than mod.rs, and no program calls all of one.
fn in_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests")
}

fn declares_item(line: &str) -> bool {
    let bare =
        ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|p| line.strip_prefix(p)).unwrap_or(line);
    ["fn ", "async fn ", "struct ", "enum ", "trait ", "impl ", "impl<", "const ", "static "]
        .iter()
        .any(|item| bare.starts_with(item))
}

fn leftovers(path: &Path, text: &str) -> Vec<String> {
    if path.starts_with("xtask") {
        return Vec::new(); // names the words that it looks for
    }
    let marks = ["TODO", "FIXME", "XXX:", "allow(dead_code"];
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            if !(in_tests(path) && mark.starts_with("allow")) {
                found.push(format!("line {}: `{mark}`", index + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        breaches(Path::new(path), text)
    }

    #[test]
    fn a_tidy_file_passes() {
        assert!(of("store/src/lease.rs", "//! Leases.\npub struct Lease;\n").is_empty());
        assert!(of("store/src/mvcc/mod.rs", "//! MVCC.\nmod index;\npub use index::Index;\n").is_empty());
    }

    #[test]
    fn each_rule_catches_its_breach() {
        assert!(of("a/src/x.rs", "struct X;\n")[0].contains("docs"));
        assert!(of("a/src/util.rs", "//! x\n")[0].contains("named"));
        assert!(of("a/src/common/x.rs", "//! x\n")[0].contains("named"));
        assert!(of("a/src/mod.rs", "//! x\npub fn f() {}\n")[0].contains("mod.rs"));
        assert!(of("a/src/x.rs", &format!("//! x\n{}", "\n".repeat(600)))[0].contains("601 lines"));
        assert!(of("a/src/lib.rs", &format!("//! x\n{}", "\n".repeat(80)))[0].contains("lib.rs"));
        assert!(of("a/src/x.rs", "//! x\n// TODO later\n")[0].contains("line 2"));
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let long = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(700));
        assert!(of("a/src/x.rs", &long).is_empty());
    }
}
