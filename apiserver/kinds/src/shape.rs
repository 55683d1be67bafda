//! Starting points for the constants of kinds.

use mainstay_apiserver_machinery::kind::{
    Action, Kind, NoRules, STORED_VERBS, ScalePaths, Storage, Subresource,
};

/// Verbs of a subresource that shows and changes part of an object.
pub(crate) const PART_VERBS: &[&str] = &["get", "patch", "update"];
/// Verbs of a proxy subresource.
pub(crate) const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
/// The verb of a kind or subresource that only carries a request.
pub(crate) const CREATE: &[&str] = &["create"];

/// A stored, namespaced kind of the core group, to be completed.
pub(crate) const STORED: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    type_name: "",
    list_kind: "",
    verbs: STORED_VERBS,
    subresources: &[],
    rules: &NoRules,
    storage: Some(Storage::new("")),
    is_custom: false,
};

/// A kind that carries a request and is not stored, to be completed.
pub(crate) const REQUEST: Kind = Kind { namespaced: false, verbs: CREATE, storage: None, ..STORED };

/// Group, version, kind and schema type of a body.
pub(crate) struct Body {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) type_name: &'static str,
}

impl Body {
    pub(crate) const fn core(kind: &'static str, type_name: &'static str) -> Self {
        Self { group: "", version: "v1", kind, type_name }
    }

    const fn at(self, name: &'static str, verbs: &'static [&'static str], action: Action) -> Subresource {
        let Self { group, version, kind, type_name } = self;
        Subresource { name, verbs, group, version, kind, type_name, action }
    }

    /// The `status` subresource of this kind.
    pub(crate) const fn status(self) -> Subresource {
        self.at("status", PART_VERBS, Action::Status)
    }

    /// A subresource that stores part of the object.
    pub(crate) const fn part(self, name: &'static str, verbs: &'static [&'static str]) -> Subresource {
        self.at(name, verbs, Action::Part)
    }

    /// A subresource that is an endpoint of the server.
    pub(crate) const fn connect(self, name: &'static str, verbs: &'static [&'static str]) -> Subresource {
        self.at(name, verbs, Action::Connect)
    }
}

/// The `scale` subresource of a kind that keeps replicas and selector where workloads do.
pub(crate) const SCALE: Subresource =
    Body { group: "autoscaling", version: "v1", kind: "Scale", type_name: "autoscaling/v1.Scale" }.at(
        "scale",
        PART_VERBS,
        Action::Scale(ScalePaths {
            replicas: &["spec", "replicas"],
            status_replicas: &["status", "replicas"],
            selector: &["spec", "selector"],
        }),
    );
