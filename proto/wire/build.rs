//! Generates the message types of `cri/v1.proto` and, with the feature `etcd`, those and the services of `etcd/*.proto`
//! (with `otlp`, those of `otlp/v1.proto`), with protox: no protoc is needed.

type Built = Result<(), Box<dyn std::error::Error>>;

fn main() -> Built {
    println!("cargo::rerun-if-changed=cri/v1.proto");
    let files = protox::compile(["cri/v1.proto"], ["."])?;
    prost_build::Config::new().skip_debug(["runtime.v1.AuthConfig"]).btree_map(["."]).compile_fds(files)?;
    etcd()?;
    otlp()
}

#[cfg(feature = "etcd")]
fn etcd() -> Built {
    use prost::Message as _;

    println!("cargo::rerun-if-changed=etcd");
    let files = protox::compile(["etcd/rpc.proto", "etcd/election.proto", "etcd/lock.proto"], ["."])?;
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("etcd.descriptors"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::etcd::SmallBuffers")
        .skip_debug([
            "etcdserverpb.AuthenticateRequest",
            "etcdserverpb.AuthenticateResponse",
            "etcdserverpb.AuthUserAddRequest",
            "etcdserverpb.AuthUserChangePasswordRequest",
        ])
        .compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "etcd"))]
#[allow(clippy::unnecessary_wraps, reason = "as its namesake")]
fn etcd() -> Built {
    Ok(())
}

#[cfg(feature = "otlp")]
fn otlp() -> Built {
    println!("cargo::rerun-if-changed=otlp/v1.proto");
    let files = protox::compile(["otlp/v1.proto"], ["."])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "otlp"))]
#[allow(clippy::unnecessary_wraps, reason = "as its namesake")]
fn otlp() -> Built {
    Ok(())
}
