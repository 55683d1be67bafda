//! Store keys of objects, laid out as upstream lays out etcd: `/registry/<prefix>/[<namespace>/]<name>`. Pure.

use bytes::Bytes;
use mainstay_apiserver_machinery::kind::Kind;

/// The root of all objects.
pub const ROOT: &str = "/registry/";

/// A name or namespace that cannot be part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The kind is not stored.
    #[error("{0} is not stored")]
    NotStored(&'static str),
    /// Empty, `.`, `..`, or with a slash or percent sign.
    #[error("{0:?} is not a path segment")]
    Segment(String),
}

/// The key of one object.
///
/// # Errors
/// [`KeyError`] when a part could leave the kind's prefix.
pub fn object_key(kind: &Kind, namespace: &str, name: &str) -> Result<Bytes, KeyError> {
    let prefix = kind.storage.as_ref().ok_or(KeyError::NotStored(kind.kind))?.prefix;
    let mut key = format!("{ROOT}{prefix}/");
    if kind.namespaced {
        key.push_str(checked(namespace)?);
        key.push('/');
    }
    key.push_str(checked(name)?);
    Ok(Bytes::from(key))
}

/// The prefix of all objects of a kind, or of those in one namespace; it ends with a slash.
///
/// # Errors
/// [`KeyError`] when the namespace could leave the kind's prefix.
pub fn resource_prefix(kind: &Kind, namespace: &str) -> Result<String, KeyError> {
    let prefix = kind.storage.as_ref().ok_or(KeyError::NotStored(kind.kind))?.prefix;
    if namespace.is_empty() || !kind.namespaced {
        return Ok(format!("{ROOT}{prefix}/"));
    }
    Ok(format!("{ROOT}{prefix}/{}/", checked(namespace)?))
}

/// Namespace and name out of what follows the prefix in a key.
pub fn object_name<'a>(kind: &Kind, rest: &'a str) -> Option<(&'a str, &'a str)> {
    if kind.namespaced { rest.split_once('/') } else { Some(("", rest)) }
}

fn checked(segment: &str) -> Result<&str, KeyError> {
    if segment.is_empty() || segment == "." || segment == ".." || segment.contains(['/', '%', '\0']) {
        return Err(KeyError::Segment(segment.to_owned()));
    }
    Ok(segment)
}
