//! [`Remote`]: the Service behind an APIService, and whom it must prove to be. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::intern;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// The Service behind an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Name of the APIService.
    pub(super) name: SmolStr,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) namespace: SmolStr,
    pub(super) service: SmolStr,
    pub(super) port: u16,
    /// Certificates that the server's own must be signed by, PEM.
    pub(super) ca_pem: Vec<u8>,
    /// Whether its certificate is not checked.
    pub(super) is_unchecked: bool,
    /// Order among groups and versions: larger ones first.
    pub(super) priority: (i64, i64),
}

impl Remote {
    /// Reads an APIService; none for those that this server answers itself.
    ///
    /// # Errors
    /// What validation refuses; too many names.
    pub(super) fn read(object: &Value) -> Result<Option<Self>, String> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let Some(service) = spec.get("service").filter(|service| !service.is_null()) else {
            return Ok(None);
        };
        let text = |tree: &Value, name: &str| SmolStr::new(tree.path_str(&[name]).unwrap_or_default());
        let number = |name: &str| spec.path_i64(&[name]).unwrap_or_default();
        let interned = |name: &str| intern::text(&text(spec, name)).map_err(|full| full.to_string());
        let port = service.path_i64(&["port"]).unwrap_or(443);
        let bundle = spec.path_str(&["caBundle"]).unwrap_or_default();
        Ok(Some(Self {
            name: Meta(object).name().into(),
            group: interned("group")?,
            version: interned("version")?,
            namespace: text(service, "namespace"),
            service: text(service, "name"),
            port: u16::try_from(port).map_err(|_range| format!("{port} is no port"))?,
            ca_pem: STANDARD.decode(bundle).map_err(|error| format!("caBundle: {error}"))?,
            is_unchecked: spec.path_bool(&["insecureSkipTLSVerify"]) == Some(true),
            priority: (number("groupPriorityMinimum"), number("versionPriority")),
        }))
    }

    /// The name that its certificate must have.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}
