//! Patches of all three kinds: any patch of any object gives an object or an error.
#![no_main]

use mainstay_apiserver_machinery::json::{Strictness, decode, decode_free};
use mainstay_apiserver_machinery::patch::{json_patch, merge_patch, strategic_merge};
use mainstay_apiserver_machinery::schema::lookup;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The object and the patch, parted by the first line break.
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (object, patch) = bytes.split_at(at);
    let (Ok(object), Ok(patch)) = (decode_free(object), decode_free(patch.get(1..).unwrap_or_default()))
    else {
        return;
    };
    drop(json_patch(&object, &patch));
    if let Ok(merged) = merge_patch(&object, &patch) {
        assert_eq!(merge_patch(&merged, &patch).expect("a merge twice"), merged, "a merge is done once");
    }
    let Some(ty) = lookup("core/v1.Pod") else { return };
    let text = mainstay_apiserver_machinery::json::to_string(&object);
    if let Ok(pod) = decode(text.as_bytes(), Some(ty), Strictness::Ignore) {
        drop(strategic_merge(&pod.value, &patch, ty));
    }
});
