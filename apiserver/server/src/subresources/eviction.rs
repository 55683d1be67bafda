//! `pods/eviction`: a deletion that budgets could refuse. PodDisruptionBudgets are not built, so none does.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::{EVICTION, POD};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use crate::handlers::{FieldOwner, WriteRequest, Writer};
use crate::request::{RequestContext, respond_status};
use crate::reviews::request::{dry_run, read};
use crate::types::{
    AdmissionRequest, Admit, Endpoint, Marks, Operation, Reinvocation, Request, Response, Warnings,
};

/// Answers eviction requests.
pub struct PodEviction {
    /// Deletes the pods.
    pub writer: Writer,
    /// Admission of the eviction itself.
    pub admission: Arc<dyn Admit>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl PodEviction {
    async fn evict(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let eviction = read(&context, request, &EVICTION, self.body_bytes_max).await?;
        let name = context.info.name.clone();
        let named = Meta(&eviction).name();
        if !named.is_empty() && named != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let body = eviction.path(&["deleteOptions"]).cloned().unwrap_or(Value::Null);
        let mut options = DeleteOptions::from_value(&body)?;
        options.dry_run |= dry_run(&context)?;
        self.admit(&context, eviction, options.dry_run).await?;
        let delete = WriteRequest {
            kind: &POD,
            namespace: context.info.namespace.clone(),
            name,
            user: context.user().clone(),
            dry_run: options.dry_run,
            options: body,
            owner: FieldOwner::Nobody,
        };
        self.writer.delete(&delete, &options).await?;
        let mut done = Status::success();
        done.code = 201;
        Ok(respond_status(&context.headers, &context.query, &done))
    }

    async fn admit(&self, context: &RequestContext, eviction: Value, dry_run: bool) -> Result<(), Status> {
        let request = AdmissionRequest {
            kind: &POD,
            subresource: "eviction".into(),
            // Not a creation of content: a namespace that is going still lets its pods be evicted.
            operation: Operation::Connect,
            namespace: context.info.namespace.clone(),
            name: context.info.name.clone(),
            object: eviction,
            old: None,
            user: context.user().clone(),
            dry_run,
            options: Value::Null,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        self.admission.validate(&request).await
    }
}

impl Endpoint for PodEviction {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.evict(context, request))
    }
}
