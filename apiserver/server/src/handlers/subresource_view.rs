//! What a subresource shows of an object, as an object of another kind.

use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

/// A part of an object that clients and admission see as an object of its own: `scale`.
pub trait SubresourceView: Sync {
    /// The subresource.
    fn subresource(&self) -> &str;

    /// What is seen of an object.
    ///
    /// # Errors
    /// An object whose fields cannot be shown.
    fn of(&self, object: &Value) -> Result<Value, Status>;

    /// The object after somebody wrote its view.
    ///
    /// # Errors
    /// A view that breaks its kind's rules.
    fn put(&self, object: &Value, view: &Value) -> Result<Value, Status>;
}
