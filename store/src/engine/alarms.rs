//! The alarms that are raised: rows in the tables, and a copy in memory for whoever decides.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{EngineError, Tables, table_key};
use crate::api::Alarm;
use crate::mvcc::Effects;

impl Tables {
    /// The alarms that are raised.
    pub(crate) fn alarms(&self) -> Arc<BTreeSet<Alarm>> {
        Arc::clone(&self.alarms.read())
    }

    /// Reads the alarms' rows again: at the start, and after all tables were replaced.
    pub(crate) fn load_alarms(&self) -> Result<(), EngineError> {
        let attempt = "loading alarms";
        let mut found = BTreeSet::new();
        self.each_row(b"x", b"y", attempt, |row, _| {
            let alarm = table_key::split_alarm(row)
                .ok_or_else(|| EngineError::damaged(attempt, "an alarm's row is damaged"))?;
            found.insert(alarm);
            Ok(())
        })?;
        *self.alarms.write() = Arc::new(found);
        Ok(())
    }

    /// Takes what a command did to alarms, once it is written.
    pub(super) fn absorb_alarm(&self, effects: &Effects) {
        let Some(effect) = effects.alarm else { return };
        let mut alarms = self.alarms.write();
        effect.change(Arc::make_mut(&mut alarms));
    }
}
