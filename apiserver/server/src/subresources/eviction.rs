//! `pods/eviction`: a deletion that a PodDisruptionBudget may refuse.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::{EVICTION, POD, POD_DISRUPTION_BUDGET};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::deletion::{DeleteOptions, check_preconditions};
use mainstay_apiserver_machinery::pipeline::timestamp;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;

use super::condition::set_condition;
use super::disruption::{self, Permission};
use crate::handlers::{Deletes, FieldOwner, WriteRequest, Writer};
use crate::request::{RequestContext, respond_status};
use crate::reviews::request::{create_options, dry_run, read_also};
use crate::types::{
    AdmissionRequest, Admit, Endpoint, Marks, Operation, Reinvocation, Request, Response, Warnings,
};

/// Answers eviction requests.
pub struct PodEviction {
    /// Deletes the pods.
    pub writer: Writer,
    /// Admission of the eviction itself.
    pub admission: Arc<dyn Admit>,
    /// When an eviction happened.
    pub clock: Arc<dyn Clock>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl PodEviction {
    async fn evict(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        // Upstream's one kind of a version that is else gone: old clients still drain.
        let kind = (&EVICTION, &["policy/v1beta1"][..]);
        let eviction = read_also(&context, request, kind, self.body_bytes_max).await?;
        let name = context.info.name.clone();
        let named = Meta(&eviction).name();
        if !named.is_empty() && named != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let body = eviction.path(&["deleteOptions"]).cloned().unwrap_or(Value::Null);
        let mut options = DeleteOptions::from_value(&body)?;
        options.dry_run |= dry_run(&context)?;
        self.admit(&context, eviction).await?;
        self.ask_budgets(&context.info.namespace, &name, options.dry_run).await?;
        if !options.dry_run {
            self.mark(&context.info.namespace, &name, &mut options).await?;
        }
        let delete = WriteRequest {
            kind: &POD,
            namespace: context.info.namespace.clone(),
            name,
            user: context.user().clone(),
            dry_run: options.dry_run,
            options: body,
            owner: FieldOwner::Nobody,
            deletes: Deletes::Admitted,
        };
        self.writer.delete(&delete, &options).await?;
        let mut done = Status::success();
        done.code = 201;
        Ok(respond_status(&context.headers, &context.query, &done))
    }

    /// Says in the pod's status why it goes; whoever deletes only one version of the pod means the one that this makes.
    async fn mark(&self, namespace: &str, name: &str, options: &mut DeleteOptions) -> Result<(), Status> {
        let now = timestamp(self.clock.wall());
        let change = |mut pod: Value| {
            check_preconditions(&POD, &pod, options)?;
            let condition = value!({
                "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now.as_str(),
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"
            });
            set_condition(&mut pod, condition);
            Ok(Some(pod))
        };
        let marked = self.writer.registry().update_with(&POD, namespace, name, change).await?;
        if let Some(version) = &mut options.resource_version {
            *version = Meta(&marked.object).resource_version().into();
        }
        Ok(())
    }

    /// Takes the eviction from the budget that covers the pod.
    async fn ask_budgets(&self, namespace: &str, name: &str, dry_run: bool) -> Result<(), Status> {
        let registry = self.writer.registry();
        let found = registry.get_fresh(&POD, namespace, name).await?;
        let found = found.ok_or_else(|| Status::not_found(POD.group, POD.plural, name))?;
        let pod = registry.decode_served(&POD, &found)?;
        if disruption::is_free(&pod) {
            return Ok(());
        }
        let budgets = registry.snapshot_fresh(&POD_DISRUPTION_BUDGET).await?;
        let mut covering = Vec::new();
        for cached in budgets.namespace(namespace) {
            let budget = registry.decode_served(&POD_DISRUPTION_BUDGET, cached)?;
            if disruption::covers(&budget, &pod) {
                covering.push(budget);
            }
        }
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(Status::failure(
                    500,
                    "InternalError",
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        if disruption::permission(budget, &pod) == Permission::Free {
            return Ok(());
        }
        let now = timestamp(self.clock.wall());
        if dry_run {
            return disruption::take(budget, name, &now).map(drop);
        }
        let budget_name = Meta(budget).name();
        let take = |budget: Value| disruption::take(&budget, name, &now).map(Some);
        registry.update_with(&POD_DISRUPTION_BUDGET, namespace, budget_name, take).await.map(drop)
    }

    async fn admit(&self, context: &RequestContext, eviction: Value) -> Result<(), Status> {
        let (dry_run, options) = create_options(context)?;
        let mut request = AdmissionRequest {
            kind: &POD,
            subresource: "eviction".into(),
            operation: Operation::Create,
            namespace: context.info.namespace.clone(),
            name: context.info.name.clone(),
            object: eviction,
            old: None,
            user: context.user().clone(),
            dry_run,
            options,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        self.admission.mutate(&mut request).await?;
        self.admission.validate(&request).await
    }
}

impl Endpoint for PodEviction {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.evict(context, request))
    }
}
