//! An object is uploaded while it is made: in parts, each with its sum, so that memory holds one part, whatever the size.
//!
//! It appears under its name once all of it is there. What is begun and fails is given up on the server too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt as _};
use http::header::{ETAG, HeaderName, HeaderValue};
use http::{Method, header};
use md5::{Digest as _, Md5};
use rusty_s3::S3Action;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use tokio_util::bytes::{Bytes, BytesMut};
use url::Url;

use super::client::{Bucket, Call, SIGNED_FOR};
use super::refusals::Refused;
use crate::refusal::refuse;

/// The size of a part: all but the last have it, as some servers want.
const PART_BYTES: usize = 16 << 20;
/// S3's own limit.
const PARTS_MAX: u16 = 10_000;
/// How long a part may take: less than 60 KiB a second is no way to save a cluster.
const PART_MAX: std::time::Duration = std::time::Duration::from_secs(300);
/// Checked by every server, of every part.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// An object in parts that is not whole yet.
struct Parts<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    shown: &'a str,
    id: String,
    etags: Vec<String>,
}

impl Bucket {
    /// Uploads what comes as one object.
    ///
    /// # Errors
    /// What came was an error; or a line that says why the server did not take it. There is no such object then.
    pub(in crate::snapshots) async fn put(
        &self,
        name: &str,
        pieces: impl Stream<Item = anyhow::Result<Bytes>>,
    ) -> anyhow::Result<()> {
        let (key, shown) = (self.place.key_of(name), self.shown(name));
        let mut pieces = std::pin::pin!(pieces);
        let mut parts: Option<Parts<'_>> = None;
        let sent = self.send(&key, &shown, pieces.as_mut(), &mut parts).await;
        match (sent, parts) {
            (Ok(()), Some(parts)) => parts.complete().await,
            (Err(error), Some(parts)) => {
                parts.abort().await;
                Err(error)
            }
            (sent, None) => sent,
        }
    }

    /// Sends all: at once if it is small, else in parts.
    async fn send<'a>(
        &'a self,
        key: &'a str,
        shown: &'a str,
        mut pieces: std::pin::Pin<&mut impl Stream<Item = anyhow::Result<Bytes>>>,
        parts: &mut Option<Parts<'a>>,
    ) -> anyhow::Result<()> {
        let mut buffer = BytesMut::with_capacity(PART_BYTES);
        while let Some(piece) = pieces.next().await {
            let mut piece = piece?;
            while !piece.is_empty() {
                let room = PART_BYTES - buffer.len();
                buffer.extend_from_slice(&piece.split_to(room.min(piece.len())));
                if buffer.len() == PART_BYTES {
                    if parts.is_none() {
                        *parts = Some(self.begin(key, shown).await?);
                    }
                    if let Some(parts) = parts {
                        // Freed when the server has it: the next part gets memory of its own.
                        parts.send(std::mem::take(&mut buffer).freeze()).await?;
                    }
                    buffer.reserve(PART_BYTES);
                }
            }
        }
        match parts {
            Some(_all_sent) if buffer.is_empty() => Ok(()),
            Some(parts) => parts.send(buffer.freeze()).await,
            None => {
                let body = buffer.freeze();
                let (sum, headers) = sum_of(&body)?;
                let sign = || with_sum(self.api.put_object(Some(&self.credentials), key), &sum);
                let call = Call {
                    headers,
                    body,
                    within: PART_MAX,
                    ..Call::new(format!("uploading {shown}"), Method::PUT, &sign)
                };
                self.text(call).await.map(drop)
            }
        }
    }

    async fn begin<'a>(&'a self, key: &'a str, shown: &'a str) -> anyhow::Result<Parts<'a>> {
        let doing = format!("uploading {shown}");
        let sign = || self.api.create_multipart_upload(Some(&self.credentials), key).sign(SIGNED_FOR);
        let text = self.text(Call::new(doing.clone(), Method::POST, &sign)).await?;
        let begun = CreateMultipartUpload::parse_response(&text)
            .map_err(|error| refuse(format!("{doing}: the server did not begin an upload: {error}")))?;
        Ok(Parts { bucket: self, key, shown, id: begun.upload_id().to_owned(), etags: Vec::new() })
    }
}

impl Parts<'_> {
    async fn send(&mut self, body: Bytes) -> anyhow::Result<()> {
        let doing = format!("uploading {}", self.shown);
        let number = u16::try_from(self.etags.len() + 1).ok().filter(|number| *number <= PARTS_MAX);
        let number = number.ok_or_else(|| {
            refuse(format!("{doing}: it is larger than {PARTS_MAX} parts of {} MiB", PART_BYTES >> 20))
        })?;
        let (sum, headers) = sum_of(&body)?;
        let Self { bucket, key, id, .. } = self;
        let sign = || with_sum(bucket.api.upload_part(Some(&bucket.credentials), key, number, id), &sum);
        let call = Call { headers, body, within: PART_MAX, ..Call::new(doing.clone(), Method::PUT, &sign) };
        let answer = bucket.call(&call).await?;
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        let etag =
            etag.ok_or_else(|| refuse(format!("{doing}: the server does not say what it got (no ETag)")))?;
        self.etags.push(etag.to_owned());
        Ok(())
    }

    /// Makes the object of its parts.
    async fn complete(self) -> anyhow::Result<()> {
        let doing = format!("uploading {}", self.shown);
        let Self { bucket, key, id, etags, .. } = &self;
        let action = || {
            bucket.api.complete_multipart_upload(
                Some(&bucket.credentials),
                key,
                id,
                etags.iter().map(String::as_str),
            )
        };
        let sign = || action().sign(SIGNED_FOR);
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))];
        let call = Call {
            headers,
            body: Bytes::from(action().body()),
            within: PART_MAX,
            ..Call::new(doing.clone(), Method::POST, &sign)
        };
        let completed = match bucket.text(call).await {
            // An answer that began well may yet say that it failed.
            Ok(text) if CompleteMultipartUploadResponse::parse(&text).is_ok() => return Ok(()),
            Ok(text) => Err(refuse(bucket.words(&Refused::new(200, &text, None, None), &doing))),
            Err(error) => Err(error),
        };
        self.abort().await;
        completed
    }

    /// Has the server forget the parts. Where it does not, they are its administrator's to remove.
    async fn abort(self) {
        let Self { bucket, key, id, shown, .. } = &self;
        let sign = || bucket.api.abort_multipart_upload(Some(&bucket.credentials), key, id).sign(SIGNED_FOR);
        if let Err(error) = bucket.text(Call::new(format!("giving up {shown}"), Method::DELETE, &sign)).await
        {
            tracing::warn!(error = format!("{error:#}"), "parts of an upload may be left in the bucket");
        }
    }
}

/// The sum of a body, and the header that tells it.
fn sum_of(body: &[u8]) -> anyhow::Result<(String, Vec<(HeaderName, HeaderValue)>)> {
    let sum = STANDARD.encode(Md5::digest(body));
    let value = HeaderValue::from_str(&sum)?;
    Ok((sum, vec![(CONTENT_MD5, value)]))
}

/// A signature that covers the sum.
fn with_sum<'a>(mut action: impl S3Action<'a>, sum: &'a str) -> Url {
    action.headers_mut().insert("content-md5", sum);
    action.sign(SIGNED_FOR)
}
