//! The path of a field as error texts show it: `spec.containers[0].env[1].name`, `metadata.labels[a/b]`.

use smol_str::{SmolStr, format_smolstr};
use std::fmt;

/// A field path; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(SmolStr);

impl Path {
    /// The path of the object itself.
    pub const fn root() -> Self {
        Self(SmolStr::new_static(""))
    }

    /// A path of one field.
    pub fn new(field: &str) -> Self {
        Self(SmolStr::new(field))
    }

    /// The field `name` below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format_smolstr!("{}.{name}", self.0)) }
    }

    /// The item at `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format_smolstr!("{}[{index}]", self.0))
    }

    /// The entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format_smolstr!("{}[{key}]", self.0))
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("<nil>") } else { f.write_str(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_upstream_prints_them() {
        let path = Path::new("spec").child("containers").index(2).child("resources").key("cpu");
        assert_eq!(path.to_string(), "spec.containers[2].resources[cpu]");
        assert_eq!(Path::root().child("data").as_str(), "data");
    }
}
