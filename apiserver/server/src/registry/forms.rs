//! Objects in the form of another version, where that takes another process: custom resources whose definition has a
//! conversion webhook. All other conversions are made where an object is decoded.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use mainstay_store::Revision;

use super::{Registry, Stored};
use crate::cache::Cached;

/// Objects in one question to a converter.
const BATCH: usize = 200;

/// Converts objects between the versions of a custom kind.
pub trait Convert: Send + Sync {
    /// The objects as `to`, in the same order. They may be of several versions, none of which is `to`.
    ///
    /// # Errors
    /// Upstream's 500 when the converter cannot be asked, or answers what does not fit.
    fn convert<'a>(
        &'a self,
        objects: Vec<Value>,
        to: &'static Kind,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>>;
}

/// Whether `cached` can be shown as `kind` without asking anybody.
fn is_in_form(kind: &'static Kind, cached: &Cached) -> bool {
    cached.kind == kind || !cached.kind.is_custom
}

impl Registry {
    /// Sets who converts; once, when the server is put together.
    pub fn set_converter(&self, converter: Arc<dyn Convert>) {
        if self.inner.converter.set(converter).is_err() {
            tracing::error!("the converter of custom resources is set twice");
        }
    }

    /// Whether objects of `kind` may have to be converted by a webhook to be shown.
    pub fn asks_to_convert(kind: &'static Kind) -> bool {
        kind.is_custom && kind.rules.converter().is_some()
    }

    /// A cached object, as `kind` where that takes a webhook. All others are as they were: encoding converts them.
    ///
    /// # Errors
    /// 500 when the webhook cannot be asked.
    pub async fn in_form(&self, kind: &'static Kind, cached: Arc<Cached>) -> Result<Arc<Cached>, Status> {
        if is_in_form(kind, &cached) {
            return Ok(cached);
        }
        let mut all = self.all_in_form(kind, vec![cached]).await?;
        all.pop().ok_or_else(|| Status::internal("a conversion without a result"))
    }

    /// Cached objects, each as [`Registry::in_form`].
    ///
    /// # Errors
    /// 500 when the webhook cannot be asked.
    pub async fn all_in_form(
        &self,
        kind: &'static Kind,
        mut objects: Vec<Arc<Cached>>,
    ) -> Result<Vec<Arc<Cached>>, Status> {
        let Some(converter) = kind.rules.converter().filter(|_| kind.is_custom) else { return Ok(objects) };
        let mut wanted = Vec::new();
        for (at, object) in objects.iter_mut().enumerate() {
            if is_in_form(kind, object) {
                continue;
            }
            match self.inner.converted.lock().get(kind, &converter, object) {
                Some(known) => *object = known,
                None => wanted.push(at),
            }
        }
        for batch in wanted.chunks(BATCH) {
            let of_batch = || batch.iter().filter_map(|at| objects.get(*at));
            let trees: Result<Vec<Value>, _> = of_batch().map(|object| object.decode()).collect();
            let trees = trees.map_err(|error| Self::failed(kind, error))?;
            let made = self.convert(trees, kind).await?;
            for (at, tree) in batch.iter().zip(made) {
                let Some(object) = objects.get_mut(*at) else { continue };
                let new = Arc::new(Cached::custom(kind, tree, object.header.revision));
                self.inner.converted.lock().put(kind, &converter, object, &new);
                *object = new;
            }
        }
        Ok(objects)
    }

    /// A cached object as a tree in the form of `kind`.
    ///
    /// # Errors
    /// 500 for bytes that cannot be decoded, or a webhook that cannot be asked.
    pub async fn decode_in_form(&self, kind: &'static Kind, cached: &Arc<Cached>) -> Result<Value, Status> {
        let cached = self.in_form(kind, Arc::clone(cached)).await?;
        self.decode_served(kind, &cached)
    }

    /// A tree in the form of `from` as one in the form of `to`, another version of the same objects.
    ///
    /// # Errors
    /// 500 when a webhook would have to be asked and cannot.
    pub async fn converted(
        &self,
        mut object: Value,
        from: &'static Kind,
        to: &'static Kind,
    ) -> Result<Value, Status> {
        // The body of a subresource may be of a kind of its own (a Scale), which has one form.
        let is_other = !["", from.kind].contains(&Meta(&object).kind());
        if from == to || object.is_null() || is_other {
            return Ok(object);
        }
        if Self::asks_to_convert(to) {
            let mut all = self.convert(vec![object], to).await?;
            return all.pop().ok_or_else(|| Status::internal("a conversion without a result"));
        }
        if !std::ptr::eq(from.stored_kind(), from) {
            from.rules.to_storage(&mut object);
        }
        if !std::ptr::eq(to.stored_kind(), to) {
            to.rules.from_storage(&mut object);
        }
        MetaMut(&mut object).set_type(&to.api_version(), to.kind);
        Ok(object)
    }

    /// What a write left behind, as its kind shows it.
    pub(super) async fn shown(&self, kind: &'static Kind, stored: Stored) -> Result<Stored, Status> {
        if is_in_form(kind, &stored.cached) || !Self::asks_to_convert(kind) {
            return Ok(stored);
        }
        let cached = self.in_form(kind, stored.cached).await?;
        let object = cached.decode().map_err(|error| Self::failed(kind, error))?;
        Ok(Stored { object, cached })
    }

    /// The same of a write that was not done: nothing of it may be kept, as its revision is that of another state.
    pub(super) async fn shown_preview(
        &self,
        kind: &'static Kind,
        stored: Stored,
        revision: Revision,
    ) -> Result<Stored, Status> {
        if is_in_form(kind, &stored.cached) || !Self::asks_to_convert(kind) {
            return Ok(stored);
        }
        let object = self.converted(stored.object, stored.cached.kind, kind).await?;
        let cached = Arc::new(Cached::custom(kind, object.clone(), revision));
        Ok(Stored { object, cached })
    }

    /// The object in the form that is stored, where a webhook makes it.
    pub(super) async fn to_stored_form(&self, kind: &'static Kind, object: Value) -> Result<Value, Status> {
        let stored = kind.stored_kind();
        if kind == stored || !Self::asks_to_convert(stored) {
            return Ok(object);
        }
        self.converted(object, kind, stored).await
    }

    async fn convert(&self, objects: Vec<Value>, to: &'static Kind) -> Result<Vec<Value>, Status> {
        let converter = self.inner.converter.get();
        let converter = converter.ok_or_else(|| Status::internal("nobody converts custom resources here"))?;
        converter.convert(objects, to).await
    }
}
