//! Owns what a session contains, how it is sealed into a stored record, and what an opened one tells.
//! Must not know where records are kept nor when tokens are refreshed.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    handle::{Handle, KeySet, Keys},
    store::{Expiry, StoreKey, StoredRecord, Version},
};
use crate::{
    clock::UnixTime,
    jose::KeySeed,
    protocol::{AuthorizationDetails, Continuity, Target, Token},
    seal::{SealFailed, Unsealable},
    telemetry::{Pseudonym, Pseudonymiser},
};

/// The tokens of a session. They never leave the server but to the authorization server and upstreams.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Tokens {
    /// For upstreams.
    pub access_token: Token,
    /// When the access token ends, if the authorization server said so.
    pub access_expires: Option<UnixTime>,
    /// For refreshing, if the authorization server gave one.
    pub refresh_token: Option<Token>,
    /// As received; goes back as `id_token_hint`. None where OpenID Connect was not asked for.
    pub id_token: Option<Token>,
    /// Granted scope.
    pub scope: String,
    /// What the key is made from that these tokens are bound to, where a session has its own
    /// (RFC 9449). It never leaves the server (DPOP-11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_seed: Option<KeySeed>,
    /// What was granted in detail (RAR-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<AuthorizationDetails>,
    /// Access tokens of the same grant for one resource server or part of the scope each, fetched when
    /// first needed (RES-2.1/2.2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<Narrowed>,
}

/// An access token for one target.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Narrowed {
    /// What it is for; it goes nowhere else.
    pub target: Target,
    /// For the upstreams of this target.
    pub access_token: Token,
    /// When it ends, if the authorization server said so.
    pub access_expires: Option<UnixTime>,
    /// When it was obtained.
    pub since: UnixTime,
    /// The version of the record it came with.
    pub renewed: Version,
}

/// One access token of a session, as far as its age goes.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) access_token: &'a Token,
    pub(super) expires: Option<UnixTime>,
    since: UnixTime,
    pub(super) renewed: Version,
    /// Another number for every session.
    spread: u8,
}

impl Held<'_> {
    pub(super) fn lives(&self, now: UnixTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it ends soon enough to be refreshed now. Never before half of its life, or short-lived
    /// tokens would be refreshed on every call. Up to a quarter of the time ahead passes first, another
    /// part of it for every session: those that began together do not all ask together.
    pub(super) fn refresh_due(&self, now: UnixTime, policy: &Policy) -> bool {
        self.expires.is_some_and(|expires| {
            let half = expires.since(self.since) / 2;
            let ahead = policy.refresh_ahead.min(half).max(0);
            now >= expires.plus(ahead.saturating_mul(i64::from(self.spread)) / 1024 - ahead)
        })
    }
}

/// Who is logged in, from the verified ID token. Without one, as after plain OAuth, nobody is known:
/// there are tokens to use, and no subject.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// `iss`, byte for byte.
    pub issuer: String,
    /// `sub`
    pub subject: Option<String>,
    /// `sid`
    pub sid: Option<String>,
    /// `acr`
    pub acr: Option<String>,
    /// `auth_time`
    pub auth_time: Option<UnixTime>,
    /// The claims the front end may see.
    pub claims: Map<String, Value>,
    /// What an ID token from a refresh is held against (OIDC-12.2).
    pub continuity: Option<Continuity>,
}

impl fmt::Debug for Identity {
    /// Claim values are personal data and never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What a login hands over.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Name of the app the session is for; it opens for no other.
    pub app: String,
    /// Name of the client that obtained the tokens.
    pub client: String,
    /// Who logged in.
    pub identity: Identity,
    /// The tokens obtained.
    pub tokens: Tokens,
}

/// How long sessions live, in seconds (SES-7.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Without activity.
    pub idle: i64,
    /// At the longest.
    pub absolute: i64,
    /// How long before its end an access token is refreshed, less up to a quarter; at most half of its
    /// life.
    pub refresh_ahead: i64,
}

/// The sealed part of a record.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) app: String,
    pub(super) client: String,
    pub(super) created: UnixTime,
    pub(super) absolute_expires: UnixTime,
    pub(super) idle: i64,
    pub(super) identity: Identity,
    pub(super) tokens: Tokens,
    /// When these tokens were obtained.
    pub(super) tokens_since: UnixTime,
    /// The version of the record these tokens came with.
    #[serde(default = "Version::first")]
    pub(super) renewed: Version,
}

