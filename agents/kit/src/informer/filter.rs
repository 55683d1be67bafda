//! Which objects of a kind an informer holds.

use kube::api::{ListParams, WatchParams};

/// Label and field restrictions of one informer; the default holds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// A label selector in its string form.
    pub labels: Option<String>,
    /// A field selector in its string form.
    pub fields: Option<String>,
}

impl Filter {
    /// Objects that match this field selector, for example `spec.nodeName=n1`.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { fields: Some(selector.into()), ..Self::default() }
    }

    /// Objects that match this label selector.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..Self::default() }
    }

    pub(super) fn list_params(&self, limit: u32) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(limit),
            ..ListParams::default()
        }
    }

    pub(super) fn watch_params(&self, timeout_seconds: u32) -> WatchParams {
        WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(timeout_seconds),
            bookmarks: true,
            ..WatchParams::default()
        }
    }
}
