//! Checks of a definition's spec, but for its schemas: names, versions, columns, subresources, conversion.

use super::field_path::valid_field_path;
use super::schema::check_version_schema;
use crate::custom::JsonPath;
use mainstay_apiserver_machinery::structural::{self, SchemaType};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

/// Selectable fields of one version.
const SELECTABLE_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Checks a spec; `old` is the stored definition that it replaces.
pub(super) fn check_spec(spec: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    let group = spec.get("group");
    if group.require(errors, "") {
        let faults = names::dns_subdomain(group.text());
        if !faults.is_empty() {
            group.invalid(errors, &faults.join(","));
        } else if !group.text().contains('.') {
            group.invalid(errors, "should be a domain with at least one dot");
        }
    }
    let scope = spec.get("scope");
    if scope.require(errors, "") {
        scope.one_of(errors, &["Cluster", "Namespaced"]);
    }
    for version in spec.get("versions").items() {
        let schema = version.dig(&["schema", "openAPIV3Schema"]);
        if !schema.is_set() {
            errors.required(&schema.path, "");
        }
    }
    check_versions(&spec.get("versions"), old, errors);
    for name in ["plural", "singular", "kind", "listKind"] {
        spec.dig(&["names", name]).require(errors, "");
    }
    check_names(&spec.get("names"), errors);
    check_conversion(&spec.get("conversion"), spec, errors);
}

/// Checks a spec that replaces another.
pub(super) fn check_spec_update(spec: &At<'_>, old: &Value, is_established: bool, errors: &mut ErrorList) {
    check_spec(spec, Some(old), errors);
    let before = At::root(old).get("spec");
    if is_established {
        for path in [&["scope"][..], &["names", "kind"]] {
            spec.dig(path).unchanged(errors, &before.dig(path));
        }
    }
    for path in [&["group"][..], &["names", "plural"]] {
        spec.dig(path).unchanged(errors, &before.dig(path));
    }
}

fn check_versions(versions: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let mut is_unique = true;
    let mut stored = 0;
    for version in versions.items() {
        stored += usize::from(version.get("storage").flag());
        let name = version.get("name");
        is_unique &= seen.insert(name.text());
        let faults = names::dns_label_1035(name.text());
        if !faults.is_empty() {
            name.invalid(errors, &faults.join(","));
        }
        check_version(&version, old, errors);
    }
    if !is_unique {
        versions.invalid(errors, "must contain unique version names");
    }
    if stored != 1 {
        versions.invalid(errors, "must have exactly one version marked as storage version");
    }
}

fn check_version(version: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    check_deprecation(version, errors);
    let has_status = version.dig(&["subresources", "status"]).is_set();
    let before = old.and_then(|old| {
        let versions = old.path_list(&["spec", "versions"]).iter();
        versions.into_iter().find(|one| one.path_str(&["name"]) == Some(version.text_of("name")))
    });
    check_version_schema(&version.dig(&["schema", "openAPIV3Schema"]), has_status, before, errors);
    check_scale(&version.dig(&["subresources", "scale"]), errors);
    for column in version.get("additionalPrinterColumns").items() {
        check_column(&column, errors);
    }
    check_selectable(version, errors);
}

fn check_deprecation(version: &At<'_>, errors: &mut ErrorList) {
    let warning = version.get("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.get("deprecated").flag() {
        return warning.invalid(errors, "can only be set for deprecated versions");
    }
    if warning.text().len() > 256 {
        warning.invalid(errors, "must be <= 256 characters long");
    }
    if warning.text().is_empty() {
        warning.invalid(errors, "must not be an empty string");
    }
    if let Some((at, _)) = warning.text().char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        warning.invalid(errors, &detail);
    }
}

/// Checks names, wanted or accepted ones.
pub(super) fn check_names(at: &At<'_>, errors: &mut ErrorList) {
    for name in ["plural", "singular"] {
        let name = at.get(name);
        let faults = names::dns_label_1035(name.text());
        if !name.is_empty() && !faults.is_empty() {
            name.invalid(errors, &faults.join(","));
        }
    }
    for name in ["kind", "listKind"] {
        let name = at.get(name);
        let faults = names::dns_label_1035(&name.text().to_lowercase());
        if !name.is_empty() && !faults.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
            name.invalid(errors, &detail);
        }
    }
    let (kind, list_kind) = (at.get("kind"), at.get("listKind"));
    for list in ["shortNames", "categories"] {
        for name in at.get(list).items() {
            let faults = names::dns_label_1035(name.text());
            if !faults.is_empty() {
                name.invalid(errors, &faults.join(","));
            }
        }
    }
    if !kind.is_empty() && kind.text() == list_kind.text() {
        list_kind.invalid(errors, "kind and listKind may not be the same");
    }
}

