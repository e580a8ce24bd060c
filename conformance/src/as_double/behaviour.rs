//! How the double behaves, changeable while it runs: life times, rotation, and every way to be wrong
//! (edited claims, broken signatures, faults on the wire), each for ever or for a number of uses.

use std::{collections::HashMap, fmt, sync::Arc};

use serde_json::Value;

use crate::{
    faults::{FaultRule, Schedule},
    jwe::Flaw,
    jws::{Object, SigningKey},
    ledger::Endpoint,
};

/// What an edit or a tampering applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Claims or signature of every ID token.
    IdToken,
    /// Those of the ID token that comes with the authorization response, after [`Self::IdToken`].
    FrontIdToken,
    /// Those of the ID token that comes with a token response, after [`Self::IdToken`].
    TokenIdToken,
    /// Claims or signature of the authorization response; where it is not signed, its plain
    /// parameters.
    Jarm,
    /// The metadata document.
    Metadata,
    /// The JWK set.
    Jwks,
    /// The JSON of a successful token response.
    TokenResponse,
    /// The JSON of a successful userinfo response, or its claims and signature where it is signed.
    Userinfo,
    /// The JSON of an introspection response, or its claims and signature where it is signed.
    Introspection,
    /// The JSON of a successful PAR response.
    ParResponse,
    /// Claims or signature of a back-channel logout token.
    LogoutToken,
}

impl Target {
    /// What else applies to this, first.
    const fn whole(self) -> Option<Self> {
        match self {
            Self::FrontIdToken | Self::TokenIdToken => Some(Self::IdToken),
            _ => None,
        }
    }
}

/// Whether a DPoP proof must hold a nonce of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopNonces {
    /// The one that counts at the moment, at the server and at each of its resources another.
    Demanded,
    /// None is asked for.
    Never,
    /// Whatever comes, another one is asked for.
    Endless,
}

/// How a signed token is spoiled.
#[derive(Clone)]
pub enum Tamper {
    /// Every byte of the signature XOR 0x5A.
    Flip,
    /// An unsecured JWT.
    AlgNone,
    /// RS256 by the trap key, which the JWKS really publishes.
    AlternateAlg,
    /// The right header, another key's signature.
    WrongKey,
    /// Members merged over the header; a null removes one.
    Header(Object),
    /// Another key under any header, whether the key is published or not. Published (see
    /// [`Behaviour::extra_keys`]) and of another type than the server's algorithm it is a key that a
    /// client may find but must not use.
    Sign {
        /// The whole header, `alg` and all.
        header: Object,
        /// The key.
        key: Arc<SigningKey>,
    },
    /// Whatever this makes of the finished token.
    Rewrite(Arc<dyn Fn(String) -> String + Send + Sync>),
}

impl fmt::Debug for Tamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flip => "Flip",
            Self::AlgNone => "AlgNone",
            Self::AlternateAlg => "AlternateAlg",
            Self::WrongKey => "WrongKey",
            Self::Header(_) => "Header",
            Self::Sign { .. } => "Sign",
            Self::Rewrite(_) => "Rewrite",
        })
    }
}

/// Changes a JSON object in place.
pub type Edit = Arc<dyn Fn(&mut Object) + Send + Sync>;

/// Changes the parameters of an authorization response in place.
pub type ParamsEdit = Arc<dyn Fn(&mut Vec<(String, String)>) + Send + Sync>;

