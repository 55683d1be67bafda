//! Link options of the release binary only. Identical functions (there are many, from one generic client for every kind) are kept once, and
//! relocations are packed: 4 MiB less. It is not position independent, like the Go binaries that it stands beside: relocated tables are memory of each
//! process's own, 1.8 MiB of every pod's shim (docs/decisions/0031).

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
        println!("cargo:rustc-link-arg-bins=-no-pie");
        // A profile of its own for this package makes cargo forget `strip`.
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
}
