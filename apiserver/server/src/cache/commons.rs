//! What many objects have in common is kept once: the labels and the field sets of pods of one ReplicaSet, of leases of
//! nodes, of events of one component. Field sets alone are a quarter of such an object's bytes.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use smol_str::SmolStr;

use super::header::LabelSet;
use super::{Raw, splice};

/// Shorter field sets cost more to share than to repeat.
const BYTES_MIN: usize = 64;
/// Values seen once that are remembered, by their hashes.
const ONCE_MAX: usize = 1 << 16;
/// Shared values from which on those that nobody has any more are looked for.
const SWEEP_MIN: usize = 1024;

/// What is shared by all resources.
#[derive(Debug, Default)]
pub(super) struct Commons {
    field_sets: Mutex<Table<[u8]>>,
    labels: Mutex<Table<[(SmolStr, SmolStr)]>>,
}

/// Values of one type.
#[derive(Debug)]
struct Table<T: ?Sized> {
    /// A value is shared when it comes again: most that name an address or an instance never do.
    once: HashSet<u64>,
    hasher: RandomState,
    shared: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl Commons {
    /// The same labels; those that others have too are shared with them.
    pub(super) fn labels(&self, labels: LabelSet) -> LabelSet {
        if labels.is_empty() {
            return labels;
        }
        self.labels.lock().find(&*labels).unwrap_or(labels)
    }

    /// The same message, with the field sets in it shared that others have too; `None` where there is none. A message
    /// that cannot be read shares nothing.
    pub(super) fn message(&self, message: &Raw) -> Option<Raw> {
        let bytes = message.bytes();
        let places = splice::field_sets(&bytes);
        if places.is_empty() {
            return None;
        }
        let mut table = self.field_sets.lock();
        let parts: Vec<_> = places
            .into_iter()
            .filter_map(|place| {
                let set = bytes.get(place.clone()).filter(|set| set.len() >= BYTES_MIN)?;
                Some((place.start, table.find(set)?))
            })
            .collect();
        (!parts.is_empty()).then(|| message.sharing(parts))
    }

    /// How many field sets are shared, some perhaps by nobody any more.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.field_sets.lock().shared.len()
    }
}

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Self { once: HashSet::new(), hasher: RandomState::new(), shared: HashSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl<T: ?Sized + Hash + Eq> Table<T> {
    /// The one copy of `value`; `None` the first time that it comes.
    fn find<'v>(&mut self, value: &'v T) -> Option<Arc<T>>
    where
        Arc<T>: From<&'v T>,
    {
        if let Some(known) = self.shared.get(value) {
            return Some(Arc::clone(known));
        }
        let hash = self.hasher.hash_one(value);
        if !self.once.remove(&hash) {
            if self.once.len() >= ONCE_MAX {
                self.once.clear();
            }
            self.once.insert(hash);
            return None;
        }
        if self.shared.len() >= self.sweep_at {
            self.shared.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (self.shared.len() * 2).max(SWEEP_MIN);
        }
        let shared: Arc<T> = value.into();
        self.shared.insert(Arc::clone(&shared));
        Some(shared)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_kinds::POD;
    use mainstay_apiserver_machinery::{protobuf, value};

    use super::*;

    /// A pod of a ReplicaSet as protobuf: one writer's set is every pod's, the other's names the pod's address.
    fn pod(at: usize) -> Raw {
        let ports = r#"{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"22222222-2222-4222-8222-222222222222\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}"#;
        let status = format!(
            r#"{{"f:status":{{"f:phase":{{}},"f:podIP":{{}},"f:podIPs":{{".":{{}},"k:{{\"ip\":\"10.244.{}.{}\"}}":{{".":{{}},"f:ip":{{}}}}}},"f:startTime":{{}}}}}}"#,
            at / 256,
            at % 256
        );
        let set = |text: &str| mainstay_apiserver_machinery::json::decode_free(text.as_bytes()).unwrap();
        let time = "2026-01-01T00:00:00Z";
        let tree = value!({"metadata": {"name": format!("p{at}"), "namespace": "a", "managedFields": [
            {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": set(ports)},
            {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": set(&status), "subresource": "status"}]},
            "spec": {"nodeName": "n"}});
        let mut message = Vec::new();
        protobuf::encode(&tree, POD.schema(), &mut message).unwrap();
        Raw::whole(message)
    }

    #[test]
    fn identical_field_sets_share_memory() {
        let commons = Commons::default();
        let (mut whole, mut own) = (0, 0);
        let mut kept = Vec::new();
        for at in 0..5000 {
            let message = pod(at);
            let shared = commons.message(&message);
            assert_eq!(shared.is_some(), at > 0, "the second one shares");
            let shared = shared.unwrap_or_else(|| message.clone());
            assert!(shared == message && shared.bytes() == message.bytes() && shared.len() == message.len());
            whole += message.len();
            own += shared.own_len();
            kept.push(shared);
        }
        assert_eq!(commons.len(), 1, "sets that name an address are nobody else's");
        assert!(own * 2 < whole, "{own} of {whole} bytes are their own");
        drop(kept);
    }

    #[test]
    fn sets_that_nobody_has_any_more_are_forgotten() {
        let commons = Commons::default();
        for at in 0..5 * SWEEP_MIN {
            // The address's set comes twice here.
            let twice = (commons.message(&pod(at)), commons.message(&pod(at)));
            drop(twice);
        }
        assert!(commons.len() <= 2 * SWEEP_MIN, "{}", commons.len());
        assert!(commons.field_sets.lock().once.len() <= ONCE_MAX);
    }

    #[test]
    fn messages_that_cannot_be_read_are_left_alone() {
        let commons = Commons::default();
        let mut state = 1_u64;
        let good = pod(7).bytes().into_owned();
        for cut in 0..good.len() {
            let mut bytes = good.get(..cut).unwrap().to_vec();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Some(byte) = bytes.get_mut((state >> 33) as usize % (cut + 1)) {
                *byte ^= (state >> 50) as u8;
            }
            let message = Raw::whole(bytes);
            if let Some(shared) = commons.message(&message) {
                assert!(shared == message);
            }
        }
    }

    #[test]
    fn equal_labels_are_kept_once() {
        let commons = Commons::default();
        let labels = |app: &str| -> LabelSet { [("app".into(), app.into())].into() };
        let first = commons.labels(labels("web"));
        let second = commons.labels(labels("web"));
        let third = commons.labels(labels("web"));
        assert!(Arc::ptr_eq(&second, &third) && first == second);
        assert!(!Arc::ptr_eq(&third, &commons.labels(labels("api"))));
    }
}
