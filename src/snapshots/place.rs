//! Where snapshots are: a path, or `s3://BUCKET[/KEY]`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::refusal::refuse;

const SCHEME: &str = "s3://";

/// A file, a directory, an object or all objects under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Path(PathBuf),
    /// In a bucket.
    Bucket(InBucket),
}

/// A key or a prefix of keys, in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InBucket {
    /// The bucket's name.
    pub(super) bucket: String,
    /// Segments with `/` between them; empty for all of the bucket.
    pub(super) key: String,
}

impl Place {
    /// What a flag or an argument says.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return match text.split_once("://") {
                Some((scheme, _)) => {
                    Err(format!("{scheme}:// is no place for snapshots: give a path or s3://BUCKET/PREFIX"))
                }
                None if text.is_empty() => Err("it is empty: give a path or s3://BUCKET/PREFIX".to_owned()),
                None => Ok(Self::Path(PathBuf::from(text))),
            };
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket_name(bucket) {
            return Err(format!(
                "{bucket:?} is no name of a bucket: 3 to 63 lower case letters, digits, '-' and '.'"
            ));
        }
        let key = key.trim_end_matches('/');
        let is_odd =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(char::is_control);
        if key.len() > 900 || (!key.is_empty() && key.split('/').any(is_odd)) {
            return Err(format!("{key:?} is no key of an object: name its parts with one '/' between them"));
        }
        Ok(Self::Bucket(InBucket { bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    /// The folder and the name in it.
    ///
    /// # Errors
    /// It has no name.
    pub(super) fn split(&self) -> anyhow::Result<(Self, String)> {
        match self {
            Self::Path(path) => {
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| refuse(format!("{self} names no file")))?;
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Ok((Self::Path(folder.unwrap_or_else(|| Path::new(".")).to_owned()), name.to_owned()))
            }
            Self::Bucket(InBucket { bucket, key }) => {
                if key.is_empty() {
                    return Err(refuse(format!(
                        "{self} names no object: give one, such as {self}/cluster.snapshot"
                    )));
                }
                let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
                Ok((
                    Self::Bucket(InBucket { bucket: bucket.clone(), key: folder.to_owned() }),
                    name.to_owned(),
                ))
            }
        }
    }

    /// A folder in it.
    pub(super) fn join(&self, name: &str) -> Self {
        match self {
            Self::Path(path) => Self::Path(path.join(name)),
            Self::Bucket(place) => {
                Self::Bucket(InBucket { bucket: place.bucket.clone(), key: place.key_of(name) })
            }
        }
    }
}

impl InBucket {
    /// The key of a name under this prefix.
    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(to, "{}", path.display()),
            Self::Bucket(place) => write!(to, "{place}"),
        }
    }
}

impl fmt::Display for InBucket {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(to, "{SCHEME}{}", self.bucket),
            key => write!(to, "{SCHEME}{}/{key}", self.bucket),
        }
    }
}

fn is_bucket_name(name: &str) -> bool {
    let is_edge = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|letter| is_edge(letter) || letter == '-' || letter == '.')
        && name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_paths_or_buckets_and_come_back_as_text() {
        for text in ["/backup", "relative/dir", "s3://backup", "s3://backup/clusters/a"] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Place::parse("s3://backup/a/").unwrap().to_string(), "s3://backup/a");
        for text in [
            "",
            "s3://",
            "s3://UPPER",
            "s3://ab",
            "s3://a_b",
            "s3://backup//a",
            "s3://backup/../a",
            "https://backup/a",
        ] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_is_split_into_folder_and_name() {
        let split = |text: &str| {
            let (folder, name) = Place::parse(text).unwrap().split().unwrap();
            (folder.to_string(), name)
        };
        assert_eq!(split("s3://backup/a/b.snapshot"), ("s3://backup/a".to_owned(), "b.snapshot".to_owned()));
        assert_eq!(split("s3://backup/b"), ("s3://backup".to_owned(), "b".to_owned()));
        assert_eq!(split("b"), (".".to_owned(), "b".to_owned()));
        assert!(Place::parse("s3://backup").unwrap().split().is_err());
        assert_eq!(Place::parse("s3://backup/a").unwrap().join("m1").to_string(), "s3://backup/a/m1");
    }
}
