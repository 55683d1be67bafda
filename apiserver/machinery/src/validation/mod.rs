//! Validation: field paths, lists of errors with upstream's texts, and the checks that many kinds share. Nothing
//! here knows a kind; nothing here changes an object.

mod at;
mod error;
mod meta;
pub mod names;
mod path;
mod selector;

pub use at::{At, FIELD_IS_IMMUTABLE};
pub use error::{ErrorList, ErrorType, FieldError, quote};
pub use meta::{
    ANNOTATIONS_BYTES_MAX, FINALIZER_FOREGROUND, FINALIZER_ORPHAN, validate_annotations,
    validate_finalizer_names, validate_labels, validate_meta, validate_meta_update, validate_name,
};
pub use path::Path;
pub use selector::validate_label_selector;
