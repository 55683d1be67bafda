//! Which keys a set of permissions covers: disjoint, sorted intervals, so that one search answers.
use bytes::Bytes;

use crate::api::Permission;
use crate::mvcc::KeyRange;

/// Keys from `start` to before `end`; none is "to the last key".
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

/// The union of some ranges of keys. Ranges that touch are one: reading both halves is reading the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    intervals: Vec<Interval>,
}

impl Reach {
    pub(super) fn of<'p>(permissions: impl Iterator<Item = &'p Permission>) -> Self {
        let mut all: Vec<Interval> = permissions
            .map(|permission| Interval {
                start: permission.key.clone(),
                end: match &permission.range_end {
                    None => Some(after(&permission.key)),
                    Some(end) if end == "\0" => None,
                    Some(end) => Some(end.clone()),
                },
            })
            .collect();
        all.sort_by(|a, b| a.start.cmp(&b.start));
        let mut intervals: Vec<Interval> = Vec::with_capacity(all.len());
        for next in all {
            match intervals.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| next.start <= *end) => {
                    if last.end.is_some() && next.end.as_ref().is_none_or(|end| Some(end) > last.end.as_ref())
                    {
                        last.end = next.end;
                    }
                }
                _ => intervals.push(next),
            }
        }
        Self { intervals }
    }

    /// Whether every key that the range can name is covered.
    pub(super) fn covers(&self, range: KeyRange<'_>) -> bool {
        // No key is empty: the first that a range from "" can name is a zero byte.
        let key: &[u8] = if range.key.is_empty() { b"\0" } else { range.key };
        let before = self.intervals.partition_point(|interval| interval.start <= key);
        let Some(interval) = before.checked_sub(1).and_then(|at| self.intervals.get(at)) else {
            return false;
        };
        let Some(end) = &interval.end else { return true };
        match range.end {
            Some(b"\0") => false,
            Some(wanted) if wanted > key => wanted <= &end[..],
            // One key; or a range without any, which asks for no more than its first.
            _ => key < &end[..],
        }
    }
}

/// The key that follows.
fn after(key: &Bytes) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::api::Access;

    fn permission(key: &'static str, end: Option<&'static str>) -> Permission {
        Permission { access: Access::Read, key: key.into(), range_end: end.map(Bytes::from) }
    }

    fn covers(permissions: &[Permission], key: &str, end: Option<&str>) -> bool {
        Reach::of(permissions.iter()).covers(KeyRange { key: key.as_bytes(), end: end.map(str::as_bytes) })
    }

    #[test]
    fn one_key_covers_itself_alone() {
        let one = [permission("b", None)];
        assert!(covers(&one, "b", None) && covers(&one, "b", Some("b\0")));
        assert!(!covers(&one, "b\0", None) && !covers(&one, "a", None) && !covers(&one, "b", Some("c")));
    }

    #[test]
    fn ranges_that_touch_cover_the_whole() {
        let two = [permission("c", Some("e")), permission("a", Some("c"))];
        assert!(covers(&two, "b", Some("d")) && covers(&two, "a", Some("e")));
        assert!(!covers(&two, "a", Some("e\0")) && !covers(&two, "a", Some("\0")));
        assert!(!covers(&[permission("a", Some("b")), permission("c", Some("d"))], "a", Some("d")));
    }

    #[test]
    fn an_open_end_covers_the_rest() {
        let all = [permission("\0", Some("\0"))];
        assert!(covers(&all, "", Some("\0")) && covers(&all, "\0", Some("\0")) && covers(&all, "zz", None));
        let rest = [permission("m", Some("\0")), permission("n", Some("o"))];
        assert!(covers(&rest, "m", Some("\0")) && !covers(&rest, "l", Some("\0")));
    }

    proptest! {
        #[test]
        fn what_is_covered_is_what_the_permissions_name(
            granted in proptest::collection::vec((0..20_u8, 0..22_u8), 0..6),
            (from, to) in (0..20_u8, 1..22_u8),
        ) {
            let permissions: Vec<Permission> = granted
                .iter()
                .filter(|(from, to)| from < to || *to == 0)
                .map(|(from, to)| Permission {
                    access: Access::Read,
                    key: Bytes::copy_from_slice(&[from + 1]),
                    range_end: (*to > 0).then(|| Bytes::copy_from_slice(&[to + 1])),
                })
                .collect();
            prop_assume!(from < to);
            let named = |key: u8| permissions.iter().any(|permission| {
                KeyRange::new(&permission.key, permission.range_end.as_ref()).contains(&[key + 1])
            });
            // Keys of one byte; a single-key permission does not reach the longer keys between.
            let whole: BTreeSet<bool> = (from..to).map(|key| {
                permissions.iter().any(|permission| permission.range_end.is_some()
                    && KeyRange::new(&permission.key, permission.range_end.as_ref()).contains(&[key + 1]))
            }).collect();
            let reach = Reach::of(permissions.iter());
            prop_assert_eq!(reach.covers(KeyRange { key: &[from + 1], end: None }), named(from));
            prop_assert_eq!(
                reach.covers(KeyRange { key: &[from + 1], end: Some(&[to + 1]) }),
                !whole.contains(&false)
            );
        }
    }
}
