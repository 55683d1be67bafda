//! Where this server's keys lie in a store that may hold others' too. Pure.
//!
//! Inside, objects are below `/registry/` and the server's own notes below `/mainstay/`. Outside, all of it is below one
//! prefix: objects as kube-apiserver lays them out, the notes below `PREFIX/mainstay/`.

use bytes::Bytes;

/// Where objects are, inside.
const OBJECTS: &[u8] = b"/registry";
/// Where the notes are, inside and below the prefix.
const NOTES: &[u8] = b"/mainstay/";

/// What keys begin with outside.
#[derive(Debug, Clone)]
pub(super) struct KeySpace {
    /// With a slash in front and none at the end.
    prefix: Bytes,
}

impl KeySpace {
    /// Below `prefix`, with or without slashes around it.
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        Self { prefix: if prefix.is_empty() { Bytes::new() } else { Bytes::from(format!("/{prefix}")) } }
    }

    /// A key, or the end of a range, as it is outside.
    pub(super) fn outward(&self, key: &Bytes) -> Bytes {
        match key.strip_prefix(OBJECTS) {
            Some(_) if self.prefix == OBJECTS => key.clone(),
            Some(rest) => self.below(rest),
            None => self.below(key),
        }
    }

    /// A key as it is inside; none for one that is not below the prefix.
    pub(super) fn inward(&self, key: &Bytes) -> Option<Bytes> {
        let rest = key.strip_prefix(&*self.prefix).filter(|rest| rest.starts_with(b"/"))?;
        if rest.starts_with(NOTES) {
            return Some(Bytes::copy_from_slice(rest));
        }
        if self.prefix == OBJECTS {
            return Some(key.clone());
        }
        Some([OBJECTS, rest].concat().into())
    }

    /// What all keys outside begin with.
    pub(super) fn root(&self) -> Bytes {
        self.below(b"/")
    }

    /// A key that is never written, to ask where the store is.
    pub(super) fn health(&self) -> Bytes {
        self.below(b"/health")
    }

    fn below(&self, rest: &[u8]) -> Bytes {
        [&self.prefix, rest].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn keys_come_back_as_they_went() {
        for (prefix, pod, note) in [
            ("/registry", "/registry/pods/a/b", "/registry/mainstay/service-claims/x"),
            ("team/one/", "/team/one/pods/a/b", "/team/one/mainstay/service-claims/x"),
            ("/", "/pods/a/b", "/mainstay/service-claims/x"),
        ] {
            let keys = KeySpace::new(prefix);
            for (inside, outside) in [("/registry/pods/a/b", pod), ("/mainstay/service-claims/x", note)] {
                let inside = Bytes::from(inside);
                assert_eq!(text(&keys.outward(&inside)), outside);
                assert_eq!(keys.inward(&Bytes::from(outside)), Some(inside));
            }
        }
    }

    #[test]
    fn ends_of_ranges_stay_ends() {
        let keys = KeySpace::new("/a");
        assert_eq!(text(&keys.outward(&Bytes::from("/registry0"))), "/a0");
        assert_eq!(text(&keys.outward(&Bytes::from("/registry/pods0"))), "/a/pods0");
        assert_eq!(
            text(&keys.outward(&Bytes::from("/mainstay/service-claims0"))),
            "/a/mainstay/service-claims0"
        );
    }

    #[test]
    fn others_keys_are_not_ours() {
        let keys = KeySpace::new("/registry");
        for other in ["/registry2/pods/a/b", "/registry", "compact_rev_key", "/other/x"] {
            assert_eq!(keys.inward(&Bytes::from(other)), None, "{other}");
        }
    }
}
