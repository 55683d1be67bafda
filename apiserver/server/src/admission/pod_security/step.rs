//! The step: which request is held against which standard, and what the client hears.

use std::collections::BTreeMap;
use std::collections::HashSet;

use mainstay_apiserver_kinds::{NAMESPACE, POD};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::check::{Subject, details, evaluate, reasons};
use super::policy::{Level, Policy, Standard};
use crate::admission::step::{Step, Work, refuse};
use crate::audit::{annotate, auditing};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Pods that are looked at when a namespace becomes stricter.
const PODS_MAX: usize = 3000;

/// What the audit log is told.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";

/// Subresources of pods that do not change what a pod may do.
const HARMLESS: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Where a controller's object keeps the template of its pods, by resource.
const TEMPLATES: &[(&str, &[&str])] = &[
    ("podtemplates", &["template"]),
    ("replicationcontrollers", &["spec", "template"]),
    ("replicasets", &["spec", "template"]),
    ("deployments", &["spec", "template"]),
    ("statefulsets", &["spec", "template"]),
    ("daemonsets", &["spec", "template"]),
    ("jobs", &["spec", "template"]),
    ("cronjobs", &["spec", "jobTemplate", "spec", "template"]),
];

/// Who and what is held to no standard.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    /// Namespaces.
    pub namespaces: Vec<SmolStr>,
    /// Users who write.
    pub users: Vec<SmolStr>,
    /// Runtime classes of pods.
    pub runtime_classes: Vec<SmolStr>,
}

/// The step.
pub struct PodSecurity {
    registry: Registry,
    exemptions: Exemptions,
}

impl PodSecurity {
    /// The step over the cluster's namespaces and pods.
    pub fn new(registry: Registry, exemptions: Exemptions) -> Self {
        Self { registry, exemptions }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if *request.kind == NAMESPACE {
            return if request.subresource.is_empty() { self.check_namespace(request) } else { Ok(()) };
        }
        if *request.kind == POD {
            if HARMLESS.contains(&request.subresource.as_str()) {
                return Ok(());
            }
            return self.check_pod(request).await;
        }
        let template = TEMPLATES.iter().find(|(plural, _)| *plural == request.kind.plural);
        match template {
            Some((_, path)) if request.subresource.is_empty() && is_workload(request) => {
                self.check_template(request, path).await
            }
            _ => Ok(()),
        }
    }

    fn is_exempt(&self, request: &AdmissionRequest) -> bool {
        let by = if self.exemptions.namespaces.contains(&request.namespace) {
            "namespace"
        } else if self.exemptions.users.contains(&request.user.name) {
            "user"
        } else {
            return false;
        };
        annotate(EXEMPT, || by.to_owned());
        true
    }

    fn is_exempt_class(&self, spec: &Value) -> bool {
        let class = spec.path_str(&["runtimeClassName"]).unwrap_or_default();
        !class.is_empty() && self.exemptions.runtime_classes.iter().any(|exempt| exempt == class)
    }

    /// What the namespace's labels ask for.
    async fn policy(&self, namespace: &str) -> Result<Policy, Status> {
        let cached = match self.registry.get(&NAMESPACE, "", namespace) {
            Some(cached) => Some(cached),
            None => self.registry.get_fresh(&NAMESPACE, "", namespace).await?,
        };
        let Some(cached) = cached else {
            return Err(Status::internal(format!("failed to lookup namespace {namespace:?}")));
        };
        Ok(Policy::of_labels(|label| cached.header.label(label)).0)
    }

    async fn check_pod(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if self.is_exempt(request) {
            return Ok(());
        }
        let policy = self.policy(&request.namespace).await?;
        if policy.is_open() {
            return Ok(());
        }
        if let Some(old) = &request.old
            && request.operation == Operation::Update
            && !changes_what_runs(&request.object, old)
        {
            return Ok(());
        }
        let Some(spec) = request.object.get("spec") else { return Ok(()) };
        let subject = Subject { metadata: request.object.get("metadata"), spec };
        if self.is_exempt_class(spec) {
            annotate(EXEMPT, || "runtimeClass".to_owned());
            return Ok(());
        }
        annotate(ENFORCED, || policy.enforce.to_string());
        note(policy.audit, subject);
        let forbidden = evaluate(policy.enforce, subject);
        if !forbidden.is_empty() {
            let why =
                format!("violates PodSecurity {:?}: {}", policy.enforce.to_string(), details(&forbidden));
            return Err(refuse(request, why));
        }
        warn(request, policy.warn, subject);
        Ok(())
    }

    async fn check_template(&self, request: &AdmissionRequest, path: &[&str]) -> Result<(), Status> {
        if self.is_exempt(request) {
            return Ok(());
        }
        let Some(template) = request.object.path(path) else { return Ok(()) };
        let Some(spec) = template.get("spec") else { return Ok(()) };
        let policy = self.policy(&request.namespace).await?;
        if self.is_exempt_class(spec) {
            return Ok(());
        }
        let subject = Subject { metadata: template.get("metadata"), spec };
        note(policy.audit, subject);
        warn(request, policy.warn, subject);
        Ok(())
    }