/// The double's behaviour. The default is that of a correct server.
/// Closures given to it run under its lock: they must not call back into the double.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch a test throws on its own")]
pub struct Behaviour {
    /// Seconds an access token lives.
    pub access_token_lifetime: i64,
    /// Seconds an authorization code lives.
    pub code_lifetime: i64,
    /// Seconds a `request_uri` lives (under 600).
    pub request_uri_lifetime: i64,
    /// Seconds an ID token lives.
    pub id_token_lifetime: i64,
    /// Whether the authorization code grant yields a refresh token.
    pub issue_refresh_token: bool,
    /// Whether each refresh replaces the refresh token.
    pub rotate_refresh_tokens: bool,
    /// Whether a replaced refresh token is good until its successor has been used, as a server must have
    /// it that rotates under FAPI 2.0: its answer may be lost (FAPI2-SP-5.3.2.1-9).
    pub replaced_until_successor_used: bool,
    /// Whether a replaced refresh token, used again, ends the whole grant.
    pub revoke_family_on_reuse: bool,
    /// Whether a refresh yields an ID token.
    pub id_token_on_refresh: bool,
    /// `token_type` as spelled in responses; unless told, as the tokens are.
    pub token_type: Option<String>,
    /// Whether proofs must hold nonces.
    pub dpop_nonces: DpopNonces,
    /// The scheme in a resource's demand for a nonce, as spelled there.
    pub dpop_scheme: String,
    /// Answers bring the nonce that counts from now on (RFC 9449 §8.2).
    pub announce_nonces: bool,
    /// ID tokens bear no `acr`, whatever was asked for.
    pub ignore_acr: bool,
    /// Nobody is asked again who logged in longer than `max_age` ago.
    pub ignore_max_age: bool,
    /// Seconds since whoever comes logged in, unless asked again.
    pub login_age: i64,
    /// Granted beside the `authorization_details` that were asked for.
    pub further_details: Vec<Value>,
    /// What is wrong with every token that is encrypted.
    pub flaw: Option<Flaw>,
    /// Appended to `issuer` in the metadata (only there).
    pub issuer_suffix: String,
    /// Unusable keys that carry the signing key's `kid` stand first in the JWKS.
    pub decoy_keys: bool,
    /// Where the keys are, below the usual address; there, if empty.
    pub jwks_suffix: String,
    /// Neither the signing key in the JWKS nor what it signs has a `kid`.
    pub omit_kid: bool,
    /// Further members of the JWKS, before the signing key.
    pub extra_keys: Vec<Value>,
    /// The `sub` who logs in when there is no page; the first user if unset.
    pub user: Option<String>,
    /// Signed error response to every authorization request (the OAuth error code).
    pub deny: Option<String>,
    /// Unsigned `error`, `state` and `iss` parameters in place of `response`.
    pub unsigned_error: Option<String>,
    /// `typ` of logout tokens, if they have one (OIDC Back-Channel Logout §2.4 recommends it, and the
    /// conformance suite leaves it out).
    pub logout_token_typ: Option<String>,
    edits: HashMap<Target, Schedule<Edit>>,
    tampers: HashMap<Target, Schedule<Tamper>>,
    faults: HashMap<Endpoint, Schedule<FaultRule>>,
    params: Schedule<ParamsEdit>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("tampers", &self.tampers)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            access_token_lifetime: 900,
            code_lifetime: 60,
            request_uri_lifetime: 300,
            id_token_lifetime: 300,
            issue_refresh_token: true,
            rotate_refresh_tokens: false,
            replaced_until_successor_used: false,
            revoke_family_on_reuse: true,
            id_token_on_refresh: false,
            token_type: None,
            dpop_nonces: DpopNonces::Demanded,
            dpop_scheme: "DPoP".to_owned(),
            announce_nonces: false,
            ignore_acr: false,
            ignore_max_age: false,
            login_age: 0,
            further_details: Vec::new(),
            flaw: None,
            issuer_suffix: String::new(),
            decoy_keys: false,
            jwks_suffix: String::new(),
            omit_kid: false,
            extra_keys: Vec::new(),
            user: None,
            deny: None,
            unsigned_error: None,
            logout_token_typ: Some("logout+jwt".to_owned()),
            edits: HashMap::new(),
            tampers: HashMap::new(),
            faults: HashMap::new(),
            params: Schedule::default(),
        }
    }
}

impl Behaviour {
    /// Edits every object of this kind from now on. Edits add up, in order.
    pub fn edit(&mut self, target: Target, edit: impl Fn(&mut Object) + Send + Sync + 'static) {
        self.edit_times(target, None, edit);
    }

