//! Generates the message types of `cri/v1.proto` with protox: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=cri/v1.proto");
    let files = protox::compile(["cri/v1.proto"], ["."])?;
    prost_build::Config::new().skip_debug(["runtime.v1.AuthConfig"]).btree_map(["."]).compile_fds(files)?;
    Ok(())
}
