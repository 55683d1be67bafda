//! Reads the file of the authorization configuration again when it changes, and asks by it from then on. A file that is
//! wrong changes nothing: the last good one stays in force. Names and metrics are upstream's
//! (`apiserver_authorization_config_controller_*`).

mod changes;
mod follow;
mod metrics;

pub(crate) use follow::Reload;