impl Contents {
    /// Sealed for one place in the store, one version and one app: moved anywhere else, or put back
    /// after a newer one, it does not open.
    pub(super) fn seal(
        &self,
        keys: &Keys,
        handle: &Handle,
        version: Version,
    ) -> Result<Vec<u8>, SealFailed> {
        let text = self.to_json()?;
        keys.sealing(handle).seal(&associated(&keys.record(handle), version, &self.app), &text)
    }

    /// The same bytes each time.
    pub(super) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, SealFailed> {
        // Room enough at once: a growing buffer would leave tokens behind in freed memory.
        let room = 4096
            + self.tokens.access_token.expose().len()
            + self.tokens.id_token.as_ref().map_or(0, |token| token.expose().len())
            + self.tokens.refresh_token.as_ref().map_or(0, |token| token.expose().len())
            + self
                .tokens
                .narrowed
                .iter()
                .map(|n| n.access_token.expose().len() + 512)
                .sum::<usize>();
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *text, self).map_err(|_| SealFailed)?;
        Ok(text)
    }

    pub(super) fn open(
        keys: &Keys,
        handle: &Handle,
        record: &StoredRecord,
    ) -> Result<Self, Unsealable> {
        let associated = associated(&keys.record(handle), record.version, &record.app);
        let text = keys.sealing(handle).open(&associated, &record.sealed)?;
        serde_json::from_slice(&text).map_err(|_| Unsealable)
    }

    /// When the last of its tokens came.
    pub(super) fn renewed_at(&self) -> UnixTime {
        let narrowed = self.tokens.narrowed.iter().map(|narrowed| narrowed.since);
        narrowed.max().map_or(self.tokens_since, |since| since.max(self.tokens_since))
    }

    pub(super) fn indexes(&self, keys: &KeySet) -> Vec<StoreKey> {
        let Identity { issuer, subject, sid, .. } = &self.identity;
        let sid = sid.as_ref().map(|sid| keys.sid(issuer, sid));
        let subject = subject.as_ref().map(|subject| keys.subject(issuer, subject));
        sid.into_iter().chain(subject).collect()
    }
}

fn associated(key: &StoreKey, version: Version, app: &str) -> Vec<u8> {
    [key.as_bytes(), version.as_u64().to_be_bytes().as_slice(), app.as_bytes()].concat()
}

/// How logs and audit name a session and its subject.
pub(super) struct Pseudonyms {
    session: Pseudonym,
    subject: Option<Pseudonym>,
}

/// An opened session. Cheap to clone; what it says was true when it was read.
#[derive(Clone)]
pub struct Session {
    pub(super) key: StoreKey,
    pub(super) pseudonyms: Arc<Pseudonyms>,
    pub(super) version: Version,
    pub(super) contents: Arc<Contents>,
    pub(super) last_seen: UnixTime,
    /// Limits in force: those of its creation or today's policy, whichever is tighter.
    pub(super) idle: i64,
    pub(super) absolute_expires: UnixTime,
}

impl Session {
    pub(super) fn new(
        key: StoreKey,
        version: Version,
        contents: Contents,
        last_seen: UnixTime,
        pseudonyms: &Pseudonymiser,
        policy: Option<&Policy>,
    ) -> Self {
        let idle = policy.map_or(contents.idle, |policy| policy.idle.min(contents.idle));
        let absolute_expires = policy.map_or(contents.absolute_expires, |policy| {
            contents.created.plus(policy.absolute).min(contents.absolute_expires)
        });
        let pseudonyms = Arc::new(Pseudonyms {
            session: pseudonyms.session(key.as_bytes()),
            subject: contents
                .identity
                .subject
                .as_ref()
                .map(|subject| pseudonyms.subject(&contents.identity.issuer, subject)),
        });
        let contents = Arc::new(contents);
        Self { key, pseudonyms, version, contents, last_seen, idle, absolute_expires }
    }

    /// Name of the app.
    pub fn app(&self) -> &str {
        &self.contents.app
    }

    /// Name of the client that obtained the tokens.
    pub fn client(&self) -> &str {
        &self.contents.client
    }

    /// Whether this client obtained the tokens from this issuer. An app may have had another one when
    /// the session began, whose tokens this one's AS and upstreams must not meet (FAPI2-SP-6.3).
    pub fn is_of(&self, client: &str, issuer: &str) -> bool {
        self.contents.client == client && self.contents.identity.issuer == issuer
    }

