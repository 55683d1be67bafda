//! One informer per kind and filter in a process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use mainstay_base::lifecycle::{Clock, Tasks};
use parking_lot::Mutex;

use super::filter::Filter;
use super::reader::Reader;
use super::source::{self, Informed};

/// The key of a shared informer: its Rust type, the resource, and its filter.
type Kept = (TypeId, String, Filter);

struct Inner {
    client: kube::Client,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    readers: Mutex<HashMap<Kept, Box<dyn Any + Send + Sync>>>,
}

/// The shared informers of one process and identity. A cheap handle; an informer starts when it is first asked for.
#[derive(Clone)]
pub struct Informers {
    inner: Arc<Inner>,
}

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informers").field("running", &self.inner.readers.lock().len()).finish_non_exhaustive()
    }
}

impl Informers {
    /// An empty registry whose informers speak through `client` and end with `tasks`.
    pub fn new(client: kube::Client, tasks: Tasks, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { client, tasks, clock, readers: Mutex::new(HashMap::new()) }) }
    }

    /// The client that the informers use.
    pub fn client(&self) -> kube::Client {
        self.inner.client.clone()
    }

    /// The clock that the informers use.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// The cache of all objects of a kind.
    pub fn reader<K>(&self) -> Reader<K>
    where
        K: Informed + kube::Resource<DynamicType = ()>,
    {
        self.filtered(Filter::default())
    }

    /// The cache of the objects of a kind that pass `filter`.
    pub fn filtered<K>(&self, filter: Filter) -> Reader<K>
    where
        K: Informed + kube::Resource<DynamicType = ()>,
    {
        let api = Api::<K>::all(self.client());
        let kind = format!("{}.{}", K::plural(&()), K::api_version(&()));
        self.kept(api, kind, filter)
    }

    /// The metadata of all objects of any resource, fetched as `PartialObjectMetadata`.
    pub fn metadata(&self, resource: &ApiResource) -> Reader<PartialObjectMeta<DynamicObject>> {
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(self.client(), resource);
        let kind = format!("{}.{}", resource.plural, resource.api_version);
        self.kept(api, kind, Filter::default())
    }

    fn kept<K: Informed>(&self, api: Api<K>, kind: String, filter: Filter) -> Reader<K> {
        let mut readers = self.inner.readers.lock();
        let kept = (TypeId::of::<K>(), kind, filter);
        if let Some(reader) = readers.get(&kept).and_then(|reader| reader.downcast_ref::<Reader<K>>()) {
            return reader.clone();
        }
        let reader = source::start(&self.inner.tasks, self.clock(), api, kept.2.clone());
        readers.insert(kept, Box::new(reader.clone()));
        reader
    }
}
