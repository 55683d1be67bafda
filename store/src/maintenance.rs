//! Alarms and hashes: what operators ask of a store.
use std::sync::Arc;

use crate::api::{
    Alarm, AlarmKind, HashComparison, HashKv, MemberHash, RangeError, Revision, WriteError, compare_hashes,
};
use crate::auth::AuthState;
use crate::core::Core;
use crate::engine::{EngineView, HashRefused};
use crate::mvcc::{Command, Reply};
use crate::store::Store;

impl Core {
    /// The quota is reached: everyone is to know. Returns what the write that reached it is answered.
    pub(crate) async fn raise_no_space(&self) -> WriteError {
        let alarm = Alarm { member_id: self.member_id, kind: AlarmKind::NoSpace };
        if self.tables.alarms().contains(&alarm) {
            return WriteError::NoSpaceAlarm;
        }
        tracing::warn!(quota_bytes = self.quota.max_bytes(), "the quota is reached, raising the alarm");
        match self.member.propose(Command::Alarm { alarm, raise: true }, None).await {
            Ok(_) => WriteError::NoSpaceAlarm,
            Err(error) => error,
        }
    }

    pub(crate) async fn hash_kv(self: &Arc<Self>, at: Option<Revision>) -> Result<HashKv, RangeError> {
        self.check_read()?;
        let tables = Arc::clone(&self.tables);
        let hashed = self.blocking(move |_: &EngineView<'_>| Ok(tables.hash_kv(at))).await?;
        hashed.map_err(|refused| {
            let wanted = at.unwrap_or_default();
            match refused {
                HashRefused::Compacted { floor } => RangeError::Compacted { wanted, floor },
                HashRefused::Future { current } => RangeError::FutureRevision { wanted, current },
                HashRefused::Engine(error) => RangeError::Engine(error.to_string()),
            }
        })
    }

    pub(crate) async fn hash_all(self: &Arc<Self>) -> Result<(u32, Revision), RangeError> {
        self.check_read()?;
        let tables = Arc::clone(&self.tables);
        self.blocking(move |_: &EngineView<'_>| Ok(tables.hash_all()?)).await
    }
}

/// What an operator asks of a store.
impl Store {
    /// The alarms that are raised, of all members, in order.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.core().tables.alarms().iter().copied().collect()
    }

    async fn alarm(&self, alarm: Alarm, raise: bool) -> Result<bool, WriteError> {
        match self.propose(Command::Alarm { alarm, raise }).await? {
            Reply::Alarm { changed } => Ok(changed),
            other => Err(WriteError::Unknown(format!("an answer to another command: {other:?}"))),
        }
    }

    /// Raises an alarm; false if it was raised already.
    pub async fn alarm_activate(&self, alarm: Alarm) -> Result<bool, WriteError> {
        self.alarm(alarm, true).await
    }

    /// Disarms an alarm; false if it was not raised.
    pub async fn alarm_disarm(&self, alarm: Alarm) -> Result<bool, WriteError> {
        self.alarm(alarm, false).await
    }

    /// Hashes the keys and values between the compaction floor and a revision (none or zero: the current one). Reads all of them.
    ///
    /// # Errors
    /// [`RangeError::Compacted`] and [`RangeError::FutureRevision`] if the revision cannot be read.
    pub async fn hash_kv(&self, revision: Option<Revision>) -> Result<HashKv, RangeError> {
        self.guarded(AuthState::admin, self.core().hash_kv(revision)).await
    }

    /// Hashes all that members have in common: keys, leases and alarms, at the revision that is returned. For tests and tools: while writes go
    /// on, only [`Store::hash_kv`] can be compared.
    pub async fn hash(&self) -> Result<(u32, Revision), RangeError> {
        self.guarded(AuthState::admin, self.core().hash_all()).await
    }

    /// Compares the hashes of members, and raises the CORRUPT alarm of each that differs from the majority (of all that were compared, if
    /// there is none). `cluster_size` is the number of voting members.
    pub async fn check_corruption(
        &self,
        hashes: &[MemberHash],
        cluster_size: usize,
    ) -> Result<HashComparison, WriteError> {
        let found = compare_hashes(hashes, cluster_size);
        if let HashComparison::Differ { members } | HashComparison::Undecided { members } = &found {
            tracing::error!(?members, "members' data differs");
            for member_id in members {
                self.alarm(Alarm { member_id: *member_id, kind: AlarmKind::Corrupt }, true).await?;
            }
        }
        Ok(found)
    }
}