    /// Who is logged in.
    pub fn identity(&self) -> &Identity {
        &self.contents.identity
    }

    /// Granted scope.
    pub fn scope(&self) -> &str {
        &self.contents.tokens.scope
    }

    /// When the access token ends, if known.
    pub fn access_expires(&self) -> Option<UnixTime> {
        self.contents.tokens.access_expires
    }

    /// When the session began.
    pub fn created(&self) -> UnixTime {
        self.contents.created
    }

    /// When the session ends at the latest.
    pub fn absolute_expires(&self) -> UnixTime {
        self.absolute_expires
    }

    /// When the session ends without further activity, if that is before its absolute end.
    pub fn idle_expires(&self) -> UnixTime {
        self.last_seen.plus(self.idle).min(self.absolute_expires)
    }

    /// Version of the record; grows with every refresh.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names the session in logs and audit.
    pub fn pseudonym(&self) -> &Pseudonym {
        &self.pseudonyms.session
    }

    /// Names the person in logs and audit, if known.
    pub fn subject_pseudonym(&self) -> Option<&Pseudonym> {
        self.pseudonyms.subject.as_ref()
    }

    /// The access token, for upstreams.
    pub fn access_token(&self) -> &Token {
        &self.contents.tokens.access_token
    }

    /// The access token for a target; none if it was not fetched yet. Without a target, the access
    /// token of the whole grant.
    pub fn access_token_for(&self, target: Option<&Target>) -> Option<&Token> {
        self.held(target).map(|held| held.access_token)
    }

    /// When the access token for a target ends, if there is one and it is known.
    pub fn access_expires_for(&self, target: Option<&Target>) -> Option<UnixTime> {
        self.held(target).and_then(|held| held.expires)
    }

    /// The version of the record in which the grant's own access token was renewed last: another one
    /// for every access token.
    pub fn token_version(&self) -> Version {
        self.contents.renewed
    }

    /// The access tokens for targets, to be given up with the rest.
    pub fn narrowed_tokens(&self) -> impl Iterator<Item = &Token> {
        self.contents.tokens.narrowed.iter().map(|narrowed| &narrowed.access_token)
    }

    /// What was granted in detail.
    pub fn authorization_details(&self) -> Option<&AuthorizationDetails> {
        self.contents.tokens.authorization_details.as_ref()
    }

    pub(super) fn held(&self, target: Option<&Target>) -> Option<Held<'_>> {
        let Contents { tokens, tokens_since, renewed, .. } = &*self.contents;
        let [spread, ..] = *self.key.as_bytes();
        let Some(target) = target else {
            return Some(Held {
                access_token: &tokens.access_token,
                expires: tokens.access_expires,
                since: *tokens_since,
                renewed: *renewed,
                spread,
            });
        };
        tokens.narrowed.iter().find(|narrowed| narrowed.target == *target).map(|narrowed| Held {
            access_token: &narrowed.access_token,
            expires: narrowed.access_expires,
            since: narrowed.since,
            renewed: narrowed.renewed,
            spread,
        })
    }

    /// The refresh token, for revocation.
    pub fn refresh_token(&self) -> Option<&Token> {
        self.contents.tokens.refresh_token.as_ref()
    }

    /// The raw ID token, for `id_token_hint`, if there was one.
    pub fn id_token(&self) -> Option<&Token> {
        self.contents.tokens.id_token.as_ref()
    }

    /// What the key is made from that the tokens are bound to, where the session has its own.
    pub fn key_seed(&self) -> Option<&KeySeed> {
        self.contents.tokens.key_seed.as_ref()
    }

    pub(super) fn expiry(&self, now: UnixTime) -> Option<Expiry> {
        Expiry::of(now, self.last_seen, self.idle, self.absolute_expires)
    }

    /// Whether the access token has ended and cannot be refreshed: only a new login helps.
    pub fn is_exhausted(&self, now: UnixTime) -> bool {
        !self.access_token_lives(now) && self.refresh_token().is_none()
    }

    /// Whether the access token is still good at `now`; one of unknown lifetime is.
    pub fn access_token_lives(&self, now: UnixTime) -> bool {
        self.access_expires().is_none_or(|expires| now < expires)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("app", &self.contents.app)
            .finish_non_exhaustive()
    }
}
