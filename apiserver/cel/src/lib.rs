//! The Common Expression Language as Kubernetes has it: reading, checking types against schemas, estimating costs, and
//! running expressions over object trees within a budget. Any text gives a program or an error, any run a value, an error
//! or the end of its budget; objects are read in place and never copied.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the language defines these conversions; each place states its bounds"
)]

mod ast;
mod built_in;
mod check;
mod cost;
mod eval;
mod functions;
mod lexer;
mod made;
mod parser;
mod program;
mod shape;
mod signatures;
mod types;
mod value;

pub use eval::{EvalError, Meter};
pub use functions::{Access, AccessAnswer, AccessQuestion};
pub use parser::is_reserved;
pub use program::{CompileError, Environment, Program, Variable};
pub use shape::{Field, Shape};
pub use types::Type;
pub use value::Val;
