//! What every request passes before its handler: path, identity, room, permission, deadline, panics, metrics.

mod audit;
mod beats;
mod gate;
mod health;
mod nonresource;
mod permit;
mod record;
mod resource;
mod traced;
mod trail_slot;

pub(crate) use beats::Beats;
pub(crate) use beats::run as run_beats;
pub(crate) use gate::serve;
pub(crate) use health::is_ready;
