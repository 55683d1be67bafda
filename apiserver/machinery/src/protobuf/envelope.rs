//! The envelope: four magic bytes and a `runtime.Unknown` that names the type.

use super::wire::{Reader, close, open, put_bytes};
use crate::json::DecodeError;
use mainstay_proto_api::Gvk;

/// What every protobuf body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The media type of enveloped protobuf.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// An opened envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// The content's `apiVersion`.
    pub api_version: &'a str,
    /// The content's `kind`.
    pub kind: &'a str,
    /// The content: the object's message.
    pub raw: &'a [u8],
}

/// Puts an object's message into an envelope.
pub fn wrap(gvk: &Gvk, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    wrap_into(&gvk.api_version(), &gvk.kind, raw, &mut out);
    out
}

/// Appends an envelope around an object's message.
pub fn wrap_into(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
    begin(api_version, kind, out);
    put_bytes(2, raw, out);
    end(out);
}

/// The part before the content.
pub(super) fn begin(api_version: &str, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    let start = open(1, out);
    put_bytes(1, api_version.as_bytes(), out);
    put_bytes(2, kind.as_bytes(), out);
    close(start, out);
}

/// The part after the content: empty encoding and type, as upstream writes them.
pub(super) fn end(out: &mut Vec<u8>) {
    put_bytes(3, b"", out);
    put_bytes(4, b"", out);
}

/// Whether bytes begin as an envelope does.
pub fn is_enveloped(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Opens an envelope.
pub fn unwrap(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(body) = bytes.strip_prefix(MAGIC) else {
        return Err(DecodeError::Syntax(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .to_owned(),
        ));
    };
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(body);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                let mut names = Reader::new(wire.bytes()?);
                while let Some((number, wire)) = names.field()? {
                    match number {
                        1 => envelope.api_version = wire.text()?,
                        2 => envelope.kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = wire.bytes()?,
            3 | 4 => {
                let (what, text) = (if number == 3 { "encoding" } else { "type" }, wire.text()?);
                if !matches!(text, "" | CONTENT_TYPE) {
                    return Err(DecodeError::Syntax(format!("content {what} {text:?} is not read here")));
                }
            }
            _ => {}
        }
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_upstreams_to_the_byte() {
        let bytes = wrap(&Gvk::new("", "v1", "Pod"), b"\x0a\x00");
        assert_eq!(bytes, b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\x00\x1a\x00\x22\x00");
        let envelope = unwrap(&bytes).unwrap();
        assert_eq!(
            (envelope.api_version, envelope.kind, envelope.raw),
            ("v1", "Pod", b"\x0a\x00".as_slice())
        );
    }

    #[test]
    fn a_wrong_magic_is_refused() {
        assert!(unwrap(b"{}").is_err() && unwrap(b"k8s\x01").is_err() && unwrap(b"").is_err());
        assert!(unwrap(b"k8s\0\x12\xff\xff\xff\xff\x0f").is_err());
    }
}
