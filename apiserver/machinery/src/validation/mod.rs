//! Validation: field paths, lists of errors with upstream's texts, and the checks that many kinds share. Nothing
//! here knows a kind; nothing here changes an object.

mod checks;
mod error;
mod meta;
mod names;
mod path;
mod selector;

pub use checks::{immutable, non_negative, one_of, required_str};
pub use error::{BadValue, ErrorList, ErrorType, FieldError};
pub use meta::{
    validate_annotations, validate_labels, validate_meta, validate_meta_update, validate_name, ANNOTATIONS_BYTES_MAX,
};
pub use names::{
    c_identifier, config_map_key, dns_label, dns_label_1035, dns_subdomain, env_var_name, http_header_name, ip,
    label_value, path_segment, port_name, port_number, qualified_name, relaxed_env_var_name,
};
pub use path::Path;
pub use selector::validate_label_selector;
