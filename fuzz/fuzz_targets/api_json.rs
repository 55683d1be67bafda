//! JSON bodies: what is decoded is written and decoded again as the same, with and without a type.
#![no_main]

use mainstay_apiserver_machinery::json::{Strictness, decode, decode_free, to_string};
use mainstay_apiserver_machinery::schema::lookup;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = decode_free(bytes) {
        let text = to_string(&value);
        let again = decode_free(text.as_bytes()).expect("what was written is read");
        assert_eq!(to_string(&again), text);
    }
    for name in ["core/v1.Pod", "apps/v1.Deployment", "apiextensions.k8s.io/v1.CustomResourceDefinition"] {
        let Some(ty) = lookup(name) else { continue };
        for strictness in [Strictness::Warn, Strictness::Strict] {
            if let Ok(decoded) = decode(bytes, Some(ty), strictness) {
                let text = to_string(&decoded.value);
                let again = decode(text.as_bytes(), Some(ty), Strictness::Strict).expect("what was written is read");
                assert_eq!(again.value, decoded.value, "the canonical tree is its own canonical tree");
            }
        }
    }
});
