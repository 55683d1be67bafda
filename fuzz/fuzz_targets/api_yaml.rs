//! YAML bodies: any text gives a tree within its budget, or an error.
#![no_main]

use mainstay_apiserver_machinery::json::{Strictness, decode_free, to_string};
use mainstay_apiserver_machinery::schema::lookup;
use mainstay_apiserver_machinery::yaml;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = yaml::decode(bytes, None, Strictness::Warn) {
        let text = to_string(&decoded.value);
        decode_free(text.as_bytes()).expect("what was written is read");
    }
    let pod = lookup("core/v1.Pod");
    drop(yaml::decode(bytes, pod, Strictness::Strict));
});
