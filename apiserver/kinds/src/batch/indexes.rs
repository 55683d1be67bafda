//! Lists of completion indexes: `1,3-5,7`, ascending.

/// The intervals of a list, each with both ends, below `completions`.
///
/// # Errors
/// Upstream's text of what is wrong.
pub(super) fn parse(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (start, end) = interval(part, completions)?;
        if let Some((_, previous)) = intervals.last().filter(|(_, previous)| *previous >= start) {
            return Err(format!("non-increasing order, previous: {previous}, current: {start}"));
        }
        intervals.push((start, end));
    }
    Ok(intervals)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) if number >= completions => Err(format!("too large index: {text:?}")),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
    };
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [one] => number(one).map(|one| (one, one)),
        [start, end] => {
            let (start, end) = (number(start)?, number(end)?);
            if start >= end {
                return Err(format!("non-increasing order, previous: {start}, current: {end}"));
            }
            Ok((start, end))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

/// How many indexes the intervals hold.
pub(super) fn count(intervals: &[(i64, i64)]) -> i64 {
    intervals.iter().map(|(start, end)| end - start + 1).sum()
}

/// The first index that is in both lists.
pub(super) fn overlap(one: &[(i64, i64)], other: &[(i64, i64)]) -> Option<i64> {
    one.iter().find_map(|(start, end)| {
        let shared = other.iter().find(|(first, last)| first <= end && last >= start)?;
        Some(*start.max(&shared.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ascend_and_stay_below_the_completions() {
        assert_eq!(parse("1,3-5,7", 8), Ok(vec![(1, 1), (3, 5), (7, 7)]));
        assert_eq!(count(&[(1, 1), (3, 5), (7, 7)]), 5);
        assert_eq!(parse("", 8), Ok(vec![]));
        assert_eq!(parse("8", 8), Err("too large index: \"8\"".to_owned()));
        assert_eq!(parse("3,1", 8), Err("non-increasing order, previous: 3, current: 1".to_owned()));
        assert_eq!(parse("x", 8), Err("cannot convert string to integer for index: \"x\"".to_owned()));
        assert!(parse("1-2-3", 8).is_err());
        assert_eq!(overlap(&[(1, 4)], &[(0, 0), (3, 9)]), Some(3));
    }
}
