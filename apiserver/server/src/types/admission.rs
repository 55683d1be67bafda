//! What an admission step sees and may change.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

use super::UserInfo;

/// The write that asks for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// POST of a new object or of a creating subresource.
    Create,
    /// PUT or PATCH.
    Update,
    /// DELETE of one object.
    Delete,
    /// A streaming subresource: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// The upper-case name upstream uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A sentence for the client's `Warning` header.
pub type AdmissionWarning = String;

/// Sentences for the client's `Warning` headers. Every step may add some, each is told once.
#[derive(Debug, Default)]
pub struct Warnings(parking_lot::Mutex<Vec<AdmissionWarning>>);

impl Warnings {
    /// Adds a sentence, unless it is there.
    pub fn push(&self, warning: AdmissionWarning) {
        let mut warnings = self.0.lock();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Adds several.
    pub fn extend(&self, warnings: impl IntoIterator<Item = AdmissionWarning>) {
        warnings.into_iter().for_each(|warning| self.push(warning));
    }

    /// All of them, in order.
    pub fn into_vec(self) -> Vec<AdmissionWarning> {
        self.0.into_inner()
    }
}

impl Clone for Warnings {
    fn clone(&self) -> Self {
        Self(parking_lot::Mutex::new(self.0.lock().clone()))
    }
}

/// One write on its way to the store. Mutating steps may change `object`, all steps may add warnings; nothing else.
#[derive(Debug, Clone)]
pub struct AdmissionRequest {
    /// The kind in the URL.
    pub kind: &'static Kind,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// What is being done.
    pub operation: Operation,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Name; empty while a `generateName` is not yet resolved.
    pub name: SmolStr,
    /// The new object (for `Delete`: [`Value::Null`]; for `Connect`: the options).
    pub object: Value,
    /// The stored object, for `Update` and `Delete`.
    pub old: Option<Value>,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// Nothing will be stored: steps must not have side effects.
    pub dry_run: bool,
    /// The options of the request (`CreateOptions`, `DeleteOptions`, …).
    pub options: Value,
    /// Sentences for the `Warning` header.
    pub warnings: Warnings,
    /// What steps note for later calls about the same request.
    pub marks: Marks,
    /// What webhooks need to know to be asked once more.
    pub reinvocation: Reinvocation,
}

/// What steps note about a request, each once.
#[derive(Debug, Default)]
pub struct Marks(parking_lot::Mutex<Vec<&'static str>>);

impl Marks {
    /// Sets a mark; false when it was set already.
    pub fn set(&self, mark: &'static str) -> bool {
        let mut marks = self.0.lock();
        let new = !marks.contains(&mark);
        if new {
            marks.push(mark);
        }
        new
    }

    /// Whether the mark is set.
    pub fn has(&self, mark: &str) -> bool {
        self.0.lock().contains(&mark)
    }
}

impl Clone for Marks {
    fn clone(&self) -> Self {
        Self(parking_lot::Mutex::new(self.0.lock().clone()))
    }
}

/// Whether the mutating steps run a second time, and what they need to know for it.
#[derive(Debug, Clone, Default)]
pub struct Reinvocation {
    /// Whether a policy or webhook changed the object, so that the mutating steps run once more.
    pub is_wanted: bool,
    /// Whether this is the second run.
    pub is_again: bool,
    /// What the policies need to know.
    pub policies: Rounds,
    /// What the webhooks need to know.
    pub hooks: Rounds,
}

/// Which policies, or webhooks, are asked a second time because the object changed after they were asked.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    /// The object as they left it.
    pub last: Option<Value>,
    /// Those that were asked and want to be asked again.
    pub asked: Vec<SmolStr>,
    /// Those to ask in the second run.
    pub due: Vec<SmolStr>,
}

impl Rounds {
    /// Everything that was asked so far is asked again.
    pub fn all_due(&mut self) {
        self.due.append(&mut self.asked);
    }
}
