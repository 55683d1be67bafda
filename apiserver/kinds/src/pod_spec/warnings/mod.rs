//! Warnings about pods and pod templates that are valid but hardly meant so, in upstream's words and order.

mod containers;
mod paths;
mod ports;
mod volumes;
mod whole;

pub(crate) use containers::fractions_of;
pub(crate) use volumes::old_volumes;
pub(crate) use whole::{Subject, name_warning, spec_changed, template_warnings, warnings};
