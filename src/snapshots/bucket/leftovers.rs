//! Uploads that were begun and never ended, because whoever sent them was killed: found by name or by age, and given up.

use http::Method;
use rusty_s3::S3Action as _;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::client::{Bucket, Call, SIGNED_FOR};
use crate::snapshots::shelf::END;

/// No snapshot is sent for so long.
const AGE_MAX: Duration = Duration::DAY;

/// An upload that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unfinished {
    key: String,
    id: String,
    /// When it was begun, where the bucket tells.
    begun: Option<OffsetDateTime>,
}

impl Bucket {
    /// Gives up the unfinished uploads right under the prefix whose names are `ours`, where nobody may be at one of them, and those of other
    /// snapshots that are too old at `now` to be under way; tells their names. Of very many, the next call does the rest.
    ///
    /// # Errors
    /// A line that says why not: the key may lack the right to list uploads.
    pub(in crate::snapshots) async fn give_up_unfinished(
        &self,
        ours: impl Fn(&str) -> bool,
        now: OffsetDateTime,
    ) -> anyhow::Result<Vec<String>> {
        let prefix = self.place.key_of("");
        let doing = format!("looking for unfinished uploads to {}", self.place);
        let sign = || {
            // The bucket itself, read with a question that is no object's.
            let mut list = self.api.get_object(Some(&self.credentials), "");
            list.query_mut().insert("prefix", prefix.as_str());
            list.query_mut().insert("uploads", "");
            list.sign(SIGNED_FOR)
        };
        let text = self.text(Call::new(doing, Method::GET, &sign)).await?;
        let mut given_up = Vec::new();
        for Unfinished { key, id, begun } in unfinished(&text) {
            let left = |name: &&str| ours(name) || is_too_old(name, begun, now);
            let Some(name) = key.strip_prefix(&prefix).filter(left) else { continue };
            let sign =
                || self.api.abort_multipart_upload(Some(&self.credentials), &key, &id).sign(SIGNED_FOR);
            let doing = format!("giving up {}", self.shown(name));
            self.text(Call::new(doing, Method::DELETE, &sign)).await?;
            given_up.push(name.to_owned());
        }
        Ok(given_up)
    }
}

/// What a `ListMultipartUploadsResult` tells; nothing of what is none.
fn unfinished(text: &str) -> Vec<Unfinished> {
    let time = |text: String| OffsetDateTime::parse(&text, &Rfc3339).ok();
    let upload = |block: &str| {
        let begun = element(block, "Initiated").and_then(time);
        Some(Unfinished { key: element(block, "Key")?, id: element(block, "UploadId")?, begun })
    };
    text.split("<Upload>").skip(1).filter_map(upload).collect()
}

/// Whether a name is that of a snapshot right under the prefix, which has been sent for longer than any takes.
fn is_too_old(name: &str, begun: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    !name.contains('/') && name.ends_with(END) && begun.is_some_and(|begun| now - begun > AGE_MAX)
}

/// The text of the first element of a name, with the five entities of XML in it.
fn element(block: &str, name: &str) -> Option<String> {
    let (_, rest) = block.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(text.replace("&#34;", "\"").replace("&#39;", "'").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn uploads_are_read_out_of_an_answer_and_nothing_out_of_anything_else() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"x\"><Bucket>b</Bucket>\
            <Prefix>a/m1/</Prefix><UploadIdMarker></UploadIdMarker><IsTruncated>false</IsTruncated>\
            <Upload><Key>a/m1/one</Key><UploadId>u&amp;1</UploadId><Initiated>2026-11-27T04:30:00.000Z</Initiated></Upload>\
            <Upload><UploadId>u2</UploadId><Key>a/m1/two &lt;</Key></Upload></ListMultipartUploadsResult>";
        let one = Unfinished {
            key: "a/m1/one".into(),
            id: "u&1".into(),
            begun: Some(datetime!(2026-11-27 04:30 UTC)),
        };
        let two = Unfinished { key: "a/m1/two <".into(), id: "u2".into(), begun: None };
        assert_eq!(unfinished(text), [one, two]);
        for other in ["", "<Upload>", "<Upload><Key>a</Key>", "<html>no</html>", "{}"] {
            assert_eq!(unfinished(other), [], "{other}");
        }
    }

    #[test]
    fn only_snapshots_right_here_that_nobody_can_be_sending_any_more_are_too_old() {
        let now = datetime!(2026-11-28 05:00 UTC);
        let old = Some(datetime!(2026-11-27 04:30 UTC));
        assert!(is_too_old("by-hand.snapshot", old, now));
        assert!(!is_too_old("by-hand.snapshot", Some(datetime!(2026-11-27 05:30 UTC)), now));
        assert!(!is_too_old("by-hand.snapshot", None, now));
        assert!(!is_too_old("m1/by-hand.snapshot", old, now), "another folder's");
        assert!(!is_too_old("a-film.mkv", old, now), "no snapshot");
    }
}
