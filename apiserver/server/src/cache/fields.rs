//! The values of a kind's selectable fields, in one piece: a pod has ten, and many objects are kept.

use smol_str::SmolStr;

/// Values by field name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    names: &'static [&'static str],
    /// The values in the order of the names, one after the other.
    values: Box<str>,
    /// Where each value ends.
    ends: Box<[u32]>,
}

impl Fields {
    /// The values of `names`; a field that has none is empty.
    pub fn new(names: &'static [&'static str], found: &[(&'static str, SmolStr)]) -> Self {
        let values =
            || names.iter().map(|name| found.iter().find(|(known, _)| known == name).map_or("", |(_, v)| v));
        let mut end = 0;
        let ends = values().map(|value| {
            end += value.len() as u32;
            end
        });
        Self { names, ends: ends.collect(), values: values().collect::<String>().into() }
    }

    /// One value; `None` for a field that the kind does not have.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value(self.names.iter().position(|known| *known == name)?)
    }

    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.names.iter().enumerate().filter_map(|(at, name)| Some((*name, self.value(at)?)))
    }

    fn value(&self, at: usize) -> Option<&str> {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        self.values.get(start as usize..*self.ends.get(at)? as usize)
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let fields = Fields::new(
            &["a", "b", "c", "d"],
            &[("d", "4".into()), ("a", "one".into()), ("c", "\0é".into())],
        );
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [("a", "one"), ("b", ""), ("c", "\0é"), ("d", "4")]);
        assert_eq!(fields.get("c"), Some("\0é"));
        assert_eq!(fields.get("e"), None);
        assert_eq!(Fields::new(&[], &[]).get("a"), None);
    }
}
