//! Which changes of a cache concern which keys.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};

use crate::ObjectKey;
use crate::informer::{Change, Informed, Reader};
use crate::owner::controller_of;
use crate::step::Kind;

type WaitFn = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// One cache and how its objects map to keys.
pub struct Watch {
    pub(super) kind: Option<Kind>,
    pub(super) synced: BoxFuture<'static, ()>,
    pub(super) keys: BoxStream<'static, Vec<ObjectKey>>,
    pub(super) observed: WaitFn,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Watch {
    /// Each object concerns its own key.
    pub fn of<K: Informed + kube::Resource<DynamicType = ()>>(reader: &Reader<K>) -> Self {
        Self::map(reader, |object| vec![ObjectKey::of(object)])
    }

    /// Each object concerns its controller, if that is an `Owner` (matched by kind and API group).
    pub fn controlled_by<Owner, K>(reader: &Reader<K>) -> Self
    where
        Owner: kube::Resource<DynamicType = ()>,
        K: Informed + kube::Resource<DynamicType = ()>,
    {
        Self::map(reader, |object| {
            let Some(owner) = controller_of(object.meta()) else { return Vec::new() };
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            if owner.kind != Owner::kind(&()) || group != Owner::group(&()) {
                return Vec::new();
            }
            let namespace = object.meta().namespace.clone().unwrap_or_default();
            vec![ObjectKey::new(namespace, owner.name.clone())]
        })
    }

    /// Each object concerns the keys that `keys_of` says. A changed object concerns those of its old and new state.
    pub fn map<K, F>(reader: &Reader<K>, keys_of: F) -> Self
    where
        K: Informed + kube::Resource<DynamicType = ()>,
        F: Fn(&K) -> Vec<ObjectKey> + Send + Sync + 'static,
    {
        let mut watch = Self::untyped(reader, keys_of);
        watch.kind = Some(Kind::of::<K>());
        watch
    }

    /// As [`Watch::map`], for resources that are known only at run time.
    pub fn untyped<K, F>(reader: &Reader<K>, keys_of: F) -> Self
    where
        K: Informed,
        F: Fn(&K) -> Vec<ObjectKey> + Send + Sync + 'static,
    {
        Self::changes(reader, move |old, new| [old, new].into_iter().flatten().flat_map(&keys_of).collect())
    }

    /// Each change, from the old to the new state of an object, concerns the keys that `keys_of` says. Looking at the whole
    /// cache counts as every object having come.
    pub fn changes<K, F>(reader: &Reader<K>, keys_of: F) -> Self
    where
        K: Informed,
        F: Fn(Option<&K>, Option<&K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    {
        let state = (reader.subscribe(), reader.clone(), keys_of);
        let keys = stream::unfold(state, |(mut changes, reader, keys_of)| async move {
            let keys = match changes.next().await? {
                Change::Object { old, new, .. } => keys_of(old.as_deref(), new.as_deref()),
                Change::Resync => reader
                    .snapshot()
                    .values()
                    .flat_map(|object| keys_of(None, Some(object.as_ref())))
                    .collect(),
            };
            Some((keys, (changes, reader, keys_of)))
        });
        let waiting = reader.clone();
        let synced = reader.clone();
        Self {
            kind: None,
            synced: async move { synced.synced().await }.boxed(),
            keys: keys.boxed(),
            observed: Arc::new(move |revision| {
                let reader = waiting.clone();
                async move { reader.observed(revision).await }.boxed()
            }),
        }
    }

    /// Keys from a source that is no cache, for example a timer.
    pub fn keys(keys: impl futures::Stream<Item = Vec<ObjectKey>> + Send + 'static) -> Self {
        Self {
            kind: None,
            synced: futures::future::ready(()).boxed(),
            keys: keys.boxed(),
            observed: Arc::new(|_| futures::future::ready(()).boxed()),
        }
    }
}
