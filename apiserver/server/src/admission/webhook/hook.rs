//! [`Hook`]: one webhook of a configuration, read once and kept until the configuration changes.

use std::time::Duration;

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};

use super::matching::Criteria;
use crate::admission::policy::Conditions;
use crate::callout::Callee;

/// Seconds a hook may take when it does not say.
const TIMEOUT_SECONDS: i64 = 10;

/// One webhook.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    /// Configuration, place in it and its version.
    pub(super) key: SmolStr,
    pub(super) name: SmolStr,
    /// The configuration that it is of.
    pub(super) configuration: SmolStr,
    /// Whom to call.
    pub(super) callee: Callee,
    /// Which requests it is about.
    pub(super) criteria: Criteria,
    /// Whether it may be asked about a dry run.
    pub(super) dry_run: bool,
    /// Whether the request goes on when the hook cannot be asked.
    pub(super) fails_open: bool,
    /// Whether it is asked again when a later hook changes the object.
    pub(super) again: bool,
    /// The first version of a review that it takes and this server makes.
    pub(super) review_version: Option<&'static str>,
    /// Conditions besides.
    pub(super) conditions: Conditions,
}

/// The hooks of one configuration.
///
/// # Errors
/// What cannot be read; validation refuses it before it is stored.
pub(super) fn hooks_of(configuration: &Value) -> Result<Vec<Hook>, String> {
    let meta = Meta(configuration);
    let hooks = configuration.path_list(&["webhooks"]).iter().enumerate();
    hooks
        .map(|(at, hook)| {
            let key = format_smolstr!("{}/{at}/{}", meta.uid(), meta.resource_version());
            read((key, meta.name()), hook).map_err(|why| format!("{}: webhook {at}: {why}", meta.name()))
        })
        .collect()
}

fn read((key, configuration): (SmolStr, &str), hook: &Value) -> Result<Hook, String> {
    let text = |path: &[&str]| hook.path_str(path).unwrap_or_default();
    let versions = hook.path_list(&["admissionReviewVersions"]).iter().filter_map(Value::as_str);
    let review_version = versions.filter_map(|version| match version {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    });
    let seconds = hook.path_i64(&["timeoutSeconds"]).unwrap_or(TIMEOUT_SECONDS).clamp(1, 30);
    let timeout = Duration::from_secs(seconds.unsigned_abs());
    let config = hook.get("clientConfig").unwrap_or(&Value::Null);
    Ok(Hook {
        callee: Callee::read(key.clone(), config, timeout).map_err(|error| error.to_string())?,
        key,
        name: text(&["name"]).into(),
        configuration: configuration.into(),
        criteria: Criteria::of_hook(hook)?,
        dry_run: matches!(text(&["sideEffects"]), "None" | "NoneOnDryRun"),
        fails_open: text(&["failurePolicy"]) == "Ignore",
        again: text(&["reinvocationPolicy"]) == "IfNeeded",
        review_version: review_version.into_iter().next(),
        conditions: Conditions::read(hook.path_list(&["matchConditions"])),
    })
}
