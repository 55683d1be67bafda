//! Continue tokens: any text gives a place within the listed prefix or an error; what is written is read as the same.
#![no_main]

use mainstay_apiserver_machinery::continue_token::Continue;

libfuzzer_sys::fuzz_target!(|text: &str| {
    // As it comes, and as what stands inside of a token.
    let inside = Continue { revision: Some(7), position: text.to_owned() }.encode();
    for token in [text, &inside] {
        let Ok(place) = Continue::decode(token) else { continue };
        assert!(place.revision.is_none_or(|revision| revision > 0));
        assert!(!place.position.split('/').any(|part| matches!(part, "" | "." | "..")), "{place:?}");
        assert_eq!(Continue::decode(&place.encode()), Ok(place));
    }
});
