//! The functions and their types.

use crate::types::Type;

/// A type in a signature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum P {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Str,
    Bytes,
    Duration,
    Timestamp,
    /// Any one type, the same wherever it occurs in the signature.
    A,
    ListA,
    ListStr,
    MapAny,
    OptA,
    OptListStr,
    OptFormat,
    Named(&'static str),
    Type,
}

/// How much a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// One.
    Call,
    /// A tenth of the first value's size.
    Walk,
    /// The sizes of both values, a tenth of each, multiplied.
    Search,
    /// The text's size by the expression's.
    Regex,
    /// The first value's size.
    Items,
    /// The sizes of both values, multiplied.
    Pairs,
    /// A question to the authorizer.
    Check,
    /// Reading the second value as a selector.
    Selector,
}

/// One form of a function.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    /// Whether the first parameter stands before the dot.
    pub(crate) is_member: bool,
    pub(crate) params: &'static [P],
    pub(crate) result: P,
    pub(crate) cost: Cost,
}

pub(crate) const QUANTITY: &str = "kubernetes.Quantity";
pub(crate) const URL: &str = "kubernetes.URL";
pub(crate) const IP: &str = "net.IP";
pub(crate) const CIDR: &str = "net.CIDR";
pub(crate) const SEMVER: &str = "kubernetes.Semver";
pub(crate) const FORMAT: &str = "kubernetes.NamedFormat";

pub(crate) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(crate) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(crate) const DECISION: &str = "kubernetes.authorization.Decision";

const fn global(name: &'static str, params: &'static [P], result: P, cost: Cost) -> Signature {
    Signature { name, is_member: false, params, result, cost }
}

const fn member(name: &'static str, params: &'static [P], result: P, cost: Cost) -> Signature {
    Signature { name, is_member: true, params, result, cost }
}

const Z: P = P::Named(AUTHORIZER);
const R: P = P::Named(RESOURCE_CHECK);
const D: P = P::Named(DECISION);
const Q: P = P::Named(QUANTITY);
const U: P = P::Named(URL);
const I: P = P::Named(IP);
const N: P = P::Named(CIDR);
const V: P = P::Named(SEMVER);
const F: P = P::Named(FORMAT);

