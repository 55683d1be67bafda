//! The kinds that definitions make: their rules, tables and names.

mod column;
pub mod conversion;
mod definition;
mod embedded;
mod formats;
mod json_path;
mod kinds;
mod list_types;
mod rule_tree;
mod rules;
mod values;

pub use column::{PrinterColumn, cell};
pub use definition::{Definition, DefinitionError, Scale, Version};
pub use formats::is_known_format;
pub use json_path::{JsonPath, PathError, simple_path};
pub use kinds::{Face, Faces, KindError, kinds_of, retire};
pub use list_types::check_list_types;
pub use rule_tree::{CompiledRule, RuleTree, check_rules};
pub use rules::CustomRules;
pub use values::{Patterns, ValueCheck, check_update, check_value};

pub(crate) use embedded::check_embedded;
