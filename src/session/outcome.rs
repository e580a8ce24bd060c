//! Owns the words for how sessions end, are not found, and fare at a refresh: each with a stable reason.
//! Must not know how any of it comes about.

use super::{
    carried::NotPacked,
    record::Session,
    store::{Expiry, StoreUnavailable, Version},
};
use crate::{
    clock::{EntropyUnavailable, UnixTime},
    jose::KeySeed,
    protocol::{AuthorizationDetails, Continuity, Target, Token},
};

/// Whether a call is the user's doing (SES-7.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It is, and puts off the idle limit.
    Counts,
    /// It is a script asking whether the session still stands, and puts off nothing.
    Polls,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EndReason {
    /// The user logged out here.
    Logout,
    /// The idle limit.
    IdleExpired,
    /// The absolute limit.
    AbsoluteExpired,
    /// The authorization server answered `invalid_grant` to a refresh (BFF-6.1.2.2-2).
    GrantDead,
    /// A new login or a step-up put a new session in its place (SES-7.2.4).
    Replaced,
    /// An operator ended it (SES-7.4).
    Administrator,
    /// The user ended it from another session of theirs (SES-7.4).
    LogoutElsewhere,
    /// A newer one took its place among as many as its user may have (SES-7.1.2).
    Superseded,
    /// Its user had as many as they may have, so it ended as it began (SES-7.1.2).
    OverLimit,
    /// The authorization server said so on the back channel.
    BackChannelLogout,
    /// The authorization server said so on the front channel.
    FrontChannelLogout,
}

impl EndReason {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::IdleExpired => "idle_expired",
            Self::AbsoluteExpired => "absolute_expired",
            Self::GrantDead => "grant_dead",
            Self::Replaced => "replaced",
            Self::Administrator => "administrator",
            Self::LogoutElsewhere => "logout_elsewhere",
            Self::Superseded => "superseded",
            Self::OverLimit => "over_limit",
            Self::BackChannelLogout => "backchannel_logout",
            Self::FrontChannelLogout => "frontchannel_logout",
        }
    }
}

impl From<Expiry> for EndReason {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::Idle => Self::IdleExpired,
            Expiry::Absolute => Self::AbsoluteExpired,
        }
    }
}

/// There is no session, for certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.reason())]
pub enum NoSession {
    /// Never was, has ended, is another app's, or does not open.
    Unknown,
    /// Its handle was made under a server key that is not in use here.
    UnknownKey,
    /// Its browser brought a version that has long been replaced.
    Superseded,
    /// Ended by the idle limit just now.
    IdleExpired,
    /// Ended by the absolute limit just now.
    AbsoluteExpired,
}

impl NoSession {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "session.unknown",
            Self::UnknownKey => "session.unknown_key",
            Self::Superseded => "session.superseded",
            Self::IdleExpired => "session.idle_expired",
            Self::AbsoluteExpired => "session.absolute_expired",
        }
    }
}

impl From<Expiry> for NoSession {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::Idle => Self::IdleExpired,
            Expiry::Absolute => Self::AbsoluteExpired,
        }
    }
}

/// Why no session is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error(transparent)]
    NoSession(#[from] NoSession),
    /// Nobody knows; the cookie must stay.
    #[error("{}", self.reason())]
    StoreUnavailable,
}

impl From<StoreUnavailable> for FindError {
    fn from(_: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}

impl FindError {
    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSession(no_session) => no_session.reason(),
            Self::StoreUnavailable => StoreUnavailable::REASON,
        }
    }
}

/// Why no session was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CreateError {
    /// No randomness for a handle.
    #[error(transparent)]
    Entropy(#[from] EntropyUnavailable),
    /// The record could not be sealed.
    #[error("the session could not be sealed")]
    Seal,
    /// A new handle was taken already: the random source repeats itself.
    #[error("a new session handle was not unique")]
    NotUnique,
    /// Its browser could not carry it.
    #[error(transparent)]
    NotCarried(#[from] NotPacked),
    /// The store does not answer.
    #[error(transparent)]
    StoreUnavailable(#[from] StoreUnavailable),
}

impl CreateError {
    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Entropy(_) => "session.no_randomness",
            Self::Seal | Self::NotCarried(NotPacked::Seal) => "session.not_sealed",
            Self::NotUnique => "session.not_unique",
            Self::NotCarried(NotPacked::TooLarge { .. }) => "session.too_large",
            Self::StoreUnavailable(_) => StoreUnavailable::REASON,
        }
    }
}

