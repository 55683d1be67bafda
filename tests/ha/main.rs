//! Clusters of several machines, each a network namespace with the real binary: joining, and what may go wrong then.
//!
//! Needs root, ip, nft, nsenter, mkfs.ext4, fsfreeze, perl, cc, umoci, busybox-static and systemd (`scripts/setup test` installs them), a cgroup2 hierarchy, and
//! kubectl 1.34 or later, whose path `MAINSTAY_TEST_KUBECTL` gives, and an S3 server at `MAINSTAY_TEST_S3` (`scripts/test` sets both). Each test has machines of its own on a network of its own, and
//! takes them down again, also when it fails.

#![allow(clippy::disallowed_methods, reason = "what other processes do is measured by this machine's clock")]
#![allow(clippy::print_stdout, reason = "figures of a run")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod authority;
mod bare;
mod bucket;
mod certificates;
mod clients;
mod clock;
mod cluster;
#[path = "../e2e/command.rs"]
mod command;
mod disk;
mod drill;
mod joining;
mod load;
mod lost_quorum;
mod machine;
mod pages;
mod programs;
mod readme;
mod reboot;
mod recovery;
mod replacing;
mod servers;
mod service;
mod snapshots;
mod status;
mod upgrade;
mod versions;
mod workers;
