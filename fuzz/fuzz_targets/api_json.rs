//! JSON bodies: what is decoded is written, read and written again as the same, with and without a type.
#![no_main]

use mainstay_apiserver_machinery::json::{Strictness, decode, decode_free, to_string};
use mainstay_apiserver_machinery::schema::lookup;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = decode_free(bytes) {
        // Numbers settle in the first round: 1.5e3 is written 1500, and that is whole when it is read.
        let read = |text: &str| decode_free(text.as_bytes()).expect("what was written is read");
        let settled = to_string(&read(&to_string(&value)));
        assert_eq!(to_string(&read(&settled)), settled);
    }
    for name in ["core/v1.Pod", "apps/v1.Deployment", "apiextensions.k8s.io/v1.CustomResourceDefinition"] {
        let Some(ty) = lookup(name) else { continue };
        for strictness in [Strictness::Warn, Strictness::Strict] {
            if let Ok(decoded) = decode(bytes, Some(ty), strictness) {
                let read = |text: &str| {
                    decode(text.as_bytes(), Some(ty), Strictness::Strict)
                        .expect("what was written is read")
                        .value
                };
                let settled = read(&to_string(&read(&to_string(&decoded.value))));
                assert_eq!(
                    read(&to_string(&settled)),
                    settled,
                    "the canonical tree is its own canonical tree"
                );
            }
        }
    }
});
