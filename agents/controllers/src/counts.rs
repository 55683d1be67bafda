//! Small arithmetic on replica counts.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

/// A count as the API's optional fields have it: zero is left out.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Whether two objects say the same, where absent, null, zero and empty count as one: an API server may leave such fields
/// out, and a status that differs in nothing else need not be written.
pub(crate) fn says_the_same<T: Serialize>(a: &T, b: &T) -> bool {
    let slim = |object: &T| serde_json::to_value(object).ok().and_then(without_empty);
    slim(a) == slim(b)
}

fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<Value> =
                items.into_iter().map(|item| without_empty(item).unwrap_or(Value::Null)).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let fields: serde_json::Map<String, Value> =
                fields.into_iter().filter_map(|(name, value)| Some((name, without_empty(value)?))).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other),
    }
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
    fn absent_and_zero_say_the_same_but_one_does_not() {
        use k8s_openapi::api::apps::v1::ReplicaSetStatus;
        let empty = Some(ReplicaSetStatus::default());
        let zero = Some(ReplicaSetStatus { ready_replicas: Some(0), ..ReplicaSetStatus::default() });
        let one = Some(ReplicaSetStatus { ready_replicas: Some(1), ..ReplicaSetStatus::default() });
        assert!(super::says_the_same(&empty, &zero));
        assert!(!super::says_the_same(&empty, &one));
    }

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::String("25%".to_owned());
        assert_eq!((scaled(&quarter, 3, true), scaled(&quarter, 3, false)), (1, 0));
        assert_eq!(scaled(&IntOrString::Int(7), 3, true), 7);
    }
}
