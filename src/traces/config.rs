//! kube-apiserver's file for `--tracing-config-file`: a `TracingConfiguration`.

use std::path::Path;

use serde::Deserialize;

use super::Collector;
use crate::refusal::refuse;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
const MILLION: u32 = 1_000_000;

/// What is traced, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracesConfig {
    /// Where spans are sent.
    pub(crate) collector: Collector,
    /// Of a million traces that begin here, so many are recorded; those that began elsewhere are, if they were there.
    pub(crate) per_million: u32,
    /// `service.name`.
    pub(crate) service: String,
    /// `service.instance.id`.
    pub(crate) instance: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    sampling_rate_per_million: Option<i64>,
}

/// What the file says for an API server.
///
/// # Errors
/// A refusal with upstream's words.
pub(crate) fn read(file: &Path) -> anyhow::Result<TracesConfig> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        refuse(format!("--tracing-config-file: {} cannot be read: {error}", file.display()))
    })?;
    parse(&text).map_err(|why| refuse(format!("--tracing-config-file: {}: {why}", file.display())))
}

fn parse(text: &str) -> Result<TracesConfig, String> {
    let document: Document = serde_yaml_ng::from_str(text)
        .map_err(|error| format!("unable to decode tracing configuration data: {error}"))?;
    if document.kind != "TracingConfiguration" || !VERSIONS.contains(&document.api_version.as_str()) {
        return Err(format!(
            "unable to decode tracing configuration data: it is a {} of {}: give a TracingConfiguration of {}",
            document.kind, document.api_version, VERSIONS[0]
        ));
    }
    let invalid = |field: &str, value: &dyn std::fmt::Display, why: &str| {
        format!("failed to validate tracing configuration: {field}: Invalid value: {value}: {why}")
    };
    let rate = document.sampling_rate_per_million.unwrap_or(0);
    let wrong_rate = |why| invalid("samplingRatePerMillion", &rate, why);
    let per_million = match u32::try_from(rate) {
        Ok(per_million) if per_million <= MILLION => per_million,
        Err(_) if rate < 0 => return Err(wrong_rate("sampling rate must be positive")),
        _ => {
            return Err(wrong_rate("sampling rate per million must be less than or equal to one million"));
        }
    };
    let collector = match &document.endpoint {
        None => Collector::default(),
        Some(endpoint) => {
            endpoint.parse().map_err(|why: String| invalid("endpoint", &format!("{endpoint:?}"), &why))?
        }
    };
    Ok(TracesConfig { collector, per_million, service: "apiserver".to_owned(), instance: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str, rest: &str) -> Result<TracesConfig, String> {
        parse(&format!("apiVersion: apiserver.config.k8s.io/{version}\nkind: TracingConfiguration\n{rest}"))
    }

    #[test]
    fn every_version_of_the_file_is_read() {
        for version in ["v1", "v1beta1", "v1alpha1"] {
            let config = of(version, "endpoint: otel:4317\nsamplingRatePerMillion: 100\n").unwrap();
            assert_eq!(
                (config.per_million, config.collector),
                (100, Collector::Host("otel:4317".to_owned()))
            );
        }
        let least = of("v1", "").unwrap();
        assert_eq!((least.per_million, least.collector), (0, Collector::default()));
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let error = |rest| of("v1", rest).unwrap_err();
        assert!(
            error("samplingRatePerMillion: -1")
                .ends_with("samplingRatePerMillion: Invalid value: -1: sampling rate must be positive")
        );
        assert!(error("samplingRatePerMillion: 1000001").ends_with("less than or equal to one million"));
        assert!(
            error("endpoint: http://a:1")
                .contains("endpoint: Invalid value: \"http://a:1\": unsupported scheme: http")
        );
        assert!(error("endpoints: a").contains("endpoints"), "unknown fields are refused");
        assert!(of("v2", "").unwrap_err().contains("apiserver.config.k8s.io/v2"));
    }
}
