//! Field sets of `managedFields`: what is read is written as the same, and sets obey the laws of sets.
#![no_main]

use mainstay_apiserver_machinery::json::decode_free;
use mainstay_apiserver_machinery::ownership::{Element, FieldSet, Managed};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(Some(element)) = Element::parse(text)
    {
        let again = Element::parse(&element.text()).expect("what was written is read").expect("an element");
        assert_eq!(again, element);
    }
    let Ok(value) = decode_free(bytes) else { return };
    if let Some(entries) = value.as_list() {
        drop(Managed::sent(entries));
        drop(Managed::stored(entries));
        let sets: Vec<FieldSet> =
            entries.iter().filter_map(|one| FieldSet::from_fields_v1(one).ok()).collect();
        if let [one, other, ..] = sets.as_slice() {
            let (both, common) = (one.union(other), one.intersection(other));
            assert_eq!(both.difference(other).union(other), both);
            assert_eq!(common.union(&one.difference(other)), *one);
            assert_eq!(one.intersection(&both), *one);
        }
    }
    if let Ok(set) = FieldSet::from_fields_v1(&value) {
        let again = FieldSet::from_fields_v1(&set.to_fields_v1()).expect("what was written is read");
        assert_eq!(again, set);
        assert_eq!(set.paths().len(), set.len());
    }
});