/// Every form of every function.
pub(crate) static SIGNATURES: &[Signature] = &[
    // The language's own.
    global("size", &[P::Str], P::Int, Cost::Walk),
    global("size", &[P::Bytes], P::Int, Cost::Call),
    global("size", &[P::ListA], P::Int, Cost::Call),
    global("size", &[P::MapAny], P::Int, Cost::Call),
    member("size", &[P::Str], P::Int, Cost::Walk),
    member("size", &[P::Bytes], P::Int, Cost::Call),
    member("size", &[P::ListA], P::Int, Cost::Call),
    member("size", &[P::MapAny], P::Int, Cost::Call),
    global("int", &[P::Int], P::Int, Cost::Call),
    global("int", &[P::Uint], P::Int, Cost::Call),
    global("int", &[P::Double], P::Int, Cost::Call),
    global("int", &[P::Str], P::Int, Cost::Walk),
    global("int", &[P::Timestamp], P::Int, Cost::Call),
    global("uint", &[P::Uint], P::Uint, Cost::Call),
    global("uint", &[P::Int], P::Uint, Cost::Call),
    global("uint", &[P::Double], P::Uint, Cost::Call),
    global("uint", &[P::Str], P::Uint, Cost::Walk),
    global("double", &[P::Double], P::Double, Cost::Call),
    global("double", &[P::Int], P::Double, Cost::Call),
    global("double", &[P::Uint], P::Double, Cost::Call),
    global("double", &[P::Str], P::Double, Cost::Walk),
    global("string", &[P::Str], P::Str, Cost::Call),
    global("string", &[P::Bool], P::Str, Cost::Call),
    global("string", &[P::Int], P::Str, Cost::Call),
    global("string", &[P::Uint], P::Str, Cost::Call),
    global("string", &[P::Double], P::Str, Cost::Call),
    global("string", &[P::Bytes], P::Str, Cost::Walk),
    global("string", &[P::Timestamp], P::Str, Cost::Call),
    global("string", &[P::Duration], P::Str, Cost::Call),
    global("string", &[I], P::Str, Cost::Call),
    global("string", &[N], P::Str, Cost::Call),
    global("bytes", &[P::Bytes], P::Bytes, Cost::Call),
    global("bytes", &[P::Str], P::Bytes, Cost::Walk),
    global("bool", &[P::Bool], P::Bool, Cost::Call),
    global("bool", &[P::Str], P::Bool, Cost::Call),
    global("duration", &[P::Duration], P::Duration, Cost::Call),
    global("duration", &[P::Str], P::Duration, Cost::Call),
    global("timestamp", &[P::Timestamp], P::Timestamp, Cost::Call),
    global("timestamp", &[P::Str], P::Timestamp, Cost::Call),
    global("timestamp", &[P::Int], P::Timestamp, Cost::Call),
    global("type", &[P::Dyn], P::Type, Cost::Call),
    global("dyn", &[P::A], P::Dyn, Cost::Call),
    member("contains", &[P::Str, P::Str], P::Bool, Cost::Search),
    member("startsWith", &[P::Str, P::Str], P::Bool, Cost::Walk),
    member("endsWith", &[P::Str, P::Str], P::Bool, Cost::Walk),
    member("matches", &[P::Str, P::Str], P::Bool, Cost::Regex),
    global("matches", &[P::Str, P::Str], P::Bool, Cost::Regex),
    member("getFullYear", &[P::Timestamp], P::Int, Cost::Call),
    member("getMonth", &[P::Timestamp], P::Int, Cost::Call),
    member("getDate", &[P::Timestamp], P::Int, Cost::Call),
    member("getDayOfMonth", &[P::Timestamp], P::Int, Cost::Call),
    member("getDayOfWeek", &[P::Timestamp], P::Int, Cost::Call),
    member("getDayOfYear", &[P::Timestamp], P::Int, Cost::Call),
    member("getHours", &[P::Timestamp], P::Int, Cost::Call),
    member("getMinutes", &[P::Timestamp], P::Int, Cost::Call),
    member("getSeconds", &[P::Timestamp], P::Int, Cost::Call),
    member("getMilliseconds", &[P::Timestamp], P::Int, Cost::Call),
    member("getHours", &[P::Duration], P::Int, Cost::Call),
    member("getMinutes", &[P::Duration], P::Int, Cost::Call),
    member("getSeconds", &[P::Duration], P::Int, Cost::Call),
    member("getMilliseconds", &[P::Duration], P::Int, Cost::Call),
    // Strings.
    member("charAt", &[P::Str, P::Int], P::Str, Cost::Walk),
    member("indexOf", &[P::Str, P::Str], P::Int, Cost::Search),
    member("indexOf", &[P::Str, P::Str, P::Int], P::Int, Cost::Search),
    member("lastIndexOf", &[P::Str, P::Str], P::Int, Cost::Search),
    member("lastIndexOf", &[P::Str, P::Str, P::Int], P::Int, Cost::Search),
    member("lowerAscii", &[P::Str], P::Str, Cost::Walk),
    member("upperAscii", &[P::Str], P::Str, Cost::Walk),
    member("replace", &[P::Str, P::Str, P::Str], P::Str, Cost::Walk),
    member("replace", &[P::Str, P::Str, P::Str, P::Int], P::Str, Cost::Walk),
    member("split", &[P::Str, P::Str], P::ListStr, Cost::Walk),
    member("split", &[P::Str, P::Str, P::Int], P::ListStr, Cost::Walk),
    member("substring", &[P::Str, P::Int], P::Str, Cost::Walk),
    member("substring", &[P::Str, P::Int, P::Int], P::Str, Cost::Walk),
    member("trim", &[P::Str], P::Str, Cost::Walk),
    member("reverse", &[P::Str], P::Str, Cost::Walk),
    member("join", &[P::ListStr], P::Str, Cost::Items),
    member("join", &[P::ListStr, P::Str], P::Str, Cost::Items),
    member("format", &[P::Str, P::ListA], P::Str, Cost::Walk),
    global("strings.quote", &[P::Str], P::Str, Cost::Walk),
    global("jsonpatch.escapeKey", &[P::Str], P::Str, Cost::Walk),
    member("find", &[P::Str, P::Str], P::Str, Cost::Regex),
    member("findAll", &[P::Str, P::Str], P::ListStr, Cost::Regex),
    member("findAll", &[P::Str, P::Str, P::Int], P::ListStr, Cost::Regex),
    // Lists.
    member("isSorted", &[P::ListA], P::Bool, Cost::Items),
    member("sum", &[P::ListA], P::A, Cost::Items),
    member("min", &[P::ListA], P::A, Cost::Items),
    member("max", &[P::ListA], P::A, Cost::Items),
    member("indexOf", &[P::ListA, P::A], P::Int, Cost::Items),
    member("lastIndexOf", &[P::ListA, P::A], P::Int, Cost::Items),
    global("sets.contains", &[P::ListA, P::ListA], P::Bool, Cost::Pairs),
    global("sets.equivalent", &[P::ListA, P::ListA], P::Bool, Cost::Pairs),
    global("sets.intersects", &[P::ListA, P::ListA], P::Bool, Cost::Pairs),
    // URLs.
    global("url", &[P::Str], U, Cost::Walk),
    global("isURL", &[P::Str], P::Bool, Cost::Walk),
    member("getScheme", &[U], P::Str, Cost::Call),
    member("getHost", &[U], P::Str, Cost::Call),
    member("getHostname", &[U], P::Str, Cost::Call),
    member("getPort", &[U], P::Str, Cost::Call),
    member("getEscapedPath", &[U], P::Str, Cost::Call),
    member("getQuery", &[U], P::Dyn, Cost::Call),
    // Quantities.
    global("quantity", &[P::Str], Q, Cost::Walk),
    global("isQuantity", &[P::Str], P::Bool, Cost::Walk),
    member("sign", &[Q], P::Int, Cost::Call),
    member("add", &[Q, Q], Q, Cost::Call),
    member("add", &[Q, P::Int], Q, Cost::Call),
    member("sub", &[Q, Q], Q, Cost::Call),
    member("sub", &[Q, P::Int], Q, Cost::Call),
    member("isGreaterThan", &[Q, Q], P::Bool, Cost::Call),
    member("isLessThan", &[Q, Q], P::Bool, Cost::Call),
    member("compareTo", &[Q, Q], P::Int, Cost::Call),
    member("isInteger", &[Q], P::Bool, Cost::Call),
    member("asInteger", &[Q], P::Int, Cost::Call),
    member("asApproximateFloat", &[Q], P::Double, Cost::Call),
    // Addresses.
    global("ip", &[P::Str], I, Cost::Walk),
    global("isIP", &[P::Str], P::Bool, Cost::Walk),
    global("ip.isCanonical", &[P::Str], P::Bool, Cost::Walk),
    member("family", &[I], P::Int, Cost::Call),
    member("isUnspecified", &[I], P::Bool, Cost::Call),
    member("isLoopback", &[I], P::Bool, Cost::Call),
    member("isLinkLocalMulticast", &[I], P::Bool, Cost::Call),
    member("isLinkLocalUnicast", &[I], P::Bool, Cost::Call),
    member("isGlobalUnicast", &[I], P::Bool, Cost::Call),
    global("cidr", &[P::Str], N, Cost::Walk),
    global("isCIDR", &[P::Str], P::Bool, Cost::Walk),
    member("containsIP", &[N, I], P::Bool, Cost::Call),
    member("containsIP", &[N, P::Str], P::Bool, Cost::Call),
    member("containsCIDR", &[N, N], P::Bool, Cost::Call),
    member("containsCIDR", &[N, P::Str], P::Bool, Cost::Call),
    member("ip", &[N], I, Cost::Call),
    member("masked", &[N], N, Cost::Call),
    member("prefixLength", &[N], P::Int, Cost::Call),
    // Versions.
    global("semver", &[P::Str], V, Cost::Walk),
    global("semver", &[P::Str, P::Bool], V, Cost::Walk),
    global("isSemver", &[P::Str], P::Bool, Cost::Walk),
    global("isSemver", &[P::Str, P::Bool], P::Bool, Cost::Walk),
    member("major", &[V], P::Int, Cost::Call),
    member("minor", &[V], P::Int, Cost::Call),
    member("patch", &[V], P::Int, Cost::Call),
    member("compareTo", &[V, V], P::Int, Cost::Call),
    member("isGreaterThan", &[V, V], P::Bool, Cost::Call),
    member("isLessThan", &[V, V], P::Bool, Cost::Call),
    // Formats.
    global("format.named", &[P::Str], P::OptFormat, Cost::Call),
    global("format.dns1123Label", &[], F, Cost::Call),
    global("format.dns1123Subdomain", &[], F, Cost::Call),
    global("format.dns1035Label", &[], F, Cost::Call),
    global("format.qualifiedName", &[], F, Cost::Call),
    global("format.dns1123LabelPrefix", &[], F, Cost::Call),
    global("format.dns1123SubdomainPrefix", &[], F, Cost::Call),
    global("format.dns1035LabelPrefix", &[], F, Cost::Call),
    global("format.labelValue", &[], F, Cost::Call),
    global("format.uri", &[], F, Cost::Call),
    global("format.uuid", &[], F, Cost::Call),
    global("format.byte", &[], F, Cost::Call),
    global("format.date", &[], F, Cost::Call),
    global("format.datetime", &[], F, Cost::Call),
    member("validate", &[F, P::Str], P::OptListStr, Cost::Walk),
    // The authorizer.
    member("path", &[Z, P::Str], P::Named(PATH_CHECK), Cost::Call),
    member("group", &[Z, P::Str], P::Named(GROUP_CHECK), Cost::Call),
    member("serviceAccount", &[Z, P::Str, P::Str], Z, Cost::Call),
    member("resource", &[P::Named(GROUP_CHECK), P::Str], R, Cost::Call),
    member("subresource", &[R, P::Str], R, Cost::Call),
    member("namespace", &[R, P::Str], R, Cost::Call),
    member("name", &[R, P::Str], R, Cost::Call),
    member("fieldSelector", &[R, P::Str], R, Cost::Selector),
    member("labelSelector", &[R, P::Str], R, Cost::Selector),
    member("check", &[P::Named(PATH_CHECK), P::Str], D, Cost::Check),
    member("check", &[R, P::Str], D, Cost::Check),
    member("allowed", &[D], P::Bool, Cost::Call),
    member("reason", &[D], P::Str, Cost::Call),
    member("errored", &[D], P::Bool, Cost::Call),
    member("error", &[D], P::Str, Cost::Call),
    // Optionals.
    global("optional.of", &[P::A], P::OptA, Cost::Call),
    global("optional.ofNonZeroValue", &[P::A], P::OptA, Cost::Call),
    global("optional.none", &[], P::OptA, Cost::Call),
    member("hasValue", &[P::OptA], P::Bool, Cost::Call),
    member("value", &[P::OptA], P::A, Cost::Call),
    member("or", &[P::OptA, P::OptA], P::OptA, Cost::Call),
    member("orValue", &[P::OptA, P::A], P::A, Cost::Call),
];

