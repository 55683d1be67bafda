//! Link options of the release binary only: identical functions (there are many, from one generic client for every
//! kind) are kept once, and relocations are packed. Measured: 63.5 MiB without, 59.0 MiB with.

#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "cargo speaks with build scripts by environment and standard output"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
