//! Uploads that were begun and never ended, because their server was killed: found by name, and given up.

use http::Method;
use rusty_s3::S3Action as _;

use super::client::{Bucket, Call, SIGNED_FOR};

/// An upload that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unfinished {
    key: String,
    id: String,
}

impl Bucket {
    /// Gives up the unfinished uploads right under the prefix whose names are `ours`, and tells those names. Nobody may be at one of them.
    /// Of very many, the next call does the rest.
    ///
    /// # Errors
    /// A line that says why not: the key may lack the right to list uploads.
    pub(in crate::snapshots) async fn give_up_unfinished(
        &self,
        ours: impl Fn(&str) -> bool,
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
        for Unfinished { key, id } in unfinished(&text) {
            let Some(name) = key.strip_prefix(&prefix).filter(|name| ours(name)) else { continue };
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
    let upload =
        |block: &str| Some(Unfinished { key: element(block, "Key")?, id: element(block, "UploadId")? });
    text.split("<Upload>").skip(1).filter_map(upload).collect()
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
    use super::*;

    #[test]
    fn uploads_are_read_out_of_an_answer_and_nothing_out_of_anything_else() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"x\"><Bucket>b</Bucket>\
            <Prefix>a/m1/</Prefix><UploadIdMarker></UploadIdMarker><IsTruncated>false</IsTruncated>\
            <Upload><Key>a/m1/one</Key><UploadId>u&amp;1</UploadId><Initiated>2026</Initiated></Upload>\
            <Upload><UploadId>u2</UploadId><Key>a/m1/two &lt;</Key></Upload></ListMultipartUploadsResult>";
        let one = Unfinished { key: "a/m1/one".into(), id: "u&1".into() };
        let two = Unfinished { key: "a/m1/two <".into(), id: "u2".into() };
        assert_eq!(unfinished(text), [one, two]);
        for other in ["", "<Upload>", "<Upload><Key>a</Key>", "<html>no</html>", "{}"] {
            assert_eq!(unfinished(other), [], "{other}");
        }
    }
}
