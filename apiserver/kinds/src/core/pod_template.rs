//! core/v1 PodTemplate.

use crate::gates;
use crate::pod_spec::{Subject, default_template, spec_changed, validate_template, warnings};
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// core/v1 PodTemplate.
pub static POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    type_name: "core/v1.PodTemplate",
    list_kind: "PodTemplateList",
    rules: &PodTemplate,
    storage: Some(Storage::new("podtemplates")),
    ..STORED
};

struct PodTemplate;

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.path_mut(&["template"]) {
            default_template(template);
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_template(&At::root(object).get("template"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if spec_changed(new, old) {
            warnings(&At::root(new).get("template"), Subject::Template, &mut out);
        }
        out
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_in_pod(new, old, &["template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("template") != old.get("template")
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Containers", "Names of the containers."),
            Column::new("Images", "Images of the containers."),
            Column::new("Pod Labels", "Labels of pods made from the template."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: OffsetDateTime) -> Vec<Value> {
        let [names, images] =
            table::containers_and_images(object.path_list(&["template", "spec", "containers"]));
        let labels = table::labels(object.path(&["template", "metadata", "labels"]));
        vec![table::name(object), names, images, labels.into()]
    }
}
