//! What types and fields are for, in words: from the build script, unpacked while a document is made.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

/// Lines of `T<tab>type<tab>text` and `F<tab>field<tab>text`; a field is the last type's.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// Where a type's own line stands in [`Descriptions`].
const ITSELF: &str = "";

/// The text of all descriptions; [`index`](Self::index) finds one.
pub(super) struct Descriptions(String);

impl Descriptions {
    /// Unpacks them.
    pub(super) fn unpack() -> Self {
        let mut text = String::new();
        // The build script wrote these bytes: a test would find them damaged.
        let read = DeflateDecoder::new(PACKED).read_to_string(&mut text);
        debug_assert!(read.is_ok(), "descriptions: {read:?}");
        Self(text)
    }

    /// Finds texts by type and field.
    pub(super) fn index(&self) -> Index<'_> {
        let mut texts = HashMap::new();
        let mut ty = "";
        for line in self.0.lines() {
            let mut cells = line.splitn(3, '\t');
            match (cells.next(), cells.next(), cells.next()) {
                (Some("T"), Some(name), Some(text)) => {
                    ty = name;
                    texts.insert((ty, ITSELF), text);
                }
                (Some("F"), Some(name), Some(text)) => {
                    texts.insert((ty, name), text);
                }
                _ => {}
            }
        }
        Index(texts)
    }
}

/// Texts by the OpenAPI name of a type and the name of a field.
#[derive(Default)]
pub(super) struct Index<'t>(HashMap<(&'t str, &'t str), &'t str>);

impl Index<'_> {
    /// What a type is.
    pub(super) fn of_type(&self, openapi_name: &str) -> Option<String> {
        self.of_field(openapi_name, ITSELF)
    }

    /// What a field is for.
    pub(super) fn of_field(&self, openapi_name: &str, field: &str) -> Option<String> {
        let text = self.0.get(&(openapi_name, field))?;
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            out.push(match c {
                '\\' if rest.next() == Some('n') => '\n',
                c => c,
            });
        }
        Some(out)
    }
}
