//! What a bucket's server answers when it does not do it, in a line that says what to do. Without IO.

/// Beyond this a difference of clocks is what is wrong: Amazon's limit is 15 minutes.
const SKEW_SECONDS_MAX: i64 = 240;

/// An answer that is no success.
pub(super) struct Refused {
    /// HTTP's status code.
    pub(super) status: u16,
    /// S3's code, such as `NoSuchBucket`; empty where the server sent none.
    pub(super) code: String,
    /// S3's message.
    pub(super) message: String,
    /// The region that the server names.
    pub(super) region: Option<String>,
    /// By how many seconds this machine's clock is ahead of the server's.
    pub(super) ahead: Option<i64>,
}

/// What was asked for.
pub(super) struct Subject<'a> {
    /// Such as `uploading s3://b/k`.
    pub(super) doing: &'a str,
    /// The bucket.
    pub(super) bucket: &'a str,
    /// The server's URL.
    pub(super) endpoint: &'a str,
    /// Where the credentials are from.
    pub(super) source: &'a str,
}

impl Refused {
    /// An answer's body is XML, or it is not S3 that answered.
    pub(super) fn new(status: u16, body: &str, region: Option<String>, ahead: Option<i64>) -> Self {
        let region = region.or_else(|| tag(body, "Region"));
        let (code, message) =
            (tag(body, "Code").unwrap_or_default(), tag(body, "Message").unwrap_or_default());
        Self { status, code, message, region, ahead }
    }

    /// Whether to try again: the server is busy or has trouble.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504)
    }

    /// In one line.
    pub(super) fn words(&self, subject: &Subject<'_>) -> String {
        let Subject { doing, bucket, endpoint, source } = subject;
        let why = match self.code.as_str() {
            _ if self.status == 403 && self.is_the_clock() => self.clock(endpoint),
            "RequestTimeTooSkewed" | "RequestNotReadyYet" | "ExpiredPresignRequest" => self.clock(endpoint),
            "NoSuchBucket" => format!(
                "there is no bucket {bucket} at {endpoint}: make it, or correct its name or --s3-endpoint"
            ),
            "NoSuchKey" => "there is no such object: see `mainstay snapshot list`".to_owned(),
            "NoSuchUpload" => "the server dropped the parts that were sent: try again".to_owned(),
            "InvalidAccessKeyId" => {
                format!("{endpoint} does not know the access key of {source}: correct it")
            }
            "SignatureDoesNotMatch" => {
                format!("{endpoint} does not accept the secret key of {source}: correct it")
            }
            "ExpiredToken" | "InvalidToken" => {
                format!("the session token of {source} does not count any more: get a new one")
            }
            "AccessDenied" | "AllAccessDisabled" => format!(
                "{endpoint} does not allow this to the key of {source}: give it the right to list, read, write and delete in bucket {bucket}"
            ),
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException" => self.elsewhere(bucket),
            "BadDigest" | "InvalidDigest" => "what arrived is not what was sent: try again".to_owned(),
            _ if matches!(self.status, 301 | 307) => self.elsewhere(bucket),
            "" => format!(
                "{endpoint} answers HTTP {}, and not as S3 does: is --s3-endpoint right?",
                self.status
            ),
            code => format!("{endpoint} answers {code}: {}", self.message),
        };
        format!("{doing}: {why}")
    }

    fn is_the_clock(&self) -> bool {
        self.ahead.is_some_and(|ahead| ahead.abs() > SKEW_SECONDS_MAX)
    }

    fn clock(&self, endpoint: &str) -> String {
        let by = match self.ahead {
            Some(ahead) if ahead > 0 => format!("{ahead} s ahead of"),
            Some(ahead) => format!("{} s behind", -ahead),
            None => "too far from".to_owned(),
        };
        format!("this machine's clock is {by} that of {endpoint}: set it, and follow a time server (NTP)")
    }

    fn elsewhere(&self, bucket: &str) -> String {
        match &self.region {
            Some(region) => format!("bucket {bucket} is in the region {region}: give --s3-region {region}"),
            None => format!("bucket {bucket} is in another region: give its --s3-region ({})", self.message),
        }
    }
}

/// The text of the first element of a name. The bodies that this is for are short and flat.
fn tag(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    Some(text.replace("&amp;", "&").replace(char::is_control, " ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str, ahead: i64) -> String {
        let subject = Subject {
            doing: "listing s3://backup/a",
            bucket: "backup",
            endpoint: "http://192.0.2.1:9000",
            source: "/etc/keys",
        };
        Refused::new(status, body, None, Some(ahead)).words(&subject)
    }

    fn error(code: &str) -> String {
        format!(
            "<?xml?><Error><Code>{code}</Code><Message>It &amp; that</Message><Region>eu-west-1</Region></Error>"
        )
    }

    #[test]
    fn each_refusal_is_a_line_that_says_what_to_do() {
        let cases = [
            (404, error("NoSuchBucket"), 0, "there is no bucket backup at http://192.0.2.1:9000: make it"),
            (403, error("InvalidAccessKeyId"), 0, "does not know the access key of /etc/keys"),
            (403, error("SignatureDoesNotMatch"), 0, "does not accept the secret key of /etc/keys"),
            (403, error("AccessDenied"), 3600, "this machine's clock is 3600 s ahead of that of http"),
            (403, error("RequestTimeTooSkewed"), -3600, "this machine's clock is 3600 s behind that of http"),
            (
                403,
                error("AccessDenied"),
                1,
                "give it the right to list, read, write and delete in bucket backup",
            ),
            (
                301,
                error("PermanentRedirect"),
                0,
                "bucket backup is in the region eu-west-1: give --s3-region eu-west-1",
            ),
            (400, error("Odd"), 0, "answers Odd: It & that"),
            (404, "<html>not here</html>".to_owned(), 0, "answers HTTP 404, and not as S3 does"),
        ];
        for (status, body, ahead, words) in cases {
            let said = said(status, &body, ahead);
            assert!(said.starts_with("listing s3://backup/a: ") && said.contains(words), "{said}");
        }
    }
}