    /// Edits the next object of this kind only.
    pub fn edit_once(
        &mut self,
        target: Target,
        edit: impl Fn(&mut Object) + Send + Sync + 'static,
    ) {
        self.edit_times(target, Some(1), edit);
    }

    fn edit_times(
        &mut self,
        target: Target,
        times: Option<u32>,
        edit: impl Fn(&mut Object) + Send + Sync + 'static,
    ) {
        self.edits.entry(target).or_default().push(Arc::new(edit), times);
    }

    /// Spoils every token of this kind from now on: any target that is signed.
    pub fn tamper(&mut self, target: Target, tamper: Tamper) {
        self.tampers.entry(target).or_default().push(tamper, None);
    }

    /// Spoils the next token of this kind only.
    pub fn tamper_once(&mut self, target: Target, tamper: Tamper) {
        self.tampers.entry(target).or_default().push(tamper, Some(1));
    }

    /// Disturbs an endpoint. The oldest rule with uses left applies to each request.
    pub fn fault(&mut self, endpoint: Endpoint, rule: impl Into<FaultRule>) {
        let rule = rule.into();
        let times = rule.times;
        self.faults.entry(endpoint).or_default().push(rule, times);
    }

    /// Ends all faults of an endpoint.
    pub fn heal(&mut self, endpoint: Endpoint) {
        self.faults.remove(&endpoint);
    }

    /// Has the last word on the parameters of every authorization response from now on.
    pub fn redirect_params(
        &mut self,
        edit: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static,
    ) {
        self.params.push(Arc::new(edit), None);
    }

    /// The same for the next response only.
    pub fn redirect_params_once(
        &mut self,
        edit: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static,
    ) {
        self.params.push(Arc::new(edit), Some(1));
    }

    pub(super) fn apply_edits(&mut self, target: Target, object: &mut Object) {
        for target in target.whole().into_iter().chain([target]) {
            let edits = self.edits.get_mut(&target).map(Schedule::take_all);
            for edit in edits.unwrap_or_default() {
                edit(object);
            }
        }
    }

    pub(super) fn apply_params(&mut self, params: &mut Vec<(String, String)>) {
        for edit in self.params.take_all() {
            edit(params);
        }
    }

    pub(super) fn next_tamper(&mut self, target: Target) -> Option<Tamper> {
        let mut targets = target.whole().into_iter().chain([target]);
        targets.find_map(|target| self.tampers.get_mut(&target).and_then(Schedule::take))
    }

    pub(super) fn next_fault(&mut self, endpoint: Endpoint) -> Option<FaultRule> {
        self.faults.get_mut(&endpoint).and_then(Schedule::take)
    }
}

/// Ready-made edits.
pub mod edits {
    use serde_json::Value;

    use crate::jws::Object;

    /// Sets a member.
    pub fn set(name: &str, value: Value) -> impl Fn(&mut Object) + Send + Sync + use<> {
        let name = name.to_owned();
        move |object| {
            object.insert(name.clone(), value.clone());
        }
    }

    /// Removes a member.
    pub fn remove(name: &str) -> impl Fn(&mut Object) + Send + Sync + use<> {
        let name = name.to_owned();
        move |object| {
            object.remove(&name);
        }
    }

    /// The conformance suite's "wrong" value: the right string with `1` appended (`null1` if absent).
    pub fn wrong(name: &str) -> impl Fn(&mut Object) + Send + Sync + use<> {
        append(name, "1")
    }

    /// Appends to a string member.
    pub fn append(name: &str, suffix: &str) -> impl Fn(&mut Object) + Send + Sync + use<> {
        let (name, suffix) = (name.to_owned(), suffix.to_owned());
        move |object| {
            let old = object.get(&name).and_then(Value::as_str).unwrap_or("null");
            let new = format!("{old}{suffix}");
            object.insert(name.clone(), new.into());
        }
    }
}
