//! A row of the tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_store::fuzz::row(bytes));