    fn check_namespace(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let of = |object: &Value| {
            let meta = Meta(object);
            let labels: BTreeMap<&str, &str> = meta.label_pairs().collect();
            Policy::of_labels(|label| labels.get(label).copied())
        };
        let (policy, errors) = of(&request.object);
        let faults = |errors: &mainstay_apiserver_machinery::validation::ErrorList| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let Some(old) = request.old.as_ref().filter(|_| request.operation == Operation::Update) else {
            return errors.into_result("", "Namespace", &request.name);
        };
        let (before, old_errors) = of(old);
        if !errors.is_empty() && faults(&errors) != faults(&old_errors) {
            return errors.into_result("", "Namespace", &request.name);
        }
        let (new, old) = (policy.enforce, before.enforce);
        let stricter = new != old
            && new.level != Level::Privileged
            && !(new.version == old.version && new.level <= old.level);
        if stricter && !self.exemptions.namespaces.contains(&request.name) {
            self.warn_of_pods(request, new)?;
        }
        Ok(())
    }

    /// Tells which pods of the namespace would not be let in any more.
    fn warn_of_pods(&self, request: &AdmissionRequest, standard: Standard) -> Result<(), Status> {
        let namespace = &request.name;
        let snapshot = self.registry.cache(&POD)?.snapshot();
        let mut first = Vec::new();
        let mut further = Vec::new();
        let mut seen = HashSet::new();
        for cached in snapshot.namespace(namespace) {
            // Of a controller's pods the first speaks for all.
            let controller = &cached.header.controller;
            if controller.is_empty() || seen.insert(controller.clone()) {
                first.push(cached.clone());
            } else {
                further.push(cached.clone());
            }
        }
        let total = first.len() + further.len();
        let mut found: BTreeMap<String, (SmolStr, usize)> = BTreeMap::new();
        for cached in first.iter().chain(&further).take(PODS_MAX) {
            let pod = self.registry.decode_served(&POD, cached)?;
            let Some(spec) = pod.get("spec").filter(|spec| !self.is_exempt_class(spec)) else { continue };
            let forbidden = evaluate(standard, Subject { metadata: pod.get("metadata"), spec });
            if forbidden.is_empty() {
                continue;
            }
            let name = &cached.header.name;
            let entry = found.entry(reasons(&forbidden)).or_insert_with(|| (name.clone(), 0));
            entry.0 = entry.0.clone().min(name.clone());
            entry.1 += 1;
        }
        if total > PODS_MAX {
            request.warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {PODS_MAX} of {total} existing pods"
            ));
        }
        if !found.is_empty() {
            request.warnings.push(format!(
                "existing pods in namespace {:?} violate the new PodSecurity enforce level {:?}",
                namespace.as_str(),
                standard.to_string()
            ));
        }
        let mut lines: Vec<String> =
            found.into_iter().map(|(reasons, (name, count))| counted(&name, count, &reasons)).collect();
        lines.sort();
        for line in lines {
            request.warnings.push(line);
        }
        Ok(())
    }
}

fn counted(name: &str, count: usize, reasons: &str) -> String {
    match count {
        0 | 1 => format!("{name}: {reasons}"),
        2 => format!("{name} (and 1 other pod): {reasons}"),
        more => format!("{name} (and {} other pods): {reasons}", more - 1),
    }
}

fn is_workload(request: &AdmissionRequest) -> bool {
    matches!(request.kind.group, "" | "apps" | "batch")
}

/// Tells the audit log of what the audited standard forbids.
fn note(standard: Standard, subject: Subject<'_>) {
    if standard.level == Level::Privileged || !auditing() {
        return;
    }
    let forbidden = evaluate(standard, subject);
    if !forbidden.is_empty() {
        annotate(VIOLATIONS, || {
            format!("would violate PodSecurity {:?}: {}", standard.to_string(), details(&forbidden))
        });
    }
}

fn warn(request: &AdmissionRequest, standard: Standard, subject: Subject<'_>) {
    let forbidden = evaluate(standard, subject);
    if !forbidden.is_empty() {
        request.warnings.push(format!(
            "would violate PodSecurity {:?}: {}",
            standard.to_string(),
            details(&forbidden)
        ));
    }
}

/// Whether an update adds a container or changes an image: all that may change of what a pod may do.
fn changes_what_runs(new: &Value, old: &Value) -> bool {
    let image = |container: &Value| container.path_str(&["image"]).unwrap_or_default().to_owned();
    for list in ["containers", "initContainers"] {
        let (new, old) = (new.path_list(&["spec", list]), old.path_list(&["spec", list]));
        if new.len() != old.len() || new.iter().zip(old).any(|(new, old)| image(new) != image(old)) {
            return true;
        }
    }
    let old = old.path_list(&["spec", "ephemeralContainers"]);
    new.path_list(&["spec", "ephemeralContainers"]).iter().any(|container| {
        let same_name = |o: &&Value| o.path_str(&["name"]) == container.path_str(&["name"]);
        old.iter().find(same_name).is_none_or(|old| image(old) != image(container))
    })
}

impl Step for PodSecurity {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let concerns = *request.kind == NAMESPACE
            || *request.kind == POD
            || TEMPLATES.iter().any(|(plural, _)| *plural == request.kind.plural);
        if concerns { Some(Box::pin(self.check(request))) } else { None }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
