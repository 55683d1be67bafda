//! Options of writes: dry run, field validation, delete options; and the answers' `Warning` headers.

use http::header::{HeaderValue, WARNING};
use mainstay_apiserver_machinery::json::Strictness;
use mainstay_apiserver_machinery::pipeline::deletion::{DeleteOptions, UNREADABLE};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{PatchType, Status};
use smol_str::SmolStr;

use super::get::namespace;
use super::{Call, Deletes, FieldOwner, WriteRequest};
use crate::request::{Query, decode_options, options_tree, strictness};
use crate::types::Response;

/// Warnings sent with one answer, and their bytes together, as upstream bounds them.
const WARNINGS_BYTES_MAX: usize = 4096;
/// Characters of a field manager's name.
const FIELD_MANAGER_LENGTH_MAX: usize = 128;

/// Options of a create, update or patch.
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    pub(super) strictness: Strictness,
    /// Whether an apply takes fields from other owners.
    pub(super) force: bool,
    /// Who writes: the `fieldManager` parameter, or the start of the user agent.
    pub(super) manager: SmolStr,
    tree: Value,
}

impl WriteOptions {
    pub(super) fn read(call: &Call<'_>, options_kind: &'static str) -> Result<Self, Status> {
        let query = &call.context.query;
        let manager = field_manager(query, options_kind, None)?;
        let dry_run = dry_run(call, options_kind)?;
        let strictness = strictness(query, options_kind)?;
        let tree = options_tree(query, options_kind, dry_run);
        let manager = manager.unwrap_or_else(|| manager_of_agent(call));
        Ok(Self { dry_run, strictness, force: false, manager, tree })
    }

    /// Options of a patch of that type: an apply must name its manager, and it alone can force.
    pub(super) fn of_patch(call: &Call<'_>, patch_type: PatchType) -> Result<Self, Status> {
        let query = &call.context.query;
        field_manager(query, "PatchOptions", Some(patch_type))?;
        let mut options = Self::read(call, "PatchOptions")?;
        options.force = query.is_true("force");
        // Admission is told of an update, as upstream.
        options.tree.set_path(&["kind"], "UpdateOptions");
        Ok(options)
    }

    /// The write of this call; `name` is empty for creates.
    pub(super) fn request(&self, call: &Call<'_>, name: &str) -> WriteRequest {
        WriteRequest {
            kind: call.kind,
            namespace: namespace(call).into(),
            name: name.into(),
            user: call.context.user().clone(),
            dry_run: self.dry_run,
            options: self.tree.clone(),
            owner: FieldOwner::Manager(self.manager.clone()),
            deletes: Deletes::default(),
        }
    }
}

/// The `fieldManager` parameter, checked; none when it is not given. `patch_type` is that of a patch.
fn field_manager(
    query: &Query,
    options_kind: &str,
    patch_type: Option<PatchType>,
) -> Result<Option<SmolStr>, Status> {
    let mut errors = ErrorList::new();
    let path = Path::new("fieldManager");
    let name = query.get("fieldManager").unwrap_or_default();
    match patch_type {
        Some(PatchType::Apply) if name.is_empty() => errors.required(&path, "is required for apply patch"),
        Some(other) if other != PatchType::Apply && query.get("force").is_some() => {
            errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        }
        _ => {}
    }
    if name.len() > FIELD_MANAGER_LENGTH_MAX {
        errors.too_long(&path, FIELD_MANAGER_LENGTH_MAX);
    }
    for (at, c) in name.char_indices().filter(|(_, c)| !is_printable(*c)) {
        let code = u32::from(c);
        errors.invalid(&path, name, &format!("invalid character U+{code:04X} (at position {at})"));
    }
    errors.into_result("meta.k8s.io", options_kind, "")?;
    Ok(Some(name).filter(|name| !name.is_empty()).map(SmolStr::new))
}

/// What the client calls itself: what stands before the first slash of its user agent.
fn manager_of_agent(call: &Call<'_>) -> SmolStr {
    let agent = call.headers().get(http::header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let agent = String::from_utf8_lossy(agent);
    let mut bytes = 0;
    let start = agent.chars().take_while(|c| *c != '/').filter(|c| is_printable(*c));
    start
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= FIELD_MANAGER_LENGTH_MAX
        })
        .collect()
}

fn is_printable(c: char) -> bool {
    !c.is_control() && (c == ' ' || !c.is_whitespace())
}

fn dry_run(call: &Call<'_>, options_kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = call.context.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if values.iter().any(|v| *v != "All") {
        let mut errors = ErrorList::new();
        errors.not_supported(&Path::new("dryRun"), Value::from(values), &["All"]);
        errors.into_result("meta.k8s.io", options_kind, "")?;
        return Ok(true);
    }
    Ok(!values.is_empty())
}

/// Delete options out of the body, or out of the query where there is no body.
pub(super) fn delete_options(call: &Call<'_>, body: &[u8]) -> Result<(DeleteOptions, Value), Status> {
    let mut tree = if body.is_empty() {
        from_query(call)?
    } else {
        let schema = mainstay_apiserver_machinery::schema::lookup("meta/v1.DeleteOptions")
            .ok_or_else(|| Status::internal("the schema tables lack DeleteOptions"))?;
        decode_options(call.headers(), body, schema)?
    };
    let options = DeleteOptions::from_value(&tree)?;
    tree.set_path(&["kind"], "DeleteOptions");
    tree.set_path(&["apiVersion"], "meta.k8s.io/v1");
    Ok((options, tree))
}

fn from_query(call: &Call<'_>) -> Result<Value, Status> {
    let query = &call.context.query;
    let mut tree = Value::map();
    if let Some(seconds) = query.integer("gracePeriodSeconds")? {
        tree.set_path(&["gracePeriodSeconds"], seconds);
    }
    if let Some(policy) = query.non_empty("propagationPolicy") {
        tree.set_path(&["propagationPolicy"], policy);
    }
    if query.non_empty("orphanDependents").is_some() {
        tree.set_path(&["orphanDependents"], query.is_true("orphanDependents"));
    }
    if query.non_empty(UNREADABLE).is_some() {
        tree.set_path(&[UNREADABLE], query.is_true(UNREADABLE));
    }
    let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if !dry_run.is_empty() {
        tree.set_path(&["dryRun"], Value::from(dry_run));
    }
    Ok(tree)
}

/// Adds `Warning: 299` headers, without control characters and bounded in length.
pub(crate) fn add_warnings(response: &mut Response, warnings: &[String]) {
    let mut bytes = 0;
    for warning in warnings {
        let mut text = String::with_capacity(warning.len() + 12);
        text.push_str("299 - \"");
        for c in warning.chars().take(1024) {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        text.push('"');
        bytes += text.len();
        if bytes > WARNINGS_BYTES_MAX {
            break;
        }
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
