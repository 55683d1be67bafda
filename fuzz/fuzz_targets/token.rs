//! A token that a client shows.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_store::fuzz::token(bytes));
