//! Label and field selectors: what is read is told and read as the same.
#![no_main]

use std::collections::BTreeMap;

use mainstay_proto_api::{Quantity, field, label};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let labels: BTreeMap<&str, &str> = [("a", "1"), ("app", "web"), ("x.io/y", "")].into();
    if let Ok(selector) = label::Selector::parse(text) {
        let told = selector.to_string();
        // Upstream tells the one empty value, `in (,)`, as `in ()`, which is no selector; so do we.
        if !told.contains("in ()") {
            let again = label::Selector::parse(&told).expect("what was told is read");
            assert_eq!(again, selector);
            assert_eq!(again.matches(&labels), selector.matches(&labels));
        }
    }
    if let Ok(selector) = field::Selector::parse(text) {
        let again = field::Selector::parse(&selector.to_string()).expect("what was told is read");
        assert_eq!(again, selector);
    }
    if let Ok(amount) = text.parse::<Quantity>() {
        let again: Quantity = amount.text().parse().expect("what was told is read");
        assert_eq!(again, amount);
    }
});
