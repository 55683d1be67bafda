//! Small arithmetic on replica counts.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A count as the API's optional fields have it: zero is left out.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// How many there are, as the API counts.
pub(crate) fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// A number or a percentage of `total`, rounded up or down. A string that is no percentage, which the API refuses,
/// counts as zero.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            let share =
                if round_up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::scaled;

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::String("25%".to_owned());
        assert_eq!((scaled(&quarter, 3, true), scaled(&quarter, 3, false)), (1, 0));
        assert_eq!(scaled(&IntOrString::Int(7), 3, true), 7);
    }
}
