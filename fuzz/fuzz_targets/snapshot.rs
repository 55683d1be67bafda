//! A snapshot, ours or etcd's.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_store::fuzz::snapshot(bytes));
