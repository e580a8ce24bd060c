//! Owns how many sessions one person may have in an app, and which of them gives way.
//! Must not know who logs in, nor what a browser is told.

use super::{
    EndReason, Handle, Policy, Session, Sessions,
    store::{RemoveIf, StoreKey, StoreUnavailable},
};
use crate::config::{OverLimit, SessionLimit};

/// Why a session just created did not stay; it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.reason())]
pub enum NoRoom {
    /// There were as many as are allowed.
    Refused,
    /// So many began in the same moment that it is already too old.
    Superseded,
    /// Nobody knows how many there are.
    StoreUnavailable,
}

impl NoRoom {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Refused => "session.limit_reached",
            Self::Superseded => "session.superseded",
            Self::StoreUnavailable => StoreUnavailable::REASON,
        }
    }
}

impl From<StoreUnavailable> for NoRoom {
    fn from(_: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}

impl Sessions {
    /// Holds `new`, just created, to the limit (SES-7.1.2). Sessions of other apps, those past a limit of
    /// time, and those it takes the place of do not count; one without a subject is nobody's and is not
    /// limited.
    ///
    /// It is exact on any number of instances over one store: each looks after it has created. Whoever
    /// looks last sees all that stay, and leaves no more than are allowed. Where the oldest give way,
    /// the newest are the same for all who look, so no more end than must. Where the new one gives way,
    /// of several that begin in one moment all may.
    pub async fn make_room(
        &self,
        limit: SessionLimit,
        policy: &Policy,
        new: &Session,
        replaced: &[Handle],
    ) -> Result<(), NoRoom> {
        let verdict = self.weigh(limit, policy, new, replaced).await;
        if matches!(verdict, Err(NoRoom::Refused | NoRoom::StoreUnavailable)) {
            let end = self.remove(&new.key, RemoveIf::Present, EndReason::OverLimit).await;
            if end.is_err() {
                // Nobody has its handle. It counts until it ends by the idle limit.
                return Err(NoRoom::StoreUnavailable);
            }
        }
        verdict
    }

    async fn weigh(
        &self,
        limit: SessionLimit,
        policy: &Policy,
        new: &Session,
        replaced: &[Handle],
    ) -> Result<(), NoRoom> {
        let Some(subject) = &new.identity().subject else { return Ok(()) };
        let leaving: Vec<StoreKey> = replaced.iter().map(|old| self.keys.record(old)).collect();
        let mut rivals = self.living_of(&new.identity().issuer, subject, Some(policy)).await?;
        rivals.retain(|(key, record)| record.app == new.app() && !leaving.contains(key));
        if !rivals.iter().any(|(key, _)| *key == new.key) {
            return Err(NoRoom::Superseded);
        }
        if rivals.len() <= limit.most {
            return Ok(());
        }
        if limit.over == OverLimit::Refuse {
            return Err(NoRoom::Refused);
        }
        // The key decides between those of one second, alike for everybody.
        rivals.sort_unstable_by_key(|(key, record)| std::cmp::Reverse((record.created, *key)));
        let mut verdict = Ok(());
        for (key, _) in rivals.iter().skip(limit.most) {
            self.end_key(key, EndReason::Superseded).await?;
            if *key == new.key {
                verdict = Err(NoRoom::Superseded);
            }
        }
        verdict
    }
}
