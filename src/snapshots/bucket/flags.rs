//! How a bucket is reached, and who asks: flags, a file with credentials, the environment. Credentials are no flags: a command line is
//! seen by everybody on the machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rusty_s3::Credentials;
use url::Url;

use crate::config::variable;
use crate::refusal::refuse;

/// The bucket's server, and who asks.
#[derive(Clone, Debug, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of flags")]
pub(crate) struct BucketFlags {
    /// The URL of an S3-compatible server, for s3://BUCKET/PREFIX [default: Amazon's of the region].
    #[arg(long, value_name = "URL", help_heading = "Buckets")]
    pub(crate) s3_endpoint: Option<String>,
    /// The bucket's region.
    #[arg(long, value_name = "REGION", default_value = "us-east-1", help_heading = "Buckets")]
    pub(crate) s3_region: String,
    /// A file with aws_access_key_id and aws_secret_access_key, as Amazon's tools have it; its section [default] counts, and only
    /// its owner may read it. Without it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment count.
    #[arg(long, value_name = "FILE", help_heading = "Buckets")]
    pub(crate) s3_credentials_file: Option<PathBuf>,
    /// A file with authorities that the server's certificate may be of, besides those of the machine.
    #[arg(long, value_name = "FILE", help_heading = "Buckets")]
    pub(crate) s3_ca_file: Option<PathBuf>,
}

/// Who asks, and where that is known from.
pub(super) struct Asker {
    /// The keys.
    pub(super) credentials: Credentials,
    /// In words.
    pub(super) source: String,
}

impl BucketFlags {
    /// The server's URL, and whether it is Amazon's.
    ///
    /// # Errors
    /// A refusal: it is no URL.
    pub(super) fn endpoint(&self) -> anyhow::Result<(Url, bool)> {
        let is_region = |region: &str| {
            !region.is_empty() && region.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        };
        if !is_region(&self.s3_region) {
            return Err(refuse(format!(
                "--s3-region {:?} is no region: give one such as eu-central-1",
                self.s3_region
            )));
        }
        let own = format!("https://s3.{}.amazonaws.com", self.s3_region);
        let text = self.s3_endpoint.as_deref().unwrap_or(&own);
        let refused = |why: &str| {
            refuse(format!("--s3-endpoint {text:?} {why}: give one such as https://s3.example.com"))
        };
        let url = Url::parse(text).map_err(|_no_url| refused("is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refused("is no URL of an HTTP server"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("--s3-endpoint must hold no password: use --s3-credentials-file"));
        }
        Ok((url, self.s3_endpoint.is_none()))
    }

    /// Who asks.
    ///
    /// # Errors
    /// A refusal: a file that cannot be used, or no credentials at all.
    pub(super) fn asker(&self) -> anyhow::Result<Asker> {
        if let Some(file) = &self.s3_credentials_file {
            let source = file.display().to_string();
            let refused = |why: String| refuse(format!("--s3-credentials-file {source}: {why}"));
            let credentials = read(file).map_err(refused)?;
            return Ok(Asker { credentials, source });
        }
        let (key, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
        let (Some(key), Some(secret)) = (key, secret) else {
            return Err(refuse(
                "no credentials for the bucket: give --s3-credentials-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
            ));
        };
        let credentials = made(key, secret, variable("AWS_SESSION_TOKEN"));
        Ok(Asker { credentials, source: "the environment (AWS_ACCESS_KEY_ID)".to_owned() })
    }
}

fn made(key: String, secret: String, token: Option<String>) -> Credentials {
    match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    }
}

fn read(file: &Path) -> Result<Credentials, String> {
    let mode = std::fs::metadata(file).map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {:o}): run `chmod 600` on it", mode & 0o777));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    parse(&text)
}

/// The section `[default]`, or lines before any section.
fn parse(text: &str) -> Result<Credentials, String> {
    let (mut key, mut secret, mut token) = (None, None, None);
    let mut counts = true;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            counts = section.trim_end_matches(']').trim() == "default";
        } else if let (true, Some((name, value))) = (counts, line.split_once('=')) {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim() {
                "aws_access_key_id" => key = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    match (key, secret) {
        (Some(key), Some(secret)) => Ok(made(key, secret, token)),
        (None, _) => Err("it has no line aws_access_key_id = … in its section [default]".to_owned()),
        (_, None) => Err("it has no line aws_secret_access_key = … in its section [default]".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(endpoint: &str, region: &str) -> BucketFlags {
        BucketFlags {
            s3_endpoint: (!endpoint.is_empty()).then(|| endpoint.to_owned()),
            s3_region: region.to_owned(),
            s3_credentials_file: None,
            s3_ca_file: None,
        }
    }

    #[test]
    fn the_default_section_of_a_credentials_file_counts() {
        let found = parse(
            "[other]\naws_access_key_id = x\n[default]\naws_access_key_id = A\naws_secret_access_key=B\n",
        )
        .unwrap();
        assert_eq!((found.key(), found.secret(), found.token()), ("A", "B", None));
        let bare = parse("aws_access_key_id=A\naws_secret_access_key = B=\naws_session_token = T\n").unwrap();
        assert_eq!((bare.secret(), bare.token()), ("B=", Some("T")));
        assert!(parse("[other]\naws_access_key_id = x\n").unwrap_err().contains("no line aws_access_key_id"));
        assert!(parse("aws_access_key_id = x\n").unwrap_err().contains("aws_secret_access_key"));
    }

    #[test]
    fn a_credentials_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "aws_access_key_id=A\naws_secret_access_key=B\n").unwrap();
        read(file.path()).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(file.path()).unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_password() {
        assert_eq!(
            flags("", "eu-west-1").endpoint().unwrap().0.as_str(),
            "https://s3.eu-west-1.amazonaws.com/"
        );
        assert!(!flags("http://192.0.2.1:9000", "x").endpoint().unwrap().1);
        for (endpoint, region) in
            [("ftp://a", "x"), ("a b", "x"), ("https://u:p@a", "x"), ("https://a", "a/b"), ("", "")]
        {
            assert!(flags(endpoint, region).endpoint().is_err(), "{endpoint} {region}");
        }
    }
}
