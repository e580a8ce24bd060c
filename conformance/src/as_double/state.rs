//! What the server remembers: pushed requests, codes, grants and tokens. Plain data and look-ups; it
//! must not know HTTP, and time comes as an argument.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{keys::Keys, request_object::AuthorizationRequest};
use crate::{jws::random_token, ledger::Endpoint};

/// Whose nonces count (RFC 9449 §9: an authorization server's mean nothing to a resource server).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Realm {
    /// The authorization server.
    Server,
    /// Its own resources: userinfo and accounts.
    Resources,
    /// The sample API.
    Api,
}

impl Realm {
    pub(crate) const fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Userinfo | Endpoint::Accounts => Self::Resources,
            Endpoint::Api => Self::Api,
            _ => Self::Server,
        }
    }
}

/// What an access token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The client certificate with this thumbprint (`x5t#S256`, RFC 8705 §3.1).
    Certificate(String),
    /// The key with this thumbprint (`jkt`, RFC 9449 §6.1).
    Key(String),
    /// Nothing: whoever has it may use it.
    Nothing,
}

pub(super) struct Pushed {
    pub(super) client_id: String,
    pub(super) request: AuthorizationRequest,
    pub(super) expires_at: i64,
    pub(super) used: bool,
}

#[derive(Clone)]
pub(super) struct Code {
    pub(super) grant: String,
    pub(super) client_id: String,
    pub(super) request: AuthorizationRequest,
    pub(super) expires_at: i64,
    pub(super) used: bool,
}

/// What somebody allowed a client, or a client got in its own name (no `sub`).
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) sub: Option<String>,
    pub(super) sid: String,
    pub(super) scope: String,
    pub(super) auth_time: i64,
    pub(super) acr: Option<String>,
    pub(super) nonce: Option<String>,
    /// The consent that was authorized.
    pub(super) intent: Option<String>,
    /// What was granted of `authorization_details` (RFC 9396).
    pub(super) details: Option<Value>,
    /// The resources it is for (RFC 8707); all if empty.
    pub(super) resources: Vec<String>,
    pub(super) revoked: bool,
}

pub(super) struct AccessToken {
    pub(super) grant: String,
    pub(super) scope: String,
    pub(super) binding: Binding,
    pub(super) audience: Vec<String>,
    pub(super) expires_at: i64,
    pub(super) revoked: bool,
}

pub(super) struct RefreshToken {
    pub(super) grant: String,
    pub(super) replaced: bool,
    /// The one it came in exchange for.
    pub(super) predecessor: Option<String>,
}

pub(super) struct State {
    pub(super) keys: Keys,
    pub(super) pushed: HashMap<String, Pushed>,
    pub(super) codes: HashMap<String, Code>,
    pub(super) grants: HashMap<String, Grant>,
    pub(super) access: HashMap<String, AccessToken>,
    pub(super) refresh: HashMap<String, RefreshToken>,
    /// `(client_id, jti)` of every client assertion ever accepted.
    pub(super) assertion_ids: HashSet<(String, String)>,
    /// `jti` of every DPoP proof ever accepted.
    pub(super) proof_ids: HashSet<String>,
    nonces: HashMap<Realm, String>,
    pub(super) secrets: Vec<String>,
    /// Where the last authorization response sent the browser.
    pub(super) last_redirect: Option<String>,
}

impl State {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            pushed: HashMap::new(),
            codes: HashMap::new(),
            grants: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            assertion_ids: HashSet::new(),
            proof_ids: HashSet::new(),
            nonces: HashMap::new(),
            secrets: Vec::new(),
            last_redirect: None,
        }
    }

    /// A new secret, listed.
    pub(super) fn secret(&mut self) -> String {
        let secret = random_token();
        self.secrets.push(secret.clone());
        secret
    }

    /// The nonce that counts now.
    pub(super) fn nonce(&mut self, realm: Realm) -> String {
        self.nonces.entry(realm).or_insert_with(random_token).clone()
    }

    /// From now on another nonce counts.
    pub(super) fn new_nonce(&mut self, realm: Realm) -> String {
        let nonce = random_token();
        self.nonces.insert(realm, nonce.clone());
        nonce
    }

    pub(super) fn add_grant(&mut self, grant: Grant) -> String {
        let id = random_token();
        self.grants.insert(id.clone(), grant);
        id
    }

    /// The grant, unless it was revoked.
    pub(super) fn live_grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id).filter(|grant| !grant.revoked)
    }

    /// A refresh token is exchanged: for good, or until its successor is used.
    pub(super) fn rotate(&mut self, presented: &str, patient: bool) {
        if !patient {
            if let Some(known) = self.refresh.get_mut(presented) {
                known.replaced = true;
            }
            return;
        }
        let predecessor = self.refresh.get(presented).and_then(|known| known.predecessor.clone());
        if let Some(spent) = predecessor.and_then(|token| self.refresh.get_mut(&token)) {
            spent.replaced = true;
        }
        // An earlier answer to the same token was lost, and what it brought with it.
        for other in self.refresh.values_mut() {
            if other.predecessor.as_deref() == Some(presented) {
                other.replaced = true;
            }
        }
    }

    pub(super) fn revoke_grant(&mut self, id: &str) {
        if let Some(grant) = self.grants.get_mut(id) {
            grant.revoked = true;
        }
    }

    pub(super) fn revoke_all(&mut self) {
        for grant in self.grants.values_mut() {
            grant.revoked = true;
        }
    }

    pub(super) fn expire_access_tokens(&mut self, now: i64) {
        for access in self.access.values_mut() {
            access.expires_at = access.expires_at.min(now);
        }
    }

    /// Ends every grant of a session.
    pub(super) fn end_session(&mut self, sid: &str) {
        for grant in self.grants.values_mut().filter(|grant| grant.sid == sid) {
            grant.revoked = true;
        }
    }

    /// The clients that have a grant in a session that runs, each once.
    pub(super) fn session_clients(&self, sid: &str) -> Vec<String> {
        let live = self.grants.values().filter(|grant| grant.sid == sid && !grant.revoked);
        let mut clients: Vec<_> = live.map(|grant| grant.client_id.clone()).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    pub(super) fn sessions(&self) -> Vec<(String, String)> {
        self.grants
            .values()
            .filter(|grant| !grant.revoked)
            .filter_map(|grant| Some((grant.sid.clone(), grant.sub.clone()?)))
            .collect()
    }
}
