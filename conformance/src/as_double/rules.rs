//! Every rule the doubles judge by, in one table: stable name, what breaking it means, the clauses
//! behind it, and the rule in one sentence. A check that is not in here cannot be made: a rule is a
//! variant of [`Rule`]. Knows no request.

use crate::{ledger::Endpoint, suite::verdict::Severity};

/// What a rule is called and where it comes from, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Stable name, such as `client_auth.aud`; the reason of a refusal by this rule.
    pub name: &'static str,
    /// What it means when it is broken.
    pub severity: Severity,
    /// Ids of the clauses behind it; none for a rule of the harness itself.
    pub clauses: &'static [&'static str],
    /// The rule in one sentence.
    pub statement: &'static str,
}

/// What becomes of a request that breaks the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// An OAuth error and a status.
    Refuse(&'static str, u16),
    /// The same as a resource server says it (RFC 6750 §3).
    Bearer(&'static str, u16),
    /// By the rules so far: the request is to come again with a nonce (RFC 9449 §8, §9).
    Challenge,
    /// The request goes on.
    Observe(Severity),
}

impl Consequence {
    const fn severity(self) -> Severity {
        match self {
            Self::Refuse(..) | Self::Bearer(..) => Severity::Failure,
            Self::Challenge => Severity::Info,
            Self::Observe(severity) => severity,
        }
    }
}

const REQUEST: Consequence = Consequence::Refuse("invalid_request", 400);
const METHOD: Consequence = Consequence::Refuse("invalid_request", 405);
const NOWHERE: Consequence = Consequence::Refuse("invalid_request", 404);
const CLIENT: Consequence = Consequence::Refuse("invalid_client", 401);
const OBJECT: Consequence = Consequence::Refuse("invalid_request_object", 400);
const SCOPE: Consequence = Consequence::Refuse("invalid_scope", 400);
const GRANT: Consequence = Consequence::Refuse("invalid_grant", 400);
const TARGET: Consequence = Consequence::Refuse("invalid_target", 400);
const DETAILS: Consequence = Consequence::Refuse("invalid_authorization_details", 400);
const PROOF: Consequence = Consequence::Refuse("invalid_dpop_proof", 400);
const GRANT_TYPE: Consequence = Consequence::Refuse("unsupported_grant_type", 400);
const SERVER: Consequence = Consequence::Refuse("server_error", 400);
const NO_TOKEN: Consequence = Consequence::Bearer("invalid_request", 401);
const TOKEN: Consequence = Consequence::Bearer("invalid_token", 401);
const NARROW: Consequence = Consequence::Bearer("insufficient_scope", 403);
const INFO: Consequence = Consequence::Observe(Severity::Info);
const WARN: Consequence = Consequence::Observe(Severity::Warning);
const FAIL: Consequence = Consequence::Observe(Severity::Failure);

/// A rule's name at an endpoint. [`Endpoint::name`] cannot be joined at compile time.
macro_rules! at {
    ($endpoint:expr, $rest:literal) => {
        match $endpoint {
            Endpoint::Metadata => concat!("metadata.", $rest),
            Endpoint::Jwks => concat!("jwks.", $rest),
            Endpoint::Par => concat!("par.", $rest),
            Endpoint::Authorize => concat!("authorize.", $rest),
            Endpoint::Decision => concat!("decision.", $rest),
            Endpoint::Token => concat!("token.", $rest),
            Endpoint::Userinfo => concat!("userinfo.", $rest),
            Endpoint::Accounts => concat!("accounts.", $rest),
            Endpoint::Revocation => concat!("revocation.", $rest),
            Endpoint::Introspection => concat!("introspection.", $rest),
            Endpoint::EndSession => concat!("end_session.", $rest),
            Endpoint::EndSessionDecision => concat!("end_session_decision.", $rest),
            Endpoint::FrontChannelLogout => concat!("front_channel_logout.", $rest),
            Endpoint::Api => concat!("api.", $rest),
            Endpoint::Unknown => concat!("unknown.", $rest),
        }
    };
}

/// The table makes the variants, what is known of each, and the list for reports. The list does not
/// go through the variants, so the compiler still finds a rule that nothing checks.
macro_rules! table {
    (
        alone { $($rule:ident = $name:literal, $then:expr, $clauses:tt, $says:literal;)* }
        at_endpoints {
            $($family:ident = [$($endpoint:ident)+] $rest:literal, $family_then:expr,
              $family_clauses:tt, $family_says:literal;)*
        }
    ) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rule {
            $($rule,)*
            $($family(Endpoint),)*
        }

        impl Rule {
            const fn entry(self) -> (Consequence, RuleInfo) {
                match self {
                    $(Self::$rule => ($then, RuleInfo {
                        name: $name,
                        severity: $then.severity(),
                        clauses: &$clauses,
                        statement: $says,
                    }),)*
                    $(Self::$family(endpoint) => ($family_then, RuleInfo {
                        name: at!(endpoint, $rest),
                        severity: $family_then.severity(),
                        clauses: &$family_clauses,
                        statement: $family_says,
                    }),)*
                }
            }
        }

        static RULES: &[RuleInfo] = &[
            $(RuleInfo {
                name: $name,
                severity: $then.severity(),
                clauses: &$clauses,
                statement: $says,
            },)*
            $($(RuleInfo {
                name: at!(Endpoint::$endpoint, $rest),
                severity: $family_then.severity(),
                clauses: &$family_clauses,
                statement: $family_says,
            },)+)*
        ];
    };
}