/// What a refresh asks with.
#[derive(Clone, Copy, Debug)]
pub struct RefreshGrant<'a> {
    /// Name of the client whose grant it is.
    pub client: &'a str,
    /// To be sent.
    pub refresh_token: &'a Token,
    /// Scope granted so far.
    pub scope: &'a str,
    /// Details granted so far.
    pub details: Option<&'a AuthorizationDetails>,
    /// What the new access token is to be for; none for the whole grant.
    pub target: Option<&'a Target>,
    /// What a new ID token must agree with (OIDC-12.2), if there was a first one.
    pub continuity: Option<&'a Continuity>,
    /// What the key is made from that new tokens are to be bound to, where the session has its own.
    pub key_seed: Option<&'a KeySeed>,
}

/// What a refresh brought; what is missing stays as it was.
#[derive(Clone, Debug)]
pub struct RefreshedTokens {
    /// The new access token.
    pub access_token: Token,
    /// When it ends, if known.
    pub access_expires: Option<UnixTime>,
    /// The successor, if the authorization server rotates.
    pub refresh_token: Option<Token>,
    /// A new ID token, verified against the first (OIDC-12.2).
    pub id_token: Option<Token>,
    /// The scope granted now.
    pub scope: String,
    /// What was granted in detail, if the authorization server said so.
    pub authorization_details: Option<AuthorizationDetails>,
}

/// How a refresh failed, as far as the authorization server is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefreshFailure {
    /// `invalid_grant`
    #[error("the grant is dead")]
    GrantDead,
    /// Nothing happened: not sent, 5xx, 429, `invalid_client`, an unreadable error.
    #[error("authorization server trouble: {reason}")]
    AsTrouble {
        /// Stable machine reason.
        reason: &'static str,
    },
    /// The request left and no believable answer came: the refresh token may or may not be used up.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Stable machine reason.
        reason: &'static str,
    },
    /// The authorization server issues no token for this target: `invalid_target` or `invalid_scope`.
    /// The grant is none the worse for it.
    #[error("the target was refused")]
    TargetRefused,
    /// An answer came but broke a rule, such as another `sub`.
    #[error("answer rejected: {reason}")]
    Rejected {
        /// Stable machine reason.
        reason: &'static str,
    },
}

/// Why a refresh is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The access token ends soon.
    Due,
    /// The front end asked.
    Demanded,
    /// An upstream refused the token of this version.
    UpstreamRejected {
        /// Version of the session whose token was refused.
        used_version: Version,
    },
}

/// How a refresh ended. Every variant that carries a session carries a living one.
#[derive(Clone, Debug)]
pub enum RefreshOutcome {
    /// This call's request brought new tokens, and they are durable.
    Refreshed(Session),
    /// Somebody else's did, or none was needed.
    Joined(Session),
    /// The session ended because its grant is dead.
    GrantDead,
    /// Nothing changed.
    AsTrouble {
        /// The session as it is.
        session: Session,
        /// Stable machine reason.
        reason: &'static str,
        /// Seconds after which a new attempt makes sense.
        retry_after: u64,
    },
    /// Nothing changed here; the authorization server may have rotated the refresh token.
    Unknown {
        /// The session as it is.
        session: Session,
        /// Stable machine reason.
        reason: &'static str,
    },
    /// Nothing changed; the answer was not believed.
    Rejected {
        /// The session as it is.
        session: Session,
        /// Stable machine reason.
        reason: &'static str,
    },
    /// Nothing changed; the authorization server issues no token for this target.
    TargetRefused(Session),
    /// There is nothing to refresh with.
    NoRefreshToken(Session),
    /// Another instance is at it, and this one did not wait for it, or waited long enough.
    Underway(Session),
    /// The session ended meanwhile.
    Ended(NoSession),
    /// Nobody knows; the cookie must stay.
    StoreUnavailable,
}

