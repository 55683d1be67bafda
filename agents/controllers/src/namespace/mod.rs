//! The namespace controller: empties a deleted namespace, says in its conditions what is left, and lets it go.

mod plan;
mod reconciler;
mod world;

pub(crate) use reconciler::NamespaceController;
