//! The numbers of a deployment's strategy.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::world::World;
use crate::counts::scaled;

/// How far a rollout may go above and below the asked number of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
}

/// Whether old pods go before new ones come.
pub(super) fn is_recreate(world: &World) -> bool {
    let strategy = world.spec().strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// The bounds that the strategy gives; when both come to zero by rounding, one pod may be unavailable, else nothing
/// could ever move.
pub(super) fn bounds(world: &World) -> Bounds {
    let wanted = world.wanted();
    if is_recreate(world) || wanted == 0 {
        return Bounds { max_surge: 0, max_unavailable: 0 };
    }
    let rolling = world
        .spec()
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.clone())
        .unwrap_or_default();
    let quarter = IntOrString::String("25%".to_owned());
    let max_surge = scaled(rolling.max_surge.as_ref().unwrap_or(&quarter), wanted, true);
    let mut max_unavailable = scaled(rolling.max_unavailable.as_ref().unwrap_or(&quarter), wanted, false);
    if max_surge == 0 && max_unavailable == 0 {
        max_unavailable = 1;
    }
    Bounds { max_surge, max_unavailable: max_unavailable.min(wanted) }
}