impl Rule {
    pub(super) const fn consequence(self) -> Consequence {
        self.entry().0
    }

    pub(super) const fn info(self) -> RuleInfo {
        self.entry().1
    }
}

/// Every rule of the doubles.
pub const fn rules() -> &'static [RuleInfo] {
    RULES
}

table! {
alone {
    TlsVersion = "tls.version", WARN, ["FAPI2-SP-5.2.1-1/2", "TLS-9325-3.1.1"],
        "the connection is TLS 1.3";
    TlsCipher = "tls.cipher", WARN, ["FAPI2-SP-5.2.2-2", "TLS-9325-4.2"],
        "the cipher suite is one that BCP 195 recommends";
    DpopUnexpected = "dpop.unexpected", WARN, ["FAPI2-SP-5.3.3.1-1", "MTLS-3"],
        "no DPoP proof comes where tokens are bound to the client certificate";

    DpopMissing = "dpop.missing", PROOF, ["FAPI2-SP-5.3.3.1-1", "DPOP-4.1/4.2-h"],
        "there is a DPoP proof";
    DpopSingle = "dpop.single", PROOF, ["DPOP-4.1/4.2-h"], "there is one DPoP header";
    DpopMalformed = "dpop.malformed", PROOF, ["DPOP-4.1/4.2-h", "JWT-BIS-3.13/3.14"],
        "the DPoP proof is a compact JWS";
    DpopDuplicateMember = "dpop.duplicate_member", PROOF, ["JWT-PARSE"],
        "no object in the DPoP proof names a member twice";
    DpopHeader = "dpop.header_not_allowed", PROOF, ["JWT-3.10", "JWT-PARSE"],
        "the DPoP proof points to no key elsewhere and has no critical extension";
    DpopAlg = "dpop.alg_not_allowed", PROOF, ["DPOP-4.1/4.2-h", "FAPI2-SP-5.4.1-1.2"],
        "the DPoP proof is signed with PS256, ES256 or Ed25519";
    DpopKey = "dpop.jwk", PROOF, ["DPOP-4.1/4.2-h"],
        "the DPoP proof brings its public key, one for its algorithm, and nothing private";
    DpopSignature = "dpop.signature_invalid", PROOF, ["DPOP-4.1/4.2-h", "JWT-3.3"],
        "the DPoP proof's signature verifies";
    DpopTyp = "dpop.typ", PROOF, ["DPOP-4.1/4.2-h", "JWT-3.11"],
        "the DPoP proof's typ is dpop+jwt";
    DpopMethod = "dpop.htm", PROOF, ["DPOP-4.2-c"],
        "the DPoP proof's htm is the method of the request";
    DpopAddress = "dpop.htu", PROOF, ["DPOP-4.2-c"],
        "the DPoP proof's htu is the address of the request, without query and fragment";
    DpopIat = "dpop.iat", PROOF, ["DPOP-4.2-c"],
        "the DPoP proof's iat is within five minutes, in whole seconds";
    DpopTimes = "dpop.times", PROOF, ["DPOP-4.2-c"],
        "the DPoP proof's exp has not passed and its nbf has, if it has any";
    DpopJtiMissing = "dpop.jti_missing", PROOF, ["DPOP-4.2-c"], "the DPoP proof has a jti";
    DpopJtiReplayed = "dpop.jti_replayed", PROOF, ["DPOP-7.3"],
        "the DPoP proof's jti was not used before";
    DpopTokenHash = "dpop.ath", PROOF, ["DPOP-4.2-c", "DPOP-7.1"],
        "the DPoP proof's ath is the hash of the access token";
    DpopNoTokenHash = "dpop.ath_unexpected", PROOF, ["DPOP-4.2-c"],
        "the DPoP proof has no ath where there is no access token";
    DpopNonce = "dpop.nonce", Consequence::Challenge,
        ["FAPI2-SP-5.3.3.1-8", "DPOP-8", "DPOP-9"],
        "the DPoP proof's nonce is the one that counts now";
    DpopRequestKey = "dpop.request_key", PROOF, ["DPOP-10.1"],
        "the key of the DPoP proof is the one of dpop_jkt, if there is one";
    DpopBinding = "dpop.binding", TOKEN, ["DPOP-7.1", "FAPI2-AM-5.2"],
        "the key of the DPoP proof is the one that the access token is bound to";

    AuthOtherMethod = "client_auth.other_method", CLIENT, ["FAPI2-SP-5.3.3.1-2", "PKJ-2.2"],
        "the registered method of client authentication is the only one used";
    AuthClientIdMissing = "client_auth.client_id_missing", CLIENT, ["MTLS-2"],
        "client_id says who authenticates";
    AuthClientUnknown = "client_auth.client_unknown", CLIENT, ["MTLS-2", "PKJ-2.2"],
        "whoever authenticates is a registered client";
    AuthBasic = "client_auth.basic", CLIENT, ["PKJ-2.2"],
        "the Authorization header holds the client's name and secret, each form-encoded";
    AuthSecretMissing = "client_auth.secret_missing", CLIENT, ["PKJ-2.2"],
        "there is a client_secret";
    AuthSecret = "client_auth.secret", CLIENT, ["PKJ-2.2"], "the client's secret is right";
    AuthAssertionType = "client_auth.assertion_type", CLIENT, ["PKJ-2.2"],
        "client_assertion_type is urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    AuthAssertionMissing = "client_auth.assertion_missing", CLIENT, ["FAPI2-SP-5.3.3.1-2"],
        "there is a client_assertion";
    AuthMalformed = "client_auth.malformed", CLIENT, ["JWT-BIS-3.13/3.14"],
        "the client assertion is a compact JWS";
    AuthDuplicateMember = "client_auth.duplicate_member", CLIENT, ["JWT-PARSE"],
        "no object in the client assertion names a member twice";
    AuthHeader = "client_auth.header_not_allowed", CLIENT, ["JWT-3.10", "JWT-PARSE"],
        "the client assertion brings no key and no critical extension";
    AuthAlg = "client_auth.alg_not_allowed", CLIENT,
        ["FAPI2-SP-5.4.1-1.2", "FAPI2-SP-5.4.1-1.3", "PKJ-alg"],
        "the client assertion is signed with an algorithm of the profile";
    AuthKidMissing = "client_auth.kid_missing", CLIENT, ["PKJ-alg"],
        "the client assertion names its key";
    AuthKeyUnknown = "client_auth.key_unknown", CLIENT, ["JWK-SEL"],
        "the client assertion's key is registered and fits its algorithm";
    AuthSignature = "client_auth.signature_invalid", CLIENT, ["JWT-3.3"],
        "the client assertion's signature verifies";
    AuthTyp = "client_auth.typ", CLIENT, ["PKJ-10070-4-typ", "JWT-3.11", "JAR-10.8"],
        "the client assertion's typ is absent or that of a client assertion";
    AuthIss = "client_auth.iss", CLIENT, ["PKJ-3-iss"],
        "the client assertion's iss is a registered client";
    AuthSub = "client_auth.sub", CLIENT, ["PKJ-3-iss"],
        "the client assertion's sub is the client";
    AuthAudMissing = "client_auth.aud_missing", CLIENT, ["FAPI2-SP-5.3.3.1-5", "PKJ-10070-4-aud"],
        "the client assertion has an aud";
    AuthAudType = "client_auth.aud_type", CLIENT, ["FAPI2-SP-5.3.3.1-5", "PKJ-10070-4-aud"],
        "the client assertion's aud is one string";
    AuthAud = "client_auth.aud", CLIENT, ["FAPI2-SP-5.3.3.1-5", "PKJ-10070-4-aud"],
        "the client assertion's aud is the issuer";
    AuthAudIssuer = "client_auth.aud_issuer", WARN, ["PKJ-10070-4-aud", "PKJ-10070-6"],
        "the client assertion's aud is the issuer where an endpoint would do";
    AuthJtiMissing = "client_auth.jti_missing", CLIENT, ["PKJ-9-jti"],
        "the client assertion has a jti";
    AuthJtiReplayed = "client_auth.jti_replayed", CLIENT, ["PKJ-9-jti"],
        "the client assertion's jti was not used before";
    AuthExpMissing = "client_auth.exp_missing", CLIENT, ["PKJ-3-exp"],
        "the client assertion has an exp in whole seconds";
    AuthExpired = "client_auth.expired", CLIENT, ["PKJ-3-exp"],
        "the client assertion's exp has not passed";
    AuthExpTooFar = "client_auth.exp_too_far", CLIENT, ["PKJ-3-exp"],
        "the client assertion's exp is at most an hour away";
    AuthIatMissing = "client_auth.iat_missing", CLIENT, ["PKJ-3-exp"],
        "the client assertion has an iat in whole seconds";
    AuthIatFuture = "client_auth.iat_future", CLIENT, ["FAPI2-SP-5.3.2.1-13"],
        "the client assertion's iat is not in the future";
    AuthNbfFuture = "client_auth.nbf_future", CLIENT, ["FAPI2-SP-5.3.2.1-13"],
        "the client assertion's nbf, if any, is not in the future";
    AuthClientId = "client_auth.client_id_mismatch", CLIENT, ["PKJ-2.2"],
        "client_id, if any, is the assertion's client";
    AuthCertificateMissing = "client_auth.certificate_missing", CLIENT, ["MTLS-3", "MTLS-5"],
        "a client certificate is shown on the mutual-TLS listener";
    AuthCertificateUnknown = "client_auth.certificate_unknown", CLIENT, ["MTLS-3", "MTLS-5"],
        "the client certificate is registered for the client";

    ParRequestUri = "par.request_uri_forbidden", REQUEST, ["PAR-2.1"],
        "a pushed request has no request_uri";
    ParRequestMissing = "par.request_missing", REQUEST, ["FAPI2-MS-5.3.2-1", "JAR-10.5"],
        "the pushed request is a request object";
    ParRequestForbidden = "par.request_forbidden", REQUEST, ["PAR-3"],
        "a server that takes plain parameters is pushed no request object";

    RoEncryption = "request_object.encryption", OBJECT, ["JAR-4a"],
        "the request object is encrypted to the server's key, if that was agreed";
    RoMalformed = "request_object.malformed", OBJECT, ["JWT-BIS-3.13/3.14"],
        "the request object is a compact JWS";
    RoDuplicateMember = "request_object.duplicate_member", OBJECT, ["JWT-PARSE"],
        "no object in the request object names a member twice";
    RoHeader = "request_object.header_not_allowed", OBJECT, ["JWT-3.10", "JWT-PARSE"],
        "the request object brings no key and no critical extension";
    RoAlg = "request_object.alg_not_allowed", OBJECT,
        ["FAPI2-SP-5.4.1-1.2", "FAPI2-SP-5.4.1-1.3", "FAPI1-ADV-8.6", "JAR-6.2"],
        "the request object is signed with an algorithm of the profile";
    RoKidMissing = "request_object.kid_missing", OBJECT, ["JWK-SEL"],
        "the request object names its key";
    RoKeyUnknown = "request_object.key_unknown", OBJECT, ["JWK-SEL", "JAR-6.2"],
        "the request object's key is registered and fits its algorithm";
    RoSignature = "request_object.signature_invalid", OBJECT, ["JWT-3.3"],
        "the request object's signature verifies";
    RoTyp = "request_object.typ", OBJECT, ["FAPI2-MS-5.3.2-5", "JAR-4a"],
        "the request object's typ is oauth-authz-req+jwt";
    RoIss = "request_object.iss", OBJECT, ["JAR-4a"],
        "the request object's iss is the client";
    RoSub = "request_object.sub", OBJECT, ["JAR-10.8"],
        "the request object has no sub, so that it cannot pass for a client assertion";
    RoAud = "request_object.aud", OBJECT,
        ["FAPI2-MS-5.3.2-2", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object's aud is the issuer or contains it";
    RoNbfMissing = "request_object.nbf_missing", OBJECT, ["FAPI2-MS-5.3.2-3/4", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object has an nbf in whole seconds";
    RoNbfOld = "request_object.nbf_old", OBJECT, ["FAPI2-MS-5.3.2-3/4", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object's nbf is at most 60 minutes ago";
    RoNbfFuture = "request_object.nbf_future", OBJECT, ["FAPI2-SP-5.3.2.1-13"],
        "the request object's nbf is not in the future";
    RoExpMissing = "request_object.exp_missing", OBJECT, ["FAPI2-MS-5.3.2-3/4", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object has an exp in whole seconds";
    RoExpired = "request_object.expired", OBJECT, ["FAPI2-MS-5.3.2-3/4", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object's exp has not passed";
    RoLifetime = "request_object.lifetime", OBJECT, ["FAPI2-MS-5.3.2-3/4", "FAPI1-ADV-5.2.3-10/11/14"],
        "the request object's exp is at most 60 minutes after its nbf";
    RoIatFuture = "request_object.iat_future", OBJECT, ["FAPI2-SP-5.3.2.1-13"],
        "the request object's iat, if any, is not in the future";
    RoIatOld = "request_object.iat_old", FAIL, ["CLK-2"],
        "the request object's iat, if any, is at most a day ago";
    RoJti = "request_object.jti", OBJECT, ["JAR-4c"],
        "the request object's jti, if any, is a string";
    RoNested = "request_object.nested_request", OBJECT, ["JAR-4a"],
        "the request object holds neither request nor request_uri";
    RoUnknownClaims = "request_object.unknown_claims", WARN, ["JAR-4a"],
        "every claim of the request object is an authorization parameter that is known";
    RoClientId = "request_object.client_id", OBJECT, ["PAR-3", "JAR-5"],
        "client_id is the authenticated client";
    RoResponseType = "request_object.response_type", OBJECT,
        ["FAPI2-SP-5.3.3.2-1", "FAPI1-ADV-5.2.2-2"], "response_type is that of the profile";
    RoResponseMode = "request_object.response_mode", OBJECT, ["FAPI2-MS-5.4.2-1"],
        "response_mode is one of the profile";
    RoRedirectUri = "request_object.redirect_uri", OBJECT, ["OA-4.1.3"],
        "redirect_uri is registered, to the letter";
    RoScope = "request_object.scope", SCOPE, ["OIDC-3.1.2.1", "FAPI2-SP-5.3.3.1-13"],
        "scope asks for registered scopes, each once, openid among them if OpenID Connect is spoken";
    RoScopeExact = "request_object.scope_exact", INFO, ["FAPI2-SP-5.3.3.1-13"],
        "scope is the registered string, order included";
    RoChallengeMethod = "request_object.code_challenge_method", OBJECT,
        ["FAPI2-SP-5.3.3.2-3", "PKCE-4.2/4.3"], "code_challenge_method is S256";
    RoChallenge = "request_object.code_challenge", OBJECT, ["FAPI2-SP-5.3.3.2-3", "PKCE-4.2/4.3"],
        "code_challenge is 43 base64url characters";
    RoChallengeReused = "request_object.code_challenge_reused", FAIL,
        ["FAPI2-SP-5.3.3.2-4", "PKCE-4.1"], "code_challenge, and so the verifier, is a new one";
    RoNonceMissing = "request_object.nonce_missing", OBJECT,
        ["FAPI1-BASE-5.2.3-7/8", "OIDC-3.3.2.8"], "there is a nonce";
    RoStateMissing = "request_object.state_missing", OBJECT, ["FAPI1-BASE-5.2.3-9"],
        "there is a state where no nonce can be";
    RoResource = "request_object.resource", TARGET, ["RES-2", "RES-2.1/2.2"],
        "resource, if any, names resources of this server by absolute addresses without fragment";
    RoState = "request_object.state", OBJECT, ["JAR-4c"], "state, if any, is a string";
    RoStateForm = "request_object.state_form", WARN, ["OA-10.12"],
        "state, if any, is at most 128 URL-safe characters";
    RoNonce = "request_object.nonce", OBJECT, ["OIDC-3.1.2.1", "JAR-4c"],
        "nonce, if any, is a string";
    RoNonceForm = "request_object.nonce_form", WARN, ["FAPI2-SP-5.3.3.2-7"],
        "nonce, if any, is at most 43 URL-safe characters";
    RoLoginHint = "request_object.login_hint", OBJECT, ["JAR-4c"],
        "login_hint, if any, is a string";
    RoUiLocales = "request_object.ui_locales", OBJECT, ["JAR-4c"],
        "ui_locales, if any, is a string";
    RoDisplay = "request_object.display", OBJECT, ["JAR-4c"], "display, if any, is a string";
    RoIdTokenHint = "request_object.id_token_hint", OBJECT, ["JAR-4c"],
        "id_token_hint, if any, is a string";
    RoDpopJkt = "request_object.dpop_jkt", OBJECT, ["JAR-4c"], "dpop_jkt, if any, is a string";
    RoMaxAge = "request_object.max_age", OBJECT, ["OIDC-3.1.2.1", "JAR-4c"],
        "max_age, if any, is a number of seconds";
    RoClaims = "request_object.claims", OBJECT, ["JAR-4c"],
        "claims, if any, is an object whose userinfo and id_token are objects, for OpenID Connect";
    RoDetails = "request_object.authorization_details", OBJECT, ["RAR-2", "JAR-4c"],
        "authorization_details, if any, is an array";
    RoDetailsType = "request_object.authorization_details_type", DETAILS, ["RAR-2", "RAR-5"],
        "every entry of authorization_details is an object of a type that this server has";
    RoAcrValues = "request_object.acr_values", OBJECT, ["JAR-4c"],
        "acr_values, if any, is a string";
    RoPrompt = "request_object.prompt", OBJECT, ["OIDC-3.1.2.1", "JAR-4c"],
        "prompt, if any, is a string";

    ValueClient = "authorize.client_unknown", REQUEST, ["OA-4.1.3"],
        "client_id is that of a registered client";
    ValueRequestUri = "authorize.request_uri_forbidden", REQUEST, ["PAR-5"],
        "no request_uri comes where nothing is pushed";
    ValueRequest = "authorize.request_missing", REQUEST, ["FAPI1-ADV-5.2.3-2", "JAR-10.5"],
        "the request object is in the address";
    ValueRequestForbidden = "authorize.request_forbidden", REQUEST, ["JAR-5"],
        "a server that takes plain parameters is sent no request object";
    ValueRepeated = "authorize.parameter_missing", REQUEST, ["FAPI1-ADV-5.2.3-9"],
        "client_id, response_type and scope stand beside the request object";
    ValueEqual = "authorize.parameter_differs", REQUEST, ["FAPI1-ADV-5.2.3-9", "JAR-5"],
        "client_id and response_type beside the request object are those in it";
    ValueOthers = "authorize.parameter_beside", WARN, ["FAPI1-ADV-5.2.3-8", "JAR-5"],
        "whatever else stands beside the request object is as in it";

    NoUser = "authorize.no_user", REQUEST, [], "somebody can log in";
    UserUnknown = "decision.user_unknown", REQUEST, [], "the person chosen is a user";

    GrantType = "token.grant_type", GRANT_TYPE, ["FAPI2-SP-5.3.3.2-1", "BCP-2.1.2"],
        "grant_type is one of this server";
    CodeMissing = "token.code_missing", REQUEST, ["OA-4.1.3"], "there is a code";
    CodeUnknown = "token.code_unknown", GRANT, ["OA-4.1.3"], "the code was issued";
    CodeOtherClient = "token.code_other_client", GRANT, ["OA-4.1.3"],
        "the code was issued to this client";
    CodeUsed = "token.code_used", GRANT, ["FAPI2-SP-6.4", "OA-4.1.3"],
        "the code was not used before";
    CodeExpired = "token.code_expired", GRANT, ["FAPI2-SP-5.3.2.1-11"], "the code has not expired";
    TokenRedirectMissing = "token.redirect_uri_missing", REQUEST, ["OA-4.1.3"],
        "the token request has a redirect_uri";
    TokenRedirect = "token.redirect_uri", GRANT, ["OA-4.1.3"],
        "redirect_uri is that of the authorization request, to the letter";
    VerifierMissing = "token.code_verifier_missing", REQUEST, ["PKCE-4.5"],
        "the token request has a code_verifier";
    Verifier = "token.code_verifier", GRANT, ["PKCE-4.1", "PKCE-4.2/4.3"],
        "code_verifier is 43 to 128 unreserved characters and fits the challenge";
    VerifierUnasked = "token.code_verifier_unasked", GRANT, ["PKCE-4.5"],
        "a code_verifier comes only after a challenge";
    CodeKey = "token.dpop_key", GRANT, ["DPOP-10.1"],
        "the key of the DPoP proof is the one the authorization request was bound to";
    TokenResource = "token.resource", TARGET, ["RES-2.1/2.2"],
        "resource, if any, narrows what was asked for";
    VerifierEntropy = "token.code_verifier_entropy", WARN, ["PKCE-4.1", "FAPI2-SP-5.4.1-4"],
        "code_verifier has at least 180 bits of Shannon entropy";
    RefreshMissing = "token.refresh_token_missing", REQUEST, ["FAPI2-SP-5.3.3.1-6"],
        "there is a refresh_token";
    RefreshUnknown = "token.refresh_unknown", GRANT, ["FAPI2-SP-5.3.3.1-6"],
        "the refresh token was issued";
    RefreshRevoked = "token.refresh_revoked", GRANT, ["REV-2.1"],
        "the refresh token's grant has not ended";
    RefreshOtherClient = "token.refresh_other_client", GRANT, ["FAPI2-SP-5.3.3.1-6"],
        "the refresh token was issued to this client";
    RefreshReused = "token.refresh_reused", GRANT, ["FAPI2-SP-5.3.3.1-6"],
        "the refresh token was not replaced by a newer one";
    RefreshScope = "token.refresh_scope", SCOPE, ["FAPI2-SP-5.3.3.1-13"],
        "no more scope is asked than was granted";
    TokenScope = "token.scope", SCOPE, ["FAPI2-SP-5.3.3.1-13"],
        "the client asks in its own name for registered scopes, each once";
    TokenCertificate = "token.certificate_missing", REQUEST, ["MTLS-3", "FAPI2-SP-5.3.3.1-1"],
        "there is a client certificate to bind the token to";
    SubjectTokenMissing = "token.subject_token_missing", REQUEST, ["TX-2.1"],
        "a token to be exchanged has a subject_token";
    SubjectTokenType = "token.subject_token_type", REQUEST, ["TX-2.1"],
        "subject_token_type and requested_token_type are those of an access token";
    SubjectToken = "token.subject_token", REQUEST, ["TX-2.1"],
        "the subject_token is a live access token of this client";
    GrantRevoked = "token.grant_revoked", GRANT, ["OA-4.1.3"], "the grant has not ended";
    RevocationToken = "revocation.token_missing", REQUEST, ["REV-2.1"],
        "there is a token to revoke";

    BearerMissing = "bearer.missing", NO_TOKEN, ["FAPI2-SP-5.3.3.1-3"],
        "there is one access token in the Authorization header, by the scheme of its kind";
    BearerElsewhere = "bearer.not_in_header", NO_TOKEN, ["FAPI2-SP-5.3.3.1-3", "BRR-5.3"],
        "no access token is in the query or the body";
    TokenUnknown = "bearer.token_unknown", TOKEN, ["BRR-3.1"], "the access token was issued";
    TokenRevoked = "bearer.token_revoked", TOKEN, ["BRR-3.1"],
        "the access token was not revoked";
    TokenExpired = "bearer.token_expired", TOKEN, ["BRR-3.1"],
        "the access token has not expired";
    BearerCertificateMissing = "bearer.certificate_missing", TOKEN, ["MTLS-3"],
        "a client certificate is shown with the access token";
    BearerCertificateMismatch = "bearer.certificate_mismatch", TOKEN, ["MTLS-3", "FAPI2-AM-5.2"],
        "the client certificate is the one the access token is bound to";
    UserinfoScope = "userinfo.scope", NARROW, ["OIDC-5.3.1"],
        "the access token's scope contains openid";
    ApiScope = "api.scope", NARROW, ["BRR-3.1"],
        "the access token's scope contains what the resource needs";
    AuthDate = "accounts.auth_date", REQUEST, ["FAPI1-BASE-6.2.2-3/4"],
        "x-fapi-auth-date, if sent, is an RFC 1123 date";
    CustomerIp = "accounts.customer_ip_address", REQUEST, ["FAPI1-BASE-6.2.2-3/4"],
        "x-fapi-customer-ip-address, if sent, is an IP address and nothing else";

    SessionUnknown = "front_channel_logout.session", REQUEST, ["FCL-2"],
        "the session is one of this server";
    JwksAddress = "jwks.address", NOWHERE, ["META-3.1", "FAPI2-SP-5.3.3.1-9"],
        "the keys are asked for at the address that the metadata name";
    ApiAudience = "api.audience", TOKEN, ["RES-2.1/2.2", "BCP-2.2-2.3"],
        "the access token, if it is for certain resources, is for this one";

    ApiBody = "api.body", REQUEST, [], "the body arrives whole and is what the resource takes";
    ApiNotFound = "api.not_found", NOWHERE, [], "the resource exists";
    UnknownEndpoint = "unknown.endpoint", NOWHERE, ["FAPI2-SP-5.3.3.1-9"],
        "the endpoint is one of the metadata";
    ServerKey = "server.key", SERVER, [], "the server can sign";
}
at_endpoints {
    Method = [Metadata Jwks Par Authorize Decision Token Userinfo Accounts Revocation Introspection
              EndSession EndSessionDecision FrontChannelLogout Api] "method", METHOD, [],
        "the method is the endpoint's";
    WrongListener = [Metadata Jwks Par Authorize Decision Token Userinfo Accounts Revocation
                     Introspection EndSession EndSessionDecision FrontChannelLogout]
        "wrong_listener", REQUEST, ["FAPI2-SP-5.3.3.1-7", "MTLS-5"],
        "the endpoint is called where the metadata says, plain or mutual TLS";
    ContentType = [Par Decision Token Revocation Introspection EndSession EndSessionDecision]
        "content_type", REQUEST, ["PAR-2.1"], "the body is a form";
    QueryForbidden = [Par Decision Token Revocation Introspection EndSession EndSessionDecision]
        "query_forbidden", REQUEST, ["PAR-2.1", "BRR-5.3"], "parameters are in the body only";
    Duplicate = [Par Authorize Decision Token Revocation Introspection EndSession
                 EndSessionDecision FrontChannelLogout] "duplicate_parameter", REQUEST, ["OA-3.1"],
        "no parameter comes twice";
    Outside = [Par Authorize] "parameter_outside", REQUEST,
        ["FAPI2-MS-5.3.2-1", "FAPI2-SP-5.3.3.2-6"],
        "no parameter stands outside the request object or beside request_uri";
    ClientIdMissing = [Authorize Decision] "client_id_missing", REQUEST, ["FAPI2-SP-5.3.3.2-6"],
        "there is a client_id";
    RequestUriMissing = [Authorize Decision] "request_uri_missing", REQUEST,
        ["FAPI2-SP-5.3.3.2-2", "FAPI2-SP-5.3.3.2-6"], "there is a request_uri";
    RequestUriUnknown = [Authorize Decision] "request_uri_unknown", REQUEST, ["PAR-4"],
        "request_uri was issued by this server";
    RequestUriOtherClient = [Authorize Decision] "request_uri_other_client", REQUEST, ["PAR-4"],
        "request_uri was issued to this client";
    RequestUriUsed = [Authorize Decision] "request_uri_used", REQUEST, ["PAR-4"],
        "request_uri was not used before";
    RequestUriExpired = [Authorize Decision] "request_uri_expired", REQUEST,
        ["PAR-4", "FAPI2-SP-5.3.2.2-12"], "request_uri has not expired";
    ReturnUri = [Authorize Decision] "redirect_uri", REQUEST, ["OA-4.1.3"],
        "the pushed redirect_uri is a URL";
    HintMissing = [EndSession EndSessionDecision] "id_token_hint_missing", REQUEST, ["RPL-2/2.1"],
        "there is an id_token_hint";
    Hint = [EndSession EndSessionDecision] "id_token_hint", REQUEST, ["RPL-2/2.1"],
        "id_token_hint is an ID token of this server for a registered client";
    LogoutClient = [EndSession EndSessionDecision] "client_id", REQUEST, ["RPL-2/2.1"],
        "client_id, if any, is that of the hint";
    LogoutReturn = [EndSession EndSessionDecision] "post_logout_redirect_uri", REQUEST, ["RPL-2/2.1"],
        "post_logout_redirect_uri, if any, is registered, to the letter";
    InteractionId = [Accounts Api] "interaction_id", REQUEST, ["FAPI1-BASE-6.2.2-5"],
        "x-fapi-interaction-id, if sent, is a UUID";
}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_rule_says_something_and_whose_it_is() {
        // Rules of the harness itself, which no clause asks for.
        let own = ["authorize.no_user", "decision.user_unknown", "server.key", "api.body"];
        let mut names = HashSet::new();
        for rule in rules() {
            assert!(names.insert(rule.name), "{} twice", rule.name);
            let (prefix, rest) = rule.name.split_once('.').unwrap();
            assert!(!prefix.is_empty() && !rest.is_empty(), "{}", rule.name);
            let ownerless = own.contains(&rule.name) || ["method", "not_found"].contains(&rest);
            assert_eq!(rule.clauses.is_empty(), ownerless, "{}", rule.name);
            assert!(!rule.statement.is_empty() && !rule.statement.ends_with('.'), "{}", rule.name);
        }
    }

    #[test]
    fn a_rule_of_an_endpoint_bears_the_endpoints_name() {
        for endpoint in [
            Endpoint::Metadata,
            Endpoint::Jwks,
            Endpoint::Par,
            Endpoint::Authorize,
            Endpoint::Decision,
            Endpoint::Token,
            Endpoint::Userinfo,
            Endpoint::Accounts,
            Endpoint::Revocation,
            Endpoint::Introspection,
            Endpoint::EndSession,
            Endpoint::EndSessionDecision,
            Endpoint::FrontChannelLogout,
            Endpoint::Api,
            Endpoint::Unknown,
        ] {
            let name = Rule::Method(endpoint).info().name;
            assert_eq!(name, format!("{}.method", endpoint.name()));
        }
    }

    #[test]
    fn only_observations_let_a_request_go_on() {
        assert_eq!(Rule::AuthAud.info().severity, Severity::Failure);
        assert_eq!(Rule::AuthAud.consequence(), CLIENT);
        assert_eq!(Rule::RoNonceForm.info().severity, Severity::Warning);
        assert_eq!(Rule::RoNonceForm.consequence(), WARN);
    }
}
