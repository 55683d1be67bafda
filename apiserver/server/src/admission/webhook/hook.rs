//! [`Hook`]: one webhook of a configuration, read once and kept until the configuration changes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use smol_str::{SmolStr, format_smolstr};

/// Seconds a hook may take when it does not say.
const TIMEOUT_SECONDS: i64 = 10;

/// Where a hook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// At a URL.
    Url(String),
    /// Behind a Service.
    Service { namespace: SmolStr, name: SmolStr, path: String, port: u16 },
}

/// Which requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) operations: Vec<SmolStr>,
    pub(super) groups: Vec<SmolStr>,
    pub(super) versions: Vec<SmolStr>,
    pub(super) resources: Vec<SmolStr>,
    pub(super) scope: SmolStr,
}

/// One webhook.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a yes or no of the configuration")]
pub(super) struct Hook {
    /// Configuration, place in it and its version: names the hook for connections that are kept.
    pub(super) key: SmolStr,
    pub(super) name: SmolStr,
    pub(super) place: Place,
    /// Certificates that the hook's own must be signed by, PEM; empty for none.
    pub(super) ca_pem: Vec<u8>,
    pub(super) rules: Vec<Rule>,
    /// Whether requests to other versions of a resource are asked about in the version of the rule.
    pub(super) equivalent: bool,
    pub(super) namespaces: Selector,
    pub(super) objects: Selector,
    /// Whether it may be asked about a dry run.
    pub(super) dry_run: bool,
    pub(super) timeout: Duration,
    /// Whether the request goes on when the hook cannot be asked.
    pub(super) fails_open: bool,
    /// Whether it is asked again when a later hook changes the object.
    pub(super) again: bool,
    /// The first version of a review that it takes and this server makes.
    pub(super) review_version: Option<&'static str>,
    /// Conditions that this server cannot evaluate yet; a hook that has any is not guessed about.
    pub(super) has_conditions: bool,
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
            read(key, hook).map_err(|why| format!("{}: webhook {at}: {why}", meta.name()))
        })
        .collect()
}

fn read(key: SmolStr, hook: &Value) -> Result<Hook, String> {
    let text = |path: &[&str]| hook.path_str(path).unwrap_or_default();
    let versions = hook.path_list(&["admissionReviewVersions"]).iter().filter_map(Value::as_str);
    let review_version = versions.filter_map(|version| match version {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    });
    let seconds = hook.path_i64(&["timeoutSeconds"]).unwrap_or(TIMEOUT_SECONDS).clamp(1, 30);
    Ok(Hook {
        key,
        name: text(&["name"]).into(),
        place: place(hook.get("clientConfig").unwrap_or(&Value::Null))?,
        ca_pem: STANDARD.decode(text(&["clientConfig", "caBundle"])).map_err(|e| format!("caBundle: {e}"))?,
        rules: hook.path_list(&["rules"]).iter().map(rule).collect(),
        equivalent: text(&["matchPolicy"]) != "Exact",
        namespaces: selector(hook.get("namespaceSelector"))?,
        objects: selector(hook.get("objectSelector"))?,
        dry_run: matches!(text(&["sideEffects"]), "None" | "NoneOnDryRun"),
        timeout: Duration::from_secs(seconds.unsigned_abs()),
        fails_open: text(&["failurePolicy"]) == "Ignore",
        again: text(&["reinvocationPolicy"]) == "IfNeeded",
        review_version: review_version.into_iter().next(),
        has_conditions: !hook.path_list(&["matchConditions"]).is_empty(),
    })
}

fn place(config: &Value) -> Result<Place, String> {
    if let Some(url) = config.path_str(&["url"]) {
        return Ok(Place::Url(url.to_owned()));
    }
    let service = config.get("service").ok_or("neither url nor service")?;
    let text = |name: &str| service.path_str(&[name]).unwrap_or_default();
    let port = service.path_i64(&["port"]).unwrap_or(443);
    Ok(Place::Service {
        namespace: text("namespace").into(),
        name: text("name").into(),
        path: text("path").to_owned(),
        port: u16::try_from(port).map_err(|_range| format!("{port} is no port"))?,
    })
}

fn rule(rule: &Value) -> Rule {
    let list = |name: &str| rule.path_list(&[name]).iter().filter_map(Value::as_smol).cloned().collect();
    Rule {
        operations: list("operations"),
        groups: list("apiGroups"),
        versions: list("apiVersions"),
        resources: list("resources"),
        scope: rule.path_str(&["scope"]).unwrap_or("*").into(),
    }
}

fn selector(spec: Option<&Value>) -> Result<Selector, String> {
    let Some(spec) = spec else { return Ok(Selector::new(Vec::new())) };
    let spec: LabelSelector = value::from_value(spec).map_err(|error| error.to_string())?;
    Selector::from_spec(Some(&spec)).map_err(|error| error.to_string())
}
