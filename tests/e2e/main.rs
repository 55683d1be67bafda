//! The real binary, the real kubectl and real containers, as root on this machine.
//!
//! Needs root, nft, umoci, busybox-static and chromium-headless-shell (`scripts/setup test` installs them), and kubectl 1.34
//! or later, whose path `MAINSTAY_TEST_KUBECTL` gives (`scripts/test` sets it). Each test has a cluster of its own, with its
//! own address ranges, and takes it down again, also when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod browser;
mod client;
mod cluster;
mod command;
mod dashboard;
mod isolation;
mod kubectl;
mod monitoring;
mod network;
mod operations;
mod service;
mod start;
mod takeover;
mod webhooks;
mod workloads;
