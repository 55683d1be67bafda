//! A container's environment from every source, as upstream's kubelet computes it:
//! `envFrom` first, then `env` in order with `$(VAR)` expansion, then Service variables that nothing has set.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};

use super::downward::{self, DownwardError, PodFacts};
use super::expand::expand;

/// `ConfigMap` data is text, Secret data is bytes: both are read through this.
pub(crate) trait Sources {
    /// The `ConfigMap` of the pod's namespace, if it exists.
    fn config_map(&self, name: &str) -> Option<&ConfigMap>;
    /// The Secret of the pod's namespace, if it exists.
    fn secret(&self, name: &str) -> Option<&Secret>;
}

/// Why a container's environment cannot be made; the texts are upstream's, users search for them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvError {
    #[error("configmap \"{0}\" not found")]
    ConfigMapMissing(String),
    #[error("secret \"{0}\" not found")]
    SecretMissing(String),
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    ConfigMapKey { key: String, namespace: String, name: String },
    #[error("couldn't find key {key} in Secret {namespace}/{name}")]
    SecretKey { key: String, namespace: String, name: String },
    #[error(transparent)]
    Downward(#[from] DownwardError),
    #[error("environment variable \"{0}\" uses fileKeyRef, which this node does not support")]
    FileKey(String),
}

/// A container's environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// In the order they are set.
    pub vars: Vec<(String, String)>,
    /// Messages for `InvalidEnvironmentVariableNames` events.
    pub skipped: Vec<String>,
}

impl Environment {
    /// The value of one variable.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.vars.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.vars.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.vars.push((name.to_owned(), value)),
        }
    }
}

/// Builds the environment of `container`.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    facts: &PodFacts,
    sources: &dyn Sources,
    services: &BTreeMap<String, String>,
) -> Result<Environment, EnvError> {
    let mut env = Environment::default();
    add_env_from(&mut env, pod, container, sources)?;
    for var in container.env.iter().flatten() {
        let value = if let Some(source) = &var.value_from {
            match from_source(pod, container, facts, sources, (var, source))? {
                Some(value) => value,
                None => continue,
            }
        } else {
            let literal = var.value.as_deref().unwrap_or_default();
            expand(literal, &|name| env.get(name).or_else(|| services.get(name).cloned()))
        };
        env.set(&var.name, value);
    }
    for (name, value) in services {
        if !env.vars.iter().any(|(n, _)| n == name) {
            env.vars.push((name.clone(), value.clone()));
        }
    }
    Ok(env)
}

fn add_env_from(
    env: &mut Environment,
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
) -> Result<(), EnvError> {
    let namespace = namespace(pod);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_map(&reference.name) {
                Some(map) => {
                    let data = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone()));
                    add_all(env, prefix, data, &format!("configMap {namespace}/{}", reference.name));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::ConfigMapMissing(reference.name.clone())),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secret(&reference.name) {
                Some(secret) => {
                    let data = secret.data.iter().flatten().map(|(k, v)| (k.clone(), text(&v.0)));
                    add_all(env, prefix, data, &format!("secret {namespace}/{}", reference.name));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::SecretMissing(reference.name.clone())),
            }
        }
    }
    Ok(())
}

fn add_all(env: &mut Environment, prefix: &str, data: impl Iterator<Item = (String, String)>, source: &str) {
    let mut invalid = Vec::new();
    for (key, value) in data {
        let name = format!("{prefix}{key}");
        if valid_name(&name) {
            env.set(&name, value);
        } else {
            invalid.push(name);
        }
    }
    if !invalid.is_empty() {
        env.skipped.push(format!(
            "Keys [{}] from the EnvFrom {source} were skipped since they are considered invalid environment variable names.",
            invalid.join(", ")
        ));
    }
}

/// Upstream's relaxed rule: printable ASCII without `=`.
fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

/// `None`: an optional source that is not there, so the variable is left out.
fn from_source(
    pod: &Pod,
    container: &Container,
    facts: &PodFacts,
    sources: &dyn Sources,
    (var, source): (&EnvVar, &EnvVarSource),
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(downward::field(pod, facts, &field.field_path)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(downward::resource(pod, facts, &container.name, resource)?));
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        let Some(map) = sources.config_map(&key.name) else {
            return if optional { Ok(None) } else { Err(EnvError::ConfigMapMissing(key.name.clone())) };
        };
        return match map.data.as_ref().and_then(|d| d.get(&key.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(EnvError::ConfigMapKey {
                key: key.key.clone(),
                namespace: namespace(pod),
                name: key.name.clone(),
            }),
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        let Some(secret) = sources.secret(&key.name) else {
            return if optional { Ok(None) } else { Err(EnvError::SecretMissing(key.name.clone())) };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&key.key)) {
            Some(value) => Ok(Some(text(&value.0))),
            None if optional => Ok(None),
            None => Err(EnvError::SecretKey {
                key: key.key.clone(),
                namespace: namespace(pod),
                name: key.name.clone(),
            }),
        };
    }
    if source.file_key_ref.is_some() {
        return Err(EnvError::FileKey(var.name.clone()));
    }
    Ok(Some(String::new()))
}

fn namespace(pod: &Pod) -> String {
    pod.metadata.namespace.clone().unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