impl P {
    /// Whether an argument may stand for the parameter; `a` is what the signature's variable is so far.
    pub(crate) fn takes(self, argument: &Type, a: &mut Option<Type>) -> bool {
        let bind = |found: &Type, a: &mut Option<Type>| match a {
            Some(known) if !known.fits(found) => false,
            Some(known) => {
                *known = known.join(found);
                true
            }
            None => {
                *a = Some(found.clone());
                true
            }
        };
        match (self, argument) {
            (Self::A, found) => bind(found, a),
            (_, Type::Dyn)
            | (Self::Dyn, _)
            | (Self::MapAny, Type::Map(_))
            | (Self::OptListStr | Self::OptFormat, Type::Optional(_)) => true,
            (Self::ListA, Type::List(item)) => bind(item, a),
            (Self::ListStr, Type::List(item)) => item.fits(&Type::Str),
            (Self::OptA, Type::Optional(value)) => bind(value, a),
            (own, found) => own.plain().is_some_and(|own| {
                std::mem::discriminant(&own) == std::mem::discriminant(found) && own.fits(found)
            }),
        }
    }

    /// The type, for those that are one.
    fn plain(self) -> Option<Type> {
        Some(match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Uint => Type::Uint,
            Self::Double => Type::Double,
            Self::Str => Type::Str,
            Self::Bytes => Type::Bytes,
            Self::Duration => Type::Duration,
            Self::Timestamp => Type::Timestamp,
            Self::Named(name) => Type::Named(name),
            Self::Type => Type::Type,
            _ => return None,
        })
    }

    /// The type of a result, given what the variable is.
    pub(crate) fn result(self, a: Option<&Type>) -> Type {
        let a = || a.cloned().unwrap_or_default();
        match self {
            Self::A => a(),
            Self::ListA => Type::list(a()),
            Self::ListStr => Type::list(Type::Str),
            Self::MapAny => Type::map(Type::Dyn, Type::Dyn),
            Self::OptA => Type::optional(a()),
            Self::OptListStr => Type::optional(Type::list(Type::Str)),
            Self::OptFormat => Type::optional(Type::Named(FORMAT)),
            other => other.plain().unwrap_or_default(),
        }
    }
}
