//! autoscaling/v1 HorizontalPodAutoscaler: cpu alone in fields of its own, everything else in annotations.

use super::annotations;
use super::v2::HORIZONTAL_POD_AUTOSCALER;
use crate::shape::Body;
use mainstay_apiserver_machinery::conversion::{Conversion, Face, Step};
use mainstay_apiserver_machinery::kind::{Kind, STORED_VERBS, Storage};

/// autoscaling/v1 HorizontalPodAutoscaler.
pub static HORIZONTAL_POD_AUTOSCALER_V1: Kind = Kind {
    group: "autoscaling",
    version: "v1",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    namespaced: true,
    type_name: "autoscaling/v1.HorizontalPodAutoscaler",
    list_kind: "HorizontalPodAutoscalerList",
    verbs: STORED_VERBS,
    subresources: &[Body {
        group: "autoscaling",
        version: "v1",
        kind: "HorizontalPodAutoscaler",
        type_name: "autoscaling/v1.HorizontalPodAutoscaler",
    }
    .status()],
    rules: &Face {
        hub: &HORIZONTAL_POD_AUTOSCALER,
        conversion: Conversion {
            steps: &[Step::Code { to_hub: annotations::to_v2, from_hub: annotations::to_v1 }],
        },
        default: |_object| {},
    },
    storage: Some(Storage {
        prefix: "horizontalpodautoscalers",
        stored_as: Some(&HORIZONTAL_POD_AUTOSCALER),
    }),
    is_custom: false,
};