fn check_column(column: &At<'_>, errors: &mut ErrorList) {
    column.get("name").require(errors, "");
    let of = |list: &[&str]| format!("must be one of {}", list.join(","));
    let column_type = column.get("type");
    if column_type.require(errors, &of(&COLUMN_TYPES)) && !COLUMN_TYPES.contains(&column_type.text()) {
        column_type.invalid(errors, &of(&COLUMN_TYPES));
    }
    let format = column.get("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.text()) {
        format.invalid(errors, &of(&COLUMN_FORMATS));
    }
    let path = At::new(column.get("jsonPath").value, column.path.child("JSONPath"));
    if path.require(errors, "") && simple_json_path(&path, errors) && JsonPath::parse(path.text()).is_err() {
        path.invalid(errors, &format!("unrecognized column definition \"{}\"", path.text()));
    }
}

/// Whether the text starts as a path does; reports it otherwise.
fn simple_json_path(path: &At<'_>, errors: &mut ErrorList) -> bool {
    let is_path = path.text().starts_with('.');
    if !is_path {
        path.invalid(errors, "must be a simple json path starting with .");
    }
    is_path
}

fn check_scale(scale: &At<'_>, errors: &mut ErrorList) {
    if !scale.is_set() {
        return;
    }
    for (name, prefix, detail) in [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", ".status.", "should be a json path under .status"),
    ] {
        let path = scale.get(name);
        if path.require(errors, "") && simple_json_path(&path, errors) && !path.text().starts_with(prefix) {
            path.invalid(errors, detail);
        }
    }
    let selector = scale.get("labelSelectorPath");
    if !selector.is_empty()
        && simple_json_path(&selector, errors)
        && ![".spec.", ".status."].iter().any(|prefix| selector.text().starts_with(prefix))
    {
        selector.invalid(errors, "should be a json path under either .spec or .status");
    }
}

fn check_selectable(version: &At<'_>, errors: &mut ErrorList) {
    let fields = version.get("selectableFields");
    let schema = version.dig(&["schema", "openAPIV3Schema"]);
    if fields.is_empty() {
        return;
    }
    // A schema that cannot be read is reported where it is checked.
    let Ok(schema) = structural::parse(schema.value) else { return };
    let mut seen = HashSet::new();
    for field in fields.items() {
        let path = field.get("jsonPath");
        if !path.require(errors, "") {
            continue;
        }
        let (shown, found) = match valid_field_path(path.text(), &schema, false) {
            Ok(found) => found,
            Err(why) => {
                path.invalid(errors, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if shown.split('.').next() == Some("metadata") {
            path.invalid(errors, "must not point to fields in metadata");
        }
        if !matches!(found.schema_type, SchemaType::String | SchemaType::Boolean | SchemaType::Integer) {
            path.invalid(
                errors,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.",
            );
        }
        if !seen.insert(shown) {
            errors.duplicate(&path.path, path.text());
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.too_many(&fields.path, seen.len(), SELECTABLE_MAX);
    }
}

fn check_conversion(conversion: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !conversion.is_set() {
        return;
    }
    let strategy = conversion.get("strategy");
    if strategy.require(errors, "") {
        strategy.one_of(errors, &["None", "Webhook"]);
    }
    let webhook = conversion.get("webhook");
    if strategy.text() != "Webhook" {
        if webhook.is_set() {
            errors.forbidden(
                &conversion.path.child("webhookClientConfig"),
                "should not be set when strategy is not set to Webhook",
            );
        }
        return;
    }
    if spec.get("preserveUnknownFields").flag() {
        strategy.invalid(errors, "must be None if spec.preserveUnknownFields is true");
    }
    let client = webhook.get("clientConfig");
    let shown = conversion.path.child("webhookClientConfig");
    if !client.is_set() {
        errors.required(&shown, "required when strategy is set to Webhook");
    } else if client.has("url") == client.has("service") {
        errors.required(&shown, "exactly one of url or service is required");
    }
    check_review_versions(&webhook.get("conversionReviewVersions"), errors);
}

fn check_review_versions(versions: &At<'_>, errors: &mut ErrorList) {
    if !versions.require(errors, "") {
        return;
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        if seen.insert(version.text()) {
            version.invalid_each(errors, names::dns_label_1035(version.text()));
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if !versions.items().any(|version| matches!(version.text(), "v1" | "v1beta1")) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}
