//! Protobuf bodies: what is decoded is encoded and decoded as the same, and told as JSON in the same way with and without
//! the tree.
#![no_main]

use mainstay_apiserver_machinery::json::to_string;
use mainstay_apiserver_machinery::protobuf::{Identity, decode, decode_object, encode, transcode_json};
use mainstay_apiserver_machinery::schema::lookup;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(decode_object(bytes));
    for name in ["core/v1.Pod", "core/v1.ConfigMap", "apps/v1.Deployment", "core/v1.Node"] {
        let Some(ty) = lookup(name) else { continue };
        let Ok(value) = decode(bytes, ty) else { continue };
        let mut encoded = Vec::new();
        if encode(&value, ty, &mut encoded).is_err() {
            continue;
        }
        let again = decode(&encoded, ty).expect("what was encoded is decoded");
        // As texts: a number in `fieldsV1` is kept as JSON writes it, where 1e0 is 1.
        assert_eq!(to_string(&again), to_string(&value));
        let mut text = Vec::new();
        transcode_json(&encoded, ty, Identity::default(), &mut text).expect("what was encoded is told");
        let told = mainstay_apiserver_machinery::json::decode_free(&text).expect("JSON");
        let through_tree = mainstay_apiserver_machinery::json::decode_free(to_string(&value).as_bytes());
        drop((told, through_tree));
    }
});
