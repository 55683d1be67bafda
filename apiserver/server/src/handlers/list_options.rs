//! The options of lists and watches, read and checked as upstream does. Pure.

use mainstay_apiserver_machinery::continue_token::Continue;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_proto_api::Status;
use mainstay_store::Revision;

use crate::request::{Query, number_fault};

const WITH_CONTINUE: &str = "resourceVersionMatch is forbidden when continue is provided";

/// How exact a resource version is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionMatch {
    NotOlderThan,
    Exact,
}

/// Options of a list or watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    /// Objects in one page; 0 is all.
    pub(super) limit: usize,
    pub(super) token: Option<Continue>,
    /// `None` when absent; `Some(0)` is any.
    pub(super) version: Option<Revision>,
    pub(super) version_match: Option<VersionMatch>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) bookmarks: bool,
    pub(super) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the options of a list.
    pub(super) fn for_list(query: &Query) -> Result<Self, Status> {
        let token = query.non_empty("continue").map(Continue::decode).transpose()?;
        let options = Self { token, ..Self::read(query)? };
        let mut errors = ErrorList::new();
        options.check_match(query, &mut errors);
        if options.send_initial_events.is_some() {
            errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
        }
        errors.into_result("meta.k8s.io", "ListOptions", "")?;
        if options.token.is_some() && options.version.is_some_and(|v| v != Revision(0)) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(options)
    }

    /// Reads the options of a watch. One from any state on that says nothing of initial events has them, as upstream has it
    /// since it streams lists.
    pub(super) fn for_watch(query: &Query) -> Result<Self, Status> {
        let mut options = Self::read(query)?;
        let from_any = matches!(options.version, None | Some(Revision(0)));
        let silent =
            options.send_initial_events.is_none() && query.non_empty("resourceVersionMatch").is_none();
        if silent && from_any {
            options.send_initial_events = Some(true);
            if query.non_empty("continue").is_some() {
                let mut errors = ErrorList::new();
                errors.forbidden(&Path::new("resourceVersionMatch"), WITH_CONTINUE);
                errors.into_result("meta.k8s.io", "ListOptions", "")?;
            }
            return Ok(options);
        }
        let mut errors = ErrorList::new();
        options.check_watch(query, &mut errors);
        errors.into_result("meta.k8s.io", "ListOptions", "")?;
        Ok(options)
    }

    fn read(query: &Query) -> Result<Self, Status> {
        let version_match = match query.get("resourceVersionMatch").unwrap_or_default() {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        };
        Ok(Self {
            limit: usize::try_from(query.integer("limit")?.unwrap_or(0)).unwrap_or(0),
            token: None,
            version: query.non_empty("resourceVersion").map(resource_version).transpose()?,
            version_match,
            timeout_seconds: query
                .integer("timeoutSeconds")?
                .and_then(|s| u64::try_from(s).ok())
                .filter(|s| *s > 0),
            bookmarks: query.is_true("allowWatchBookmarks"),
            send_initial_events: query
                .non_empty("sendInitialEvents")
                .map(|_| query.is_true("sendInitialEvents")),
        })
    }

    fn check_match(&self, query: &Query, errors: &mut ErrorList) {
        let path = Path::new("resourceVersionMatch");
        let text = query.get("resourceVersionMatch").unwrap_or_default();
        if text.is_empty() {
            return;
        }
        if self.version.is_none() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if self.token.is_some() {
            errors.forbidden(&path, WITH_CONTINUE);
        }
        if self.version_match.is_none() {
            errors.not_supported(&path, text, &["Exact", "NotOlderThan", ""]);
        }
        if self.version_match == Some(VersionMatch::Exact) && self.version == Some(Revision(0)) {
            errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }

    fn check_watch(&self, query: &Query, errors: &mut ErrorList) {
        let path = Path::new("resourceVersionMatch");
        let text = query.get("resourceVersionMatch").unwrap_or_default();
        if self.send_initial_events.is_some() && text != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.forbidden(&path, why);
        }
        if text.is_empty() {
            return;
        }
        if self.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.forbidden(&path, why);
        }
        if text != "NotOlderThan" {
            errors.not_supported(&path, text, &["NotOlderThan"]);
        }
        if query.non_empty("continue").is_some() {
            errors.forbidden(&path, WITH_CONTINUE);
        }
    }
}

/// A resource version of a query.
///
/// # Errors
/// 400 for what is no number.
pub(super) fn resource_version(text: &str) -> Result<Revision, Status> {
    let value: u64 = text.parse().map_err(|error| {
        let why = number_fault("ParseUint", text, &error);
        Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })?;
    Ok(Revision(i64::try_from(value).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<ListOptions, Status>) -> u16 {
        result.map_or_else(|status| status.code, |_| 200)
    }

    #[test]
    fn list_options_are_checked_as_upstream_does() {
        let table = [
            ("limit=500", 200),
            ("limit=-1&timeoutSeconds=-5", 200),
            ("limit=9223372036854775808", 400),
            ("resourceVersion=abc", 400),
            ("resourceVersion=-1", 400),
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=5&resourceVersionMatch=Nearly", 422),
            ("resourceVersion=5&resourceVersionMatch=Exact", 200),
            ("sendInitialEvents=true", 422),
            ("continue=garbage", 400),
        ];
        for (query, expected) in table {
            assert_eq!(code(ListOptions::for_list(&Query::parse(query))), expected, "{query}");
        }
    }

    #[test]
    fn watches_from_any_state_begin_with_it() {
        for (query, initial) in [
            ("", Some(true)),
            ("resourceVersion=0", Some(true)),
            ("resourceVersion=7", None),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", Some(false)),
        ] {
            let options = ListOptions::for_watch(&Query::parse(query)).unwrap();
            assert_eq!(options.send_initial_events, initial, "{query}");
        }
    }

    #[test]
    fn initial_events_need_a_match_rule() {
        let table = [
            ("sendInitialEvents=true", 422),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 200),
            ("sendInitialEvents=true&resourceVersionMatch=Exact", 422),
            ("resourceVersionMatch=NotOlderThan", 422),
            ("resourceVersion=7&allowWatchBookmarks=true", 200),
            ("resourceVersion=7&continue=any", 200),
            ("resourceVersion=0&continue=any", 422),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=any", 422),
        ];
        for (query, expected) in table {
            assert_eq!(code(ListOptions::for_watch(&Query::parse(query))), expected, "{query}");
        }
    }
}
