//! What a runtime instance is told, and where its files lie. Every name that the kernel shares between programs
//! (bridge, nft table, cgroup, interface) derives from the cluster id, so that two clusters can share one machine.

use crate::failure::{Failure, Result};
use ipnet::Ipv4Net;
use std::path::{Path, PathBuf};

/// Settings of one runtime instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// Durable files: images, writable layers, records of sandboxes and containers.
    pub data_dir: PathBuf,
    /// Files that mean nothing after a reboot: sockets, pinned namespaces, mounts. Below /run.
    pub run_dir: PathBuf,
    /// Short name of the cluster: 1 to 8 lower-case letters or digits.
    pub cluster_id: String,
    /// Addresses of this node's pods.
    pub pod_cidr: Ipv4Net,
    /// Addresses of all pods of the cluster: traffic inside it is not masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// Networks that the node reaches through the bridge, such as the Service network: where the node has no default
    /// route, packets to them must be routable to be rewritten.
    pub host_routes: Vec<Ipv4Net>,
    /// The executable that answers [`crate::SHIM_COMMAND`] and [`crate::OCI_COMMAND`]; normally the running one.
    pub self_exe: PathBuf,
    /// Largest number of processes of one container, when its resources say nothing.
    pub pids_max: i64,
    /// Bounds on images.
    pub image_limits: ImageLimits,
}

/// Bounds on what an image may cost the node.
#[derive(Debug, Clone, Copy)]
pub struct ImageLimits {
    /// Largest layer after decompression, and largest import archive.
    pub layer_bytes_max: u64,
    /// Most files in a layer.
    pub layer_entries_max: u64,
    /// Most layers in an image.
    pub layers_max: usize,
    /// Largest manifest, index or config.
    pub manifest_bytes_max: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            layer_bytes_max: 16 << 30,
            layer_entries_max: 500_000,
            layers_max: 128,
            manifest_bytes_max: 4 << 20,
        }
    }
}

impl Config {
    /// Settings with the defaults for everything that is not given.
    pub fn new(data_dir: PathBuf, run_dir: PathBuf, cluster_id: &str, pod_cidr: Ipv4Net) -> Self {
        Self {
            data_dir,
            run_dir,
            cluster_id: cluster_id.to_owned(),
            pod_cidr,
            cluster_cidr: pod_cidr,
            host_routes: Vec::new(),
            self_exe: PathBuf::from("/proc/self/exe"),
            pids_max: 4096,
            image_limits: ImageLimits::default(),
        }
    }

    /// Checks what cannot be expressed in types.
    pub(crate) fn validate(&self) -> Result<()> {
        let id = &self.cluster_id;
        let fits = (1..=8).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !fits {
            return Err(Failure::invalid(format!(
                "cluster id {id:?} must be 1 to 8 lower-case letters or digits"
            )));
        }
        if self.pod_cidr.prefix_len() > 29 {
            return Err(Failure::invalid(format!("pod CIDR {} is too small: /29 at least", self.pod_cidr)));
        }
        Ok(())
    }

    /// The bridge that pods hang on.
    pub fn bridge(&self) -> String {
        format!("ms-{}", self.cluster_id)
    }

    /// The nft table of host ports and masquerading.
    pub fn nft_table(&self) -> String {
        format!("mainstay-{}-runtime", self.cluster_id)
    }

    /// The cgroup below which everything of this cluster runs, from the hierarchy's root.
    pub fn cgroup_root(&self) -> String {
        format!("/mainstay-{}", self.cluster_id)
    }

    /// The host's end of a sandbox's veth pair (at most 15 characters, as the kernel demands).
    pub(crate) fn veth(&self, sandbox_id: &str) -> String {
        format!(
            "v{}{}",
            self.cluster_id,
            sandbox_id.chars().take(14 - self.cluster_id.len()).collect::<String>()
        )
    }

    /// Where files lie.
    pub(crate) fn paths(&self) -> Paths {
        Paths { data: self.data_dir.clone(), run: self.run_dir.clone() }
    }
}

/// Where files lie. Durable ones below `data`, the others below `run`.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

impl Paths {
    /// Image store.
    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }
    /// Records of sandboxes.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.data.join("sandboxes")
    }
    /// Records of containers.
    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }
    /// One sandbox's record, resolv.conf, hostname.
    pub(crate) fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }
    /// One container's record, exit, writable layer.
    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }
    /// Address allocations.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.data.join("addresses.json")
    }
    /// One sandbox's sockets, namespaces and shm.
    pub(crate) fn sandbox_run(&self, id: &str) -> PathBuf {
        self.run.join("s").join(id)
    }
    /// One container's bundle: config.json, rootfs mount, libcontainer's state.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.run.join("c").join(id)
    }
    /// libcontainer's state directories, one per container.
    pub(crate) fn oci_state(&self) -> PathBuf {
        self.run.join("oci")
    }
}

/// A namespace pinned below a sandbox's run directory.
pub(crate) fn namespace_pin(sandbox_run: &Path, kind: &str) -> PathBuf {
    sandbox_run.join(format!("ns-{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(id: &str) -> Config {
        Config::new("/d".into(), "/r".into(), id, "10.0.0.0/24".parse().unwrap())
    }

    #[test]
    fn interface_names_fit_the_kernel_and_tell_clusters_apart() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(config("abcdefgh").veth(id).len(), 15);
        assert_eq!(config("a").veth(id).len(), 15);
        assert_ne!(config("ab1").veth(id), config("ab2").veth(id));
        assert!(config("abcdefgh").bridge().len() <= 15);
    }

    #[test]
    fn cluster_id_that_could_leave_its_names_is_refused() {
        for bad in ["", "../x", "toolongname", "UP", "a b"] {
            assert!(config(bad).validate().is_err(), "{bad}");
        }
        assert!(config("c1").validate().is_ok());
    }
}
