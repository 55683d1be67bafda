//! Several served versions of one stored kind. One version is the hub: it is stored, and its rules judge objects of
//! every version, so that all versions mean the same. A [`Conversion`] says how another version's form becomes the
//! hub's and back, as a list of steps; a [`Face`] is the rules of such a version. Nothing is lost on the way to the
//! hub; what the other version has no field for goes back in annotations, where the kind asks for it.
//! Conversions are pure: those that need another process belong to the server.

use crate::kind::{CollectionPolicy, Column, Kind, NameRule, Rules};
use crate::validation::ErrorList;
use crate::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// One difference between a served form and the hub's.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A field that has another name or place.
    Move {
        /// Its path in the served form.
        served: &'static [&'static str],
        /// Its path in the hub's form.
        hub: &'static [&'static str],
    },
    /// Whatever needs code.
    Code {
        /// From the served form to the hub's.
        to_hub: fn(&mut Value),
        /// From the hub's form to the served one.
        from_hub: fn(&mut Value),
    },
}

/// How objects of one version become those of the hub: the steps in order, and back in reverse order. `apiVersion`
/// and `kind` are set by whoever converts.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The differences; none when the versions have the same form.
    pub steps: &'static [Step],
}

impl Conversion {
    /// Turns the served form into the hub's.
    pub fn to_hub(&self, object: &mut Value) {
        for step in self.steps {
            match step {
                Step::Move { served, hub } => move_field(object, served, hub),
                Step::Code { to_hub, .. } => to_hub(object),
            }
        }
    }

    /// Turns the hub's form into the served one.
    #[allow(clippy::wrong_self_convention, reason = "it converts an object, not itself")]
    pub fn from_hub(&self, object: &mut Value) {
        for step in self.steps.iter().rev() {
            match step {
                Step::Move { served, hub } => move_field(object, hub, served),
                Step::Code { from_hub, .. } => from_hub(object),
            }
        }
    }
}

fn move_field(object: &mut Value, from: &[&str], to: &[&str]) {
    if let Some(value) = object.remove_path(from) {
        object.set_path(to, value);
    }
}

/// The rules of a version that is stored as another one: they convert, ask the hub's rules, and convert back.
pub struct Face {
    /// The version that is stored.
    pub hub: &'static Kind,
    /// How this version's form differs.
    pub conversion: Conversion,
    /// Defaults of this version's own form, beyond the schema's.
    pub default: fn(&mut Value),
}

impl Face {
    fn hubs(&self, object: &Value) -> Value {
        let mut converted = object.clone();
        self.conversion.to_hub(&mut converted);
        converted
    }

    fn change(&self, object: &mut Value, change: impl FnOnce(&mut Value)) {
        self.conversion.to_hub(object);
        change(object);
        self.conversion.from_hub(object);
    }
}

impl Rules for Face {
    fn name_rule(&self) -> NameRule {
        self.hub.rules.name_rule()
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        self.change(object, |object| self.hub.rules.prepare_create(object));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        let old = self.hubs(old);
        self.change(new, |new| self.hub.rules.prepare_update(new, &old));
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        self.hub.rules.validate(&self.hubs(object), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.hub.rules.validate_update(&self.hubs(new), &self.hubs(old), errors);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        let old = self.hubs(old);
        self.change(new, |new| self.hub.rules.prepare_status(new, &old));
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.hub.rules.validate_status(&self.hubs(new), &self.hubs(old), errors);
    }

    fn prepare_subresource(&self, name: &str, new: &mut Value, old: &Value) -> Result<(), Status> {
        self.conversion.to_hub(new);
        let result = self.hub.rules.prepare_subresource(name, new, &self.hubs(old));
        self.conversion.from_hub(new);
        result
    }

    fn validate_subresource(&self, name: &str, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.hub.rules.validate_subresource(name, &self.hubs(new), &self.hubs(old), errors);
    }

    fn deprecation(&self) -> Option<String> {
        None
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        self.hub.rules.warnings(&self.hubs(new), old.map(|old| self.hubs(old)).as_ref())
    }

    fn tracks_generation(&self) -> bool {
        self.hub.rules.tracks_generation()
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        self.hub.rules.generation_changed(&self.hubs(new), &self.hubs(old))
    }

    fn create_on_update(&self) -> bool {
        self.hub.rules.create_on_update()
    }

    fn unconditional_update(&self) -> bool {
        self.hub.rules.unconditional_update()
    }

    fn graceful_delete_seconds(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.hub.rules.graceful_delete_seconds(&self.hubs(object), requested)
    }

    fn collection_policy(&self) -> CollectionPolicy {
        self.hub.rules.collection_policy()
    }

    fn returns_deleted_object(&self) -> bool {
        self.hub.rules.returns_deleted_object()
    }

    fn deletes_in_phases(&self) -> bool {
        self.hub.rules.deletes_in_phases()
    }

    fn mark_terminating(&self, object: &mut Value) {
        self.change(object, |object| self.hub.rules.mark_terminating(object));
    }

    fn holds_deletion(&self, object: &Value) -> bool {
        self.hub.rules.holds_deletion(&self.hubs(object))
    }

    fn columns(&self) -> &'static [Column] {
        self.hub.rules.columns()
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        self.hub.rules.row(&self.hubs(object), now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.hub.rules.selectable_fields()
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        self.hub.rules.fields(&self.hubs(object))
    }

    fn from_storage(&self, object: &mut Value) {
        self.conversion.from_hub(object);
    }

    fn to_storage(&self, object: &mut Value) {
        self.conversion.to_hub(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn steps_go_back_in_reverse_order() {
        let conversion = Conversion {
            steps: &[
                Step::Move { served: &["spec", "old"], hub: &["spec", "new"] },
                Step::Code {
                    to_hub: |object| {
                        let n = object.path_i64(&["spec", "new"]).unwrap_or_default();
                        object.set_path(&["spec", "new"], n * 1000);
                    },
                    from_hub: |object| {
                        let n = object.path_i64(&["spec", "new"]).unwrap_or_default();
                        object.set_path(&["spec", "new"], n / 1000);
                    },
                },
            ],
        };
        let served = value!({"spec": {"old": 5, "other": true}});
        let mut object = served.clone();
        conversion.to_hub(&mut object);
        assert_eq!(object, value!({"spec": {"new": 5000, "other": true}}));
        conversion.from_hub(&mut object);
        assert_eq!(object, served);
    }
}
