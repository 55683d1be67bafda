//! What an admission step sees and may change.

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

/// One write on its way to the store. Mutating steps may change `object` and add warnings; nothing else.
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
    pub user: UserInfo,
    /// Nothing will be stored: steps must not have side effects.
    pub dry_run: bool,
    /// The options of the request (`CreateOptions`, `DeleteOptions`, …).
    pub options: Value,
    /// Sentences for the `Warning` header.
    pub warnings: Vec<AdmissionWarning>,
}
