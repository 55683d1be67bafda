//! What a client's connection begins with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_store::fuzz::authority(bytes));
