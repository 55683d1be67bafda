//! Which objects a list, watch or delete-collection is about. Pure.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::{Status, field, label};
use smol_str::SmolStr;

use crate::cache::{Cached, Interest};
use crate::request::Query;

/// Namespace, label selector and field selector together.
#[derive(Debug, Clone)]
pub struct Selection {
    kind: &'static Kind,
    /// The namespace, or empty for all.
    pub namespace: SmolStr,
    name: Option<SmolStr>,
    labels: label::Selector,
    fields: field::Selector,
}

impl Selection {
    /// All objects in `namespace`, or everywhere when it is empty.
    pub fn everything(kind: &'static Kind, namespace: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: None,
            labels: label::Selector::default(),
            fields: field::Selector::default(),
        }
    }

    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read or name fields the kind cannot select by.
    pub fn from_query(kind: &'static Kind, namespace: &str, query: &Query) -> Result<Self, Status> {
        let mut selection = Self::everything(kind, namespace);
        if let Some(text) = query.non_empty("labelSelector") {
            selection.labels =
                label::Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?;
        }
        if let Some(text) = query.non_empty("fieldSelector") {
            selection.fields =
                field::Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?;
            for term in selection.fields.terms() {
                if !is_selectable(kind, &term.field) {
                    return Err(Status::bad_request(unknown_field(kind, &term.field)));
                }
            }
        }
        Ok(selection)
    }

    /// The same selection, of one object only: what the path of a deprecated single watch says.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = (!name.is_empty()).then(|| name.into());
        self
    }

    /// True when neither selector narrows anything.
    pub fn is_unfiltered(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The one name it can match, where a selector says so.
    pub fn single_name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// Which objects and events can concern it at all.
    pub fn interest(&self) -> Interest {
        let name = self.name.as_deref().or_else(|| self.single_name());
        let namespace = if self.namespace.is_empty() {
            self.fields.required("metadata.namespace")
        } else {
            Some(&*self.namespace)
        };
        match (namespace, name) {
            (_, Some(name)) if !self.kind.namespaced => {
                return Interest::Object { namespace: SmolStr::default(), name: name.into() };
            }
            (Some(namespace), Some(name)) => {
                return Interest::Object { namespace: namespace.into(), name: name.into() };
            }
            (None, Some(name)) => return Interest::Name(name.into()),
            _ => {}
        }
        // Only the stored form's own fields are in the cache; of one that is empty, nothing may be.
        if !self.kind.is_custom && self.kind.stored_kind() == self.kind {
            for field in self.kind.rules.selectable_fields() {
                if let Some(value) = self.fields.required(field).filter(|value| !value.is_empty()) {
                    return Interest::Field { field, value: value.into() };
                }
            }
        }
        match namespace {
            Some(namespace) if self.kind.namespaced => Interest::Namespace(namespace.into()),
            _ => Interest::Everything,
        }
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Cached) -> bool {
        let header = &object.header;
        if !self.namespace.is_empty() && header.namespace != self.namespace {
            return false;
        }
        if self.name.as_ref().is_some_and(|name| *name != header.name) {
            return false;
        }
        if !self.labels.is_everything() && !self.labels.matches(&*header.labels) {
            return false;
        }
        if self.fields.is_everything() {
            return true;
        }
        if self.kind == object.kind {
            return self.fields.matches(|name| header.field(name));
        }
        self.served_fields_match(object)
    }

    /// The stored form has other field names than the served one: only events.k8s.io comes here.
    fn served_fields_match(&self, object: &Cached) -> bool {
        match object.decode_served(self.kind) {
            Ok(served) => {
                let fields = self.kind.rules.fields(&served);
                self.fields.matches(|name| match name {
                    "metadata.name" => Some(object.header.name.as_str()),
                    "metadata.namespace" => Some(object.header.namespace.as_str()),
                    _ => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()),
                })
            }
            Err(error) => {
                tracing::error!(%error, "a stored object cannot be selected by its fields");
                false
            }
        }
    }
}

/// Upstream words it by whether the kind has fields of its own to select by.
fn unknown_field(kind: &Kind, field: &str) -> String {
    if kind.is_custom || !kind.rules.selectable_fields().is_empty() {
        return format!("field label not supported: {field}");
    }
    format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
}

fn is_selectable(kind: &Kind, field: &str) -> bool {
    field == "metadata.name"
        || (field == "metadata.namespace" && kind.namespaced)
        || kind.rules.selectable_fields().contains(&field)
}
