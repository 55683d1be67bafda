//! [`value!`](crate::value!): JSON literals in code.

/// Builds a [`Value`](crate::value::Value) from a JSON literal; expressions stand where values may stand, and a
/// key may be any expression in parentheses.
#[macro_export]
macro_rules! value {
    ($($json:tt)+) => { $crate::value_internal!($($json)+) };
}

/// The muncher behind [`value!`](crate::value!).
#[doc(hidden)]
#[macro_export]
macro_rules! value_internal {
    // Lists.
    (@list [$($done:expr,)*]) => { vec![$($done,)*] };
    (@list [$($done:expr),*]) => { vec![$($done),*] };
    (@list [$($done:expr,)*] null $($rest:tt)*) => {
        $crate::value_internal!(@list [$($done,)* $crate::value_internal!(null)] $($rest)*)
    };
    (@list [$($done:expr,)*] [$($inner:tt)*] $($rest:tt)*) => {
        $crate::value_internal!(@list [$($done,)* $crate::value_internal!([$($inner)*])] $($rest)*)
    };
    (@list [$($done:expr,)*] {$($inner:tt)*} $($rest:tt)*) => {
        $crate::value_internal!(@list [$($done,)* $crate::value_internal!({$($inner)*})] $($rest)*)
    };
    (@list [$($done:expr,)*] $next:expr, $($rest:tt)*) => {
        $crate::value_internal!(@list [$($done,)* $crate::value_internal!($next),] $($rest)*)
    };
    (@list [$($done:expr,)*] $last:expr) => {
        $crate::value_internal!(@list [$($done,)* $crate::value_internal!($last)])
    };
    (@list [$($done:expr),*] , $($rest:tt)*) => {
        $crate::value_internal!(@list [$($done,)*] $($rest)*)
    };

    // Objects: [members done] (key so far) (rest).
    (@map [$($done:expr,)*] () ()) => { vec![$($done,)*] };
    (@map [$($done:expr,)*] [$($key:tt)+] ($value:expr) , $($rest:tt)*) => {
        $crate::value_internal!(@map [$($done,)* (::core::convert::Into::<$crate::value::Key>::into($($key)+), $value),] () ($($rest)*))
    };
    (@map [$($done:expr,)*] [$($key:tt)+] ($value:expr)) => {
        vec![$($done,)* (::core::convert::Into::<$crate::value::Key>::into($($key)+), $value)]
    };
    (@map [$($done:expr,)*] ($($key:tt)+) (: null $($rest:tt)*)) => {
        $crate::value_internal!(@map [$($done,)*] [$($key)+] ($crate::value_internal!(null)) $($rest)*)
    };
    (@map [$($done:expr,)*] ($($key:tt)+) (: [$($inner:tt)*] $($rest:tt)*)) => {
        $crate::value_internal!(@map [$($done,)*] [$($key)+] ($crate::value_internal!([$($inner)*])) $($rest)*)
    };
    (@map [$($done:expr,)*] ($($key:tt)+) (: {$($inner:tt)*} $($rest:tt)*)) => {
        $crate::value_internal!(@map [$($done,)*] [$($key)+] ($crate::value_internal!({$($inner)*})) $($rest)*)
    };
    (@map [$($done:expr,)*] ($($key:tt)+) (: $value:expr , $($rest:tt)*)) => {
        $crate::value_internal!(@map [$($done,)*] [$($key)+] ($crate::value_internal!($value)) , $($rest)*)
    };
    (@map [$($done:expr,)*] ($($key:tt)+) (: $value:expr)) => {
        $crate::value_internal!(@map [$($done,)*] [$($key)+] ($crate::value_internal!($value)))
    };
    (@map [$($done:expr,)*] ($($key:tt)*) ($next:tt $($rest:tt)*)) => {
        $crate::value_internal!(@map [$($done,)*] ($($key)* $next) ($($rest)*))
    };

    (null) => { $crate::value::Value::Null };
    ([]) => { $crate::value::Value::List(Vec::new()) };
    ([ $($inner:tt)+ ]) => { $crate::value::Value::List($crate::value_internal!(@list [] $($inner)+)) };
    ({}) => { $crate::value::Value::Map($crate::value::Map::new()) };
    ({ $($inner:tt)+ }) => {
        $crate::value::Value::Map($crate::value::Map::from_pairs($crate::value_internal!(@map [] () ($($inner)+))))
    };
    ($other:expr) => { $crate::value::Value::from($other) };
}

#[cfg(test)]
mod tests {
    use crate::value::Value;

    #[test]
    fn literals_of_every_shape_are_built() {
        let name = "x";
        let v = value!({
            "a": null, "b": [1, 2.5, "s", {"k": [true, null]}], ("key".to_owned() + name): name.len() + 1,
            "empty": {}, "none": [], "opt": Option::<i64>::None,
        });
        assert_eq!(v.path(&["keyx"]), Some(&Value::Int(2)));
        assert_eq!(v.path_list(&["b"]).len(), 4);
        assert_eq!(v.get("opt"), Some(&Value::Null));
        assert_eq!(v.as_map().map(crate::value::Map::len), Some(6));
    }
}
