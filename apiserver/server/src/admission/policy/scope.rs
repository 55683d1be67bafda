//! What a policy is about: whether it looks at a request, in which form, and with which parameters.

use std::sync::Arc;

use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::Status;
use mainstay_proto_api::label::{LabelSelector, Selector};

use super::read::{Binding, ParamRef, Policy};
use super::source::{Bound, Source};
use crate::admission::webhook::matching::{Criteria, NoNamespace};
use crate::cache::Cached;
use crate::registry::Registry;
use crate::types::AdmissionRequest;

/// Objects that one binding takes as parameters at most; each is one evaluation.
const PARAMS_MAX: usize = 1000;

/// Policies of one kind and what they look up.
pub(super) struct Scope {
    pub(super) registry: Registry,
    source: Source,
}

impl Scope {
    /// Policies and bindings of these kinds.
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub(super) fn new(
        registry: &Registry,
        policies: &'static Kind,
        bindings: &'static Kind,
    ) -> Result<Self, Status> {
        Ok(Self { registry: registry.clone(), source: Source::new(registry.clone(), policies, bindings)? })
    }

    /// The policies that have bindings, now.
    ///
    /// # Errors
    /// Objects that cannot be read.
    pub(super) fn bound(&self) -> Result<Arc<[Bound]>, Status> {
        self.source.bound()
    }

    /// The kind in whose form the request is looked at; none when the criteria are not about it.
    pub(super) fn form(
        &self,
        criteria: &Criteria,
        request: &AdmissionRequest,
    ) -> Result<Option<&'static Kind>, Status> {
        let labels = || Some(self.registry.get(&NAMESPACE, "", &request.namespace)?.header.labels.clone());
        let kinds = self.registry.served().current();
        criteria
            .form(request, kinds.all(), labels)
            .map_err(|NoNamespace| Status::not_found("", "namespaces", &request.namespace))
    }

    pub(super) fn namespace(&self, request: &AdmissionRequest) -> Result<Value, Status> {
        if *request.kind == NAMESPACE || request.namespace.is_empty() {
            return Ok(Value::Null);
        }
        match self.registry.get(&NAMESPACE, "", &request.namespace) {
            Some(cached) => self.registry.decode_served(&NAMESPACE, &cached),
            None => Ok(Value::Null),
        }
    }

    /// The parameters that a binding names, one null when there are none to name; empty when they may be absent and are.
    pub(super) async fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        request: &AdmissionRequest,
    ) -> Result<Vec<Value>, String> {
        let (Some(gvk), Some(wanted)) = (&policy.param_kind, &binding.params) else {
            return Ok(vec![Value::Null]);
        };
        let kind = self
            .registry
            .served()
            .find_kind(&gvk.group, &gvk.version, &gvk.kind)
            .filter(|kind| kind.is_stored())
            .ok_or_else(|| format!("paramKind {} of {} is not served", gvk.kind, gvk.group))?;
        let namespace = match (kind.namespaced, wanted.namespace.as_str()) {
            (false, "") => "",
            (false, _) => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
            }
            (true, "") if request.namespace.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .into(),
                );
            }
            (true, "") => request.namespace.as_str(),
            (true, stated) => stated,
        };
        let found = self.find(kind, namespace, wanted).await?;
        if found.is_empty() && wanted.denies_absence {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(found)
    }

    async fn find(
        &self,
        kind: &'static Kind,
        namespace: &str,
        wanted: &ParamRef,
    ) -> Result<Vec<Value>, String> {
        let found = self.named(kind, namespace, wanted)?;
        let found = self.registry.all_in_form(kind, found).await.map_err(|status| status.message)?;
        let decoded = found.iter().map(|cached| self.registry.decode_served(kind, cached));
        decoded.collect::<Result<_, _>>().map_err(|status| status.message)
    }

    fn named(
        &self,
        kind: &'static Kind,
        namespace: &str,
        wanted: &ParamRef,
    ) -> Result<Vec<Arc<Cached>>, String> {
        if !wanted.name.is_empty() {
            return Ok(self.registry.get(kind, namespace, &wanted.name).into_iter().collect());
        }
        let spec: LabelSelector = value::from_value(&wanted.selector).map_err(|error| error.to_string())?;
        let selector = Selector::from_spec(Some(&spec)).map_err(|error| error.to_string())?;
        let snapshot = self.registry.snapshot(kind).ok_or("the parameters are not stored")?;
        let all = snapshot.page(namespace, b"").filter(|cached| selector.matches(&*cached.header.labels));
        Ok(all.take(PARAMS_MAX).map(Arc::clone).collect())
    }
}
