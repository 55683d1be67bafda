//! `mainstay image`: images on this node, with or without a running cluster.

use std::path::Path;

use anyhow::{Context, bail};
use mainstay_runtime::images::{ImageRecord, Images};

use crate::assemble::runtime_config;
use crate::cli::ImageCommand;
use crate::data_dir::DataDir;
use crate::refusal::refuse;
use crate::up::{install_crypto, print_line};

/// Runs one image command.
///
/// # Errors
/// There is no cluster, the archive or registry is not usable, or an image does not exist.
pub(crate) fn run(command: &ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Import { archive, name, data_dir } => {
            if !archive.is_file() {
                return Err(refuse(format!("{} is not a file: give a tar archive", archive.display())));
            }
            let imported = open(&data_dir.data_dir)?.import(archive, name.as_deref()).map_err(failed)?;
            imported.iter().try_for_each(|image| print_line(&format!("imported {}", label(image))))
        }
        ImageCommand::Pull { image, data_dir } => {
            let images = open(&data_dir.data_dir)?;
            install_crypto()?;
            let tokio =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
            let pulled = tokio.block_on(images.pull(image)).map_err(failed)?;
            print_line(&format!("pulled {} as {}", label(&pulled), pulled.id))
        }
        ImageCommand::List { data_dir } => list(&open(&data_dir.data_dir)?),
        ImageCommand::Rm { images, data_dir } => remove(&open(&data_dir.data_dir)?, images),
    }
}

fn open(data_dir: &Path) -> anyhow::Result<Images> {
    let cluster = DataDir::existing(data_dir)?;
    let data_dir = std::path::absolute(data_dir).context("finding the data directory")?;
    Images::open(&runtime_config(&cluster, &data_dir.join("runtime"))).map_err(failed)
}

fn failed(failure: mainstay_runtime::Failure) -> anyhow::Error {
    anyhow::Error::new(failure)
}

fn label(image: &ImageRecord) -> String {
    let tags: Vec<_> = image.tags.iter().map(String::as_str).collect();
    if tags.is_empty() { image.id.clone() } else { tags.join(", ") }
}

fn list(images: &Images) -> anyhow::Result<()> {
    let listed = images.list().map_err(failed)?;
    print_line(&format!("{:<60} {:<15} {:>10}", "IMAGE", "ID", "SIZE"))?;
    for image in listed {
        let id = image.id.trim_start_matches("sha256:");
        let id = id.get(..12).unwrap_or(id);
        for name in if image.tags.is_empty() { &image.digests } else { &image.tags } {
            print_line(&format!("{name:<60} {id:<15} {:>10}", size(image.size_bytes)))?;
        }
    }
    Ok(())
}

fn remove(images: &Images, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        if !images.remove(name).map_err(failed)? {
            bail!("there is no image {name:?}: see `mainstay image list`");
        }
        print_line(&format!("removed {name}"))?;
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < MIB {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(MIB))
    }
}
