//! A command of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_store::fuzz::command(bytes));
