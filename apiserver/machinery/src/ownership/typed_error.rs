//! [`TypedError`]: where an object does not fit its schema, in upstream's words.

use super::element::Element;

/// Faults of an object, each with its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypedError {
    faults: Vec<(String, String)>,
}

impl TypedError {
    pub(super) fn one(message: impl Into<String>) -> Self {
        Self { faults: vec![(String::new(), message.into())] }
    }

    pub(super) fn at(mut self, element: &Element) -> Self {
        for (path, _) in &mut self.faults {
            path.insert_str(0, &element.to_string());
        }
        self
    }

    pub(super) fn join(&mut self, other: Self) {
        self.faults.extend(other.faults);
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.faults.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl std::fmt::Display for TypedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = |(path, message): &(String, String)| {
            if path.is_empty() { message.clone() } else { format!("{path}: {message}") }
        };
        if let [fault] = self.faults.as_slice() {
            return f.write_str(&one(fault));
        }
        f.write_str("errors:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {}", one(fault)))
    }
}

impl std::error::Error for TypedError {}