impl RefreshOutcome {
    /// For one who wants new tokens and nothing less.
    pub fn into_result(self) -> Result<Session, TokenTrouble> {
        Err(match self {
            Self::Refreshed(session) | Self::Joined(session) => return Ok(session),
            Self::GrantDead => TokenTrouble::GrantDead,
            Self::AsTrouble { .. } => TokenTrouble::AsTrouble,
            Self::Unknown { .. } | Self::Rejected { .. } | Self::Underway(_) => {
                TokenTrouble::Unknown
            }
            Self::TargetRefused(_) => TokenTrouble::TargetRefused,
            Self::NoRefreshToken(_) => TokenTrouble::NoRefreshToken,
            Self::Ended(no_session) => TokenTrouble::Ended(no_session),
            Self::StoreUnavailable => TokenTrouble::StoreUnavailable,
        })
    }

    /// Stable machine reason of an attempt that brought nothing, `none` of one that did.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refreshed(_) | Self::Joined(_) | Self::Underway(_) => "none",
            Self::AsTrouble { reason, .. }
            | Self::Unknown { reason, .. }
            | Self::Rejected { reason, .. } => reason,
            Self::GrantDead => TokenTrouble::GrantDead.reason(),
            Self::TargetRefused(_) => TokenTrouble::TargetRefused.reason(),
            Self::NoRefreshToken(_) => TokenTrouble::NoRefreshToken.reason(),
            Self::Ended(no_session) => no_session.reason(),
            Self::StoreUnavailable => StoreUnavailable::REASON,
        }
    }

    /// The living session, unchanged, of an attempt that brought nothing.
    pub(super) fn unchanged(&self) -> Option<&Session> {
        match self {
            Self::AsTrouble { session, .. }
            | Self::Unknown { session, .. }
            | Self::Rejected { session, .. }
            | Self::TargetRefused(session)
            | Self::Underway(session)
            | Self::NoRefreshToken(session) => Some(session),
            _ => None,
        }
    }

    /// Stable name for metrics and audit.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refreshed(_) => "refreshed",
            Self::Joined(_) => "joined",
            Self::GrantDead => "grant_dead",
            Self::AsTrouble { .. } => "as_trouble",
            Self::Unknown { .. } => "unknown",
            Self::Rejected { .. } => "rejected",
            Self::TargetRefused(_) => "target_refused",
            Self::NoRefreshToken(_) => "no_refresh_token",
            Self::Underway(_) => "underway",
            Self::Ended(_) => "ended",
            Self::StoreUnavailable => "store_unavailable",
        }
    }
}

/// Why there is no usable access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.reason())]
pub enum TokenTrouble {
    /// The session ended because its grant is dead: log in again.
    GrantDead,
    /// The access token ended and there is no refresh token: log in again.
    Exhausted,
    /// The authorization server issues no token for this target: a fault of the configuration.
    TargetRefused,
    /// A refresh was asked for, and there is no refresh token.
    NoRefreshToken,
    /// The authorization server is in trouble: try later.
    AsTrouble,
    /// No believable answer came: try later.
    Unknown,
    /// The session ended.
    Ended(NoSession),
    /// Nobody knows; the cookie must stay.
    StoreUnavailable,
}

impl TokenTrouble {
    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::GrantDead => "refresh.grant_dead",
            Self::Exhausted => "refresh.exhausted",
            Self::TargetRefused => "refresh.target_refused",
            Self::NoRefreshToken => "refresh.no_refresh_token",
            Self::AsTrouble => "refresh.as_trouble",
            Self::Unknown => "refresh.unknown",
            Self::Ended(no_session) => no_session.reason(),
            Self::StoreUnavailable => StoreUnavailable::REASON,
        }
    }
}
