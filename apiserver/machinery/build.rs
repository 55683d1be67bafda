//! Writes down what the fields of Kubernetes' types are for: the texts are the doc comments of the `k8s-openapi` crate, which has them from
//! upstream's OpenAPI document. One compressed file in `OUT_DIR`, lines of `T<tab>type<tab>text` and `F<tab>field<tab>text`.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The crate whose comments are read, and the directory of the newest version that it is built with here.
const CRATE: &str = "k8s-openapi";
const VERSION: &str = "v1_37";
/// How a file says which type it is about.
const TITLE: &str = "// Generated from definition ";

#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "cargo speaks with build scripts by environment and standard output"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let sources = crate_directory(&env::var("CARGO")?, &env::var("TARGET")?)?.join("src").join(VERSION);
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    files.sort();
    let mut out = String::new();
    for file in &files {
        describe(&fs::read_to_string(file)?, &mut out);
    }
    if out.is_empty() {
        return Err(format!("no description of any type in {}", sources.display()).into());
    }
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(out.as_bytes())?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("descriptions.deflate"), packed.finish()?)?;
    Ok(())
}

/// Where cargo keeps the sources of the crate: in its registry, or where a vendored copy is configured.
fn crate_directory(cargo: &str, target: &str) -> Result<PathBuf, Box<dyn Error>> {
    let asked = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
    let answer = Command::new(cargo).args(asked).output()?;
    if !answer.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&answer.stderr)).into());
    }
    let answer = String::from_utf8(answer.stdout)?;
    let manifest = answer
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .map(Path::new)
        .filter_map(Path::parent)
        .find(|directory| {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            name == CRATE || name.strip_prefix(CRATE).is_some_and(|rest| rest.starts_with("-0"))
        });
    Ok(manifest.ok_or_else(|| format!("cargo knows no {CRATE}"))?.to_path_buf())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines about one file's type, if it is about one.
fn describe(source: &str, out: &mut String) {
    let Some(name) = source.lines().next().and_then(|line| line.strip_prefix(TITLE)) else { return };
    let Some((declaration, rest)) = source.split_once("\n}\n") else { return };
    let mut comment = String::new();
    for line in declaration.lines().map(str::trim_start) {
        if let Some(text) = line.strip_prefix("///") {
            if !comment.is_empty() {
                comment.push_str("\\n");
            }
            comment.push_str(&plain(text.strip_prefix(' ').unwrap_or(text)));
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            push(out, "T", name, &mut comment);
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            // Rust's name of a field is not the object's; the parser below it knows both.
            let member = format!(" => Field::Key_{},", field.trim_start_matches("r#"));
            let parsed = rest.lines().find_map(|line| line.trim().strip_suffix(member.as_str()));
            let json = parsed.map_or(field, |quoted| quoted.trim_matches('"'));
            push(out, "F", json, &mut comment);
        }
    }
}

fn push(out: &mut String, what: &str, name: &str, comment: &mut String) {
    if !comment.is_empty() {
        out.extend([what, "\t", name, "\t", comment, "\n"]);
        comment.clear();
    }
}

/// The text without the escapes that make it Markdown; its own tabs and backslashes are kept apart from ours.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = if c == '\\' { rest.next().unwrap_or(c) } else { c };
        match c {
            '\t' => out.push(' '),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out
}
