//! Content negotiation: what the client accepts, against what the server can write. Pure.

use mainstay_proto_api::Status;

use crate::request::Query;

/// A format the server reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Media {
    /// All, in the order error texts name them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The format of a request body. No header means JSON, as upstream has it.
    ///
    /// # Errors
    /// 415 for other types, and for character sets other than UTF-8.
    pub fn of_body(content_type: Option<&str>) -> Result<Self, Status> {
        let refused = || Status::unsupported_media_type(&Self::ALL.map(Self::content_type));
        let Some(header) = content_type.filter(|h| !h.trim().is_empty()) else { return Ok(Self::Json) };
        let mut parts = header.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let utf8 = parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        });
        let media = Self::ALL.into_iter().find(|m| m.content_type().eq_ignore_ascii_case(essence));
        media.filter(|_| utf8).ok_or_else(refused)
    }
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum View {
    /// As they are.
    #[default]
    Object,
    /// As `PartialObjectMetadata`.
    Metadata,
    /// As rows of a `Table`.
    Table(IncludeObject),
}

/// What of the object a table row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// What the answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The format.
    pub media: Media,
    /// The view.
    pub view: View,
    /// Whether JSON is indented.
    pub pretty: bool,
}

/// What the endpoint can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    /// Tables and metadata-only views.
    pub views: bool,
    /// A custom resource, which has no protobuf form; its metadata has.
    pub custom: bool,
    /// What the answer holds.
    pub holds: Holds,
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// One object.
    One,
    /// A list, whose metadata alone is a list too.
    List,
    /// A stream of events: no YAML.
    Events,
}

impl Allow {
    /// One object.
    pub const OBJECTS: Self = Self { views: true, custom: false, holds: Holds::One };
    /// A list.
    pub const LIST: Self = Self { holds: Holds::List, ..Self::OBJECTS };
    /// Only the object itself: reviews, statuses.
    pub const PLAIN: Self = Self { views: false, ..Self::OBJECTS };
    /// A watch.
    pub const WATCH: Self = Self { holds: Holds::Events, ..Self::OBJECTS };
}

/// Accept headers have fewer clauses than this; the rest is ignored.
const CLAUSES_MAX: usize = 50;

/// Chooses the answer's form by the `Accept` header.
///
/// # Errors
/// 406 when nothing fits; 400 for a bad `includeObject`.
pub fn accept(header: Option<&str>, query: &Query, allow: Allow) -> Result<Accepted, Status> {
    let pretty = query.is_true("pretty");
    let header = header.filter(|h| !h.trim().is_empty()).unwrap_or("*/*");
    let mut clauses: Vec<Clause<'_>> =
        header.split(',').take(CLAUSES_MAX).filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    for clause in &clauses {
        let Some(media) = clause.media(allow) else { continue };
        let Some(view) = clause.view(media, allow) else { continue };
        if allow.custom && media == Media::Protobuf && view == View::Object {
            continue;
        }
        let view = match view {
            View::Table(_) => View::Table(include_object(query)?),
            View::Metadata => {
                check_number(clause.wanted.unwrap_or_default(), allow.holds)?;
                View::Metadata
            }
            View::Object => View::Object,
        };
        return Ok(Accepted { media, view, pretty });
    }
    let offered = if allow.custom { &Media::ALL[..2] } else { &Media::ALL[..] };
    let offered: Vec<&str> = offered.iter().map(|media| media.content_type()).collect();
    Err(Status::not_acceptable(&offered))
}

/// The metadata of one object is no list, and that of a list is one.
fn check_number(wanted: &str, holds: Holds) -> Result<(), Status> {
    let why = match (wanted, holds) {
        ("PartialObjectMetadata", Holds::List) => "is a list",
        ("PartialObjectMetadataList", Holds::One) => "is not a list",
        _ => return Ok(()),
    };
    let message = format!("you requested {wanted}, but the requested object {why}");
    Err(Status::failure(406, "NotAcceptable", message))
}

fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    match query.get("includeObject").unwrap_or_default() {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "None" => Ok(IncludeObject::None),
        "Object" => Ok(IncludeObject::Object),
        other => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f64,
    wanted: Option<&'a str>,
    version: &'a str,
    group: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut clause = Clause { kind, subtype, quality: 1.0, wanted: None, version: "", group: "" };
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match name.trim() {
                "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
                "as" => clause.wanted = Some(value.trim()),
                "v" => clause.version = value.trim(),
                "g" => clause.group = value.trim(),
                _ => {}
            }
        }
        (clause.quality > 0.0).then_some(clause)
    }

    fn media(&self, allow: Allow) -> Option<Media> {
        let media = match (self.kind, self.subtype) {
            ("*" | "application", "*") | ("application", "json") => Media::Json,
            ("application", "yaml") => Media::Yaml,
            ("application", "vnd.kubernetes.protobuf") => Media::Protobuf,
            _ => return None,
        };
        (allow.holds != Holds::Events || media != Media::Yaml).then_some(media)
    }

    fn view(&self, media: Media, allow: Allow) -> Option<View> {
        let Some(wanted) = self.wanted else { return Some(View::Object) };
        if !allow.views || self.group != "meta.k8s.io" || !matches!(self.version, "v1" | "v1beta1") {
            return None;
        }
        match wanted {
            // A Table has no protobuf form.
            "Table" if media != Media::Protobuf => Some(View::Table(IncludeObject::default())),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(View::Metadata),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(header: &str) -> Result<(Media, View), u16> {
        accept(Some(header), &Query::default(), Allow::OBJECTS).map(|a| (a.media, a.view)).map_err(|s| s.code)
    }

    #[test]
    fn the_best_clause_that_can_be_served_wins() {
        let table = View::Table(IncludeObject::Metadata);
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let cases = [
            ("", Ok((Media::Json, View::Object))),
            ("*/*", Ok((Media::Json, View::Object))),
            (kubectl, Ok((Media::Json, table))),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/yaml",
                Ok((Media::Yaml, View::Object)),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Ok((Media::Protobuf, View::Metadata)),
            ),
            ("application/json;q=0.5,application/yaml;q=0.9", Ok((Media::Yaml, View::Object))),
            ("application/x-nonsense", Err(406)),
            ("application/json;as=Table;v=v7;g=meta.k8s.io", Err(406)),
        ];
        for (header, expected) in cases {
            assert_eq!(choose(header), expected, "{header}");
        }
    }

    #[test]
    fn a_watch_is_never_yaml() {
        assert_eq!(
            accept(Some("application/yaml"), &Query::default(), Allow::WATCH).map_err(|s| s.code),
            Err(406)
        );
    }

    #[test]
    fn bodies_are_utf8_in_a_known_format() {
        assert_eq!(Media::of_body(Some("application/json; charset=UTF-8")), Ok(Media::Json));
        assert_eq!(Media::of_body(None), Ok(Media::Json));
        assert_eq!(Media::of_body(Some("text/xml")).map_err(|s| s.code), Err(415));
        assert_eq!(Media::of_body(Some("application/json; charset=utf-16")).map_err(|s| s.code), Err(415));
    }
}
