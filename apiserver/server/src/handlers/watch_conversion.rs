//! What a watch of objects that a webhook converts does before it selects and encodes: it looks at both states of an
//! event in the watched version.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::WatchEventType;

use crate::cache::{Cached, ChangeKind, Event};
use crate::failure::Failure;
use crate::registry::Registry;
use crate::selection::Selection;

/// The way to the watched version.
pub(super) struct WatchConversion {
    registry: Registry,
    kind: &'static Kind,
}

impl WatchConversion {
    /// None for kinds that no webhook converts.
    pub(super) fn of(registry: &Registry, kind: &'static Kind) -> Option<Self> {
        Registry::asks_to_convert(kind).then(|| Self { registry: registry.clone(), kind })
    }

    /// The objects in the watched version.
    pub(super) async fn all(&self, objects: Vec<Arc<Cached>>) -> Result<Vec<Arc<Cached>>, Failure> {
        self.registry.all_in_form(self.kind, objects).await.map_err(Failure::Answered)
    }

    /// What an event looks like in the watched version through a selection; none when it is not in view.
    pub(super) async fn event(
        &self,
        event: &Event,
        selection: &Selection,
    ) -> Result<Option<(Arc<Cached>, WatchEventType)>, Failure> {
        let states = event.previous.iter().chain([&event.object]).cloned().collect();
        let mut states = self.all(states).await?.into_iter().rev();
        let (Some(object), previous) = (states.next(), states.next()) else { return Ok(None) };
        let is_gone = event.change == ChangeKind::Deleted;
        // A deletion's object is its last state.
        let last = if is_gone { Some(&object) } else { previous.as_ref() };
        let before = last.filter(|last| selection.matches(last));
        let after = !is_gone && selection.matches(&object);
        let kind = match (before, after) {
            (None, true) => WatchEventType::Added,
            (Some(_), true) => WatchEventType::Modified,
            (Some(last), false) => {
                let gone = last.at_revision(event.revision)?;
                return Ok(Some((Arc::new(gone), WatchEventType::Deleted)));
            }
            (None, false) => return Ok(None),
        };
        Ok(Some((object, kind)))
    }
}
