//! Owns the judgement of an authorization server's metadata document against the issuer and the
//! profile (RFC 8414, OpenID Connect Discovery). Must not know: how it was fetched or cached.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use url::Url;

use crate::{
    jose::{Claims, ClaimsRejected, JwePolicy, JwsAlg},
    profile::{
        ClientAuthMethod, Par, Profile, ResponseForm, ResponseMode, ResponseType, SenderConstraint,
    },
};

use super::{
    reason::rejection,
    well_known::{IssuerRejected, check_issuer},
};

/// Largest document believed, in bytes (META-3.2).
pub const MAX_METADATA_BYTES: usize = 256 * 1024;

/// Request parameters that may not already stand in the authorization endpoint's own query, or
/// they would occur twice or travel outside the signed object (FAPI2-SP-5.3.3.2-6).
const REQUEST_PARAMETERS: [&str; 11] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// What binds our access tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// The client certificate (RFC 8705 §3).
    Mtls,
    /// A `DPoP` key with this algorithm (RFC 9449).
    DPoP(JwsAlg),
    /// Nothing.
    None,
}

/// What this client brings, and so needs the server to support.
#[derive(Clone, Debug)]
pub struct Needs {
    /// How the client authenticates.
    pub client_auth: ClientAuthMethod,
    /// The algorithm of the client assertion key, under `private_key_jwt`.
    pub client_assertion_alg: Option<JwsAlg>,
    /// The algorithm of the request object key, if requests are signed.
    pub request_object_alg: Option<JwsAlg>,
    /// What binds access tokens.
    pub binding: Binding,
    /// The only algorithm accepted on ID tokens; none means any of the profile.
    pub id_token_alg: Option<JwsAlg>,
    /// The only algorithm accepted on authorization responses; none means any of the profile.
    pub authorization_response_alg: Option<JwsAlg>,
    /// The algorithm userinfo answers are signed with, if they are.
    pub userinfo_alg: Option<JwsAlg>,
    /// How ID tokens come encrypted, if they do.
    pub id_token_encryption: Option<JwePolicy>,
    /// How authorization responses do.
    pub authorization_response_encryption: Option<JwePolicy>,
    /// How userinfo answers do.
    pub userinfo_encryption: Option<JwePolicy>,
    /// How request objects are encrypted, if they are.
    pub request_object_encryption: Option<JwePolicy>,
    /// Whether signed introspection answers are asked for.
    pub introspection: bool,
    /// The shape of the authorization response.
    pub response: ResponseForm,
    /// Whether ID tokens are asked for.
    pub openid: bool,
}

impl Needs {
    /// Whether the server signs anything for this client, so that its keys are needed.
    const fn server_keys(&self) -> bool {
        self.openid
            || self.response.response_mode.is_signed()
            || self.userinfo_alg.is_some()
            || self.introspection
            || self.request_object_encryption.is_some()
    }
}

impl Binding {
    const fn constraint(self) -> SenderConstraint {
        match self {
            Self::Mtls => SenderConstraint::Mtls,
            Self::DPoP(_) => SenderConstraint::Dpop,
            Self::None => SenderConstraint::None,
        }
    }
}

/// An endpoint that this client calls directly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Endpoint {
    /// The metadata document; its URL is not in itself.
    Metadata,
    /// The server's keys.
    Jwks,
    /// RFC 9126.
    PushedAuthorizationRequest,
    /// RFC 6749 §3.2.
    Token,
    /// OpenID Connect Core §5.3.
    Userinfo,
    /// RFC 7009.
    Revocation,
    /// RFC 7662.
    Introspection,
    /// OpenID Connect RP-Initiated Logout; the browser goes there.
    EndSession,
}

impl Endpoint {
    /// A short name for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::PushedAuthorizationRequest => "par",
            Self::Token => "token",
            Self::Userinfo => "userinfo",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
            Self::EndSession => "end_session",
        }
    }

    /// Whether this client cannot work without it (FAPI2-SP-5.3.3.2-2, PAR-5).
    const fn is_required(self, par_required: bool, keys_required: bool) -> bool {
        match self {
            Self::Token => true,
            Self::Jwks => keys_required,
            Self::PushedAuthorizationRequest => par_required,
            _ => false,
        }
    }

    /// The member of the metadata document that holds its URL.
    const fn member(self) -> Option<&'static str> {
        Some(match self {
            Self::Metadata => return None,
            Self::Jwks => "jwks_uri",
            Self::PushedAuthorizationRequest => "pushed_authorization_request_endpoint",
            Self::Token => "token_endpoint",
            Self::Userinfo => "userinfo_endpoint",
            Self::Revocation => "revocation_endpoint",
            Self::Introspection => "introspection_endpoint",
            Self::EndSession => "end_session_endpoint",
        })
    }
}

/// What the client certificate is for; decides between an endpoint and its mTLS alias.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MtlsUse {
    /// The client's `use_mtls_endpoint_aliases` (FAPI2-SP-5.2.2.1-3): aliases for all endpoints.
    pub endpoint_aliases: bool,
    /// The certificate authenticates the client (RFC 8705 §2).
    pub client_authentication: bool,
    /// The certificate binds access tokens (RFC 8705 §3).
    pub token_binding: bool,
}

impl MtlsUse {
    /// Whether the call to this endpoint relies on the certificate. Binding needs it where tokens
    /// are issued or used; a pushed request authenticated by an assertion stays on the plain
    /// endpoint (MTLS-5-PRJ).
    const fn takes_alias(self, endpoint: Endpoint) -> bool {
        match endpoint {
            Endpoint::Metadata | Endpoint::Jwks | Endpoint::EndSession => false,
            Endpoint::PushedAuthorizationRequest => {
                self.endpoint_aliases || self.client_authentication
            }
            Endpoint::Token | Endpoint::Revocation | Endpoint::Introspection => {
                self.endpoint_aliases || self.client_authentication || self.token_binding
            }
            Endpoint::Userinfo => self.endpoint_aliases || self.token_binding,
        }
    }
}

/// Metadata that fits its issuer and the profile. There is no other way to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    endpoints: BTreeMap<Endpoint, Url>,
    mtls_endpoint_aliases: BTreeMap<Endpoint, Url>,
    iss_parameter_supported: bool,
    claims_parameter_supported: bool,
    details_types: Option<Vec<String>>,
}

rejection! {
    /// Why a metadata document is not used.
    pub enum MetadataRejected {
        TooLarge => "metadata.too_large", "the metadata document is larger than 256 KiB";
        NotJson => "metadata.not_json", "the metadata document is not a JSON object";
        DuplicateMember => "metadata.duplicate_member", "a member of the metadata occurs twice";
        MemberType(&'static str) => "metadata.member_type", "metadata member {0} has the wrong type";
        ExpectedIssuer(IssuerRejected) => "metadata.expected_issuer", "the configured issuer is unusable: {0}";
        IssuerMissing => "metadata.issuer_missing", "the metadata names no issuer";
        IssuerMismatch => "metadata.issuer_mismatch", "the metadata is another issuer's (META-3.3, FAPI2-SP-5.3.3.1-11)";
        EndpointMissing(&'static str) => "metadata.endpoint_missing", "the metadata lacks {0}";
        EndpointNotHttps(&'static str) => "metadata.endpoint_not_https", "metadata member {0} is not an https URL (META-2)";
        EndpointNotAllowed(&'static str) => "metadata.endpoint_not_allowed", "metadata member {0} has a fragment, user information or request parameters";
        ResponseTypeMissing => "metadata.response_type_missing", "the server does not support the client's response type";
        ResponseModeMissing => "metadata.response_mode_missing", "the server does not support the client's response mode (FAPI2-MS-5.4.2-1)";
        S256Missing => "metadata.s256_missing", "the server does not support PKCE with S256 (FAPI2-SP-5.3.3.2-3)";
        ClientAuthMissing => "metadata.client_auth_missing", "the server does not support the client's authentication method";
        ClientAuthNotAllowed => "metadata.client_auth_not_allowed", "the profile forbids the client's authentication method (FAPI2-SP-5.3.3.1-2)";
        SignedRequestRequired => "metadata.signed_request_required", "the server wants signed requests, the client sends none (JAR-10.5)";
        BindingNotAllowed => "metadata.binding_not_allowed", "the profile forbids tokens bound like this, or not bound (FAPI2-SP-5.3.3.1-1)";
        CertificateBindingMissing => "metadata.certificate_binding_missing", "the server does not bind tokens to certificates (MTLS-3.3)";
        AlgorithmMissing(&'static str) => "metadata.algorithm_missing", "none of our algorithms is in {0}";
        AlgorithmNotAllowed => "metadata.algorithm_not_allowed", "the profile forbids the algorithm of a key or pin (FAPI2-SP-5.4.1-1.2)";
    }
}

impl Metadata {
    /// Judges a document fetched for `expected_issuer`, which is compared byte for byte.
    /// Capabilities the document leaves out are taken as RFC 8414 §2 says, or, where it gives no
    /// default, as present.
    pub fn accept(
        document: &[u8],
        expected_issuer: &str,
        profile: &Profile,
        needs: &Needs,
    ) -> Result<Self, MetadataRejected> {
        check_issuer(expected_issuer).map_err(MetadataRejected::ExpectedIssuer)?;
        let document = Document::parse(document)?;
        let issuer = document.string("issuer")?.ok_or(MetadataRejected::IssuerMissing)?;
        if issuer != expected_issuer {
            return Err(MetadataRejected::IssuerMismatch);
        }
        document.check_capabilities(profile, needs)?;

        let authorization_endpoint = document.required_url("authorization_endpoint")?;
        if authorization_endpoint
            .query_pairs()
            .any(|(name, _)| REQUEST_PARAMETERS.contains(&name.as_ref()))
        {
            return Err(MetadataRejected::EndpointNotAllowed("authorization_endpoint"));
        }
        let par_required =
            document.flag("require_pushed_authorization_requests")? || profile.par == Par::Required;
        let mut endpoints = BTreeMap::new();
        for endpoint in [
            Endpoint::Jwks,
            Endpoint::PushedAuthorizationRequest,
            Endpoint::Token,
            Endpoint::Userinfo,
            Endpoint::Revocation,
            Endpoint::Introspection,
            Endpoint::EndSession,
        ] {
            let Some(member) = endpoint.member() else { continue };
            match document.url(member)? {
                Some(url) => drop(endpoints.insert(endpoint, url)),
                None if endpoint.is_required(par_required, needs.server_keys()) => {
                    return Err(MetadataRejected::EndpointMissing(member));
                }
                None => {}
            }
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint,
            endpoints,
            mtls_endpoint_aliases: document.aliases()?,
            iss_parameter_supported: document
                .flag("authorization_response_iss_parameter_supported")?,
            claims_parameter_supported: document.flag("claims_parameter_supported")?,
            details_types: document
                .list("authorization_details_types_supported")?
                .map(|types| types.into_iter().map(str::to_owned).collect()),
        })
    }

    /// The issuer, byte for byte as configured and as stated.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the browser is sent; never an alias.
    pub const fn authorization_endpoint(&self) -> &Url {
        &self.authorization_endpoint
    }

    /// Where the server's keys are; never an alias. None only if it signs nothing for this client.
    pub fn jwks_uri(&self) -> Option<&Url> {
        self.endpoints.get(&Endpoint::Jwks)
    }

    /// Where the browser is sent to log out, if the server has such a place.
    pub fn end_session_endpoint(&self) -> Option<&Url> {
        self.endpoints.get(&Endpoint::EndSession)
    }

    /// Whether the server announces the `iss` response parameter (ISS-2.4-2).
    pub const fn authorization_response_iss_parameter_supported(&self) -> bool {
        self.iss_parameter_supported
    }

    /// Whether the server reads the `claims` parameter; none that does not say so does
    /// (OpenID Connect Discovery §3).
    pub const fn claims_parameter_supported(&self) -> bool {
        self.claims_parameter_supported
    }

    /// Whether the server lists this `type` of authorization details, where it lists any (RAR-5).
    pub fn supports_details(&self, kind: &str) -> bool {
        self.details_types.as_ref().is_none_or(|types| types.iter().any(|listed| listed == kind))
    }

    /// The URL to call, if the server has the endpoint: the mTLS alias where the call relies on
    /// the certificate and there is one, otherwise the endpoint itself (FAPI2-SP-5.3.3.1-7).
    pub fn endpoint(&self, endpoint: Endpoint, mtls: MtlsUse) -> Option<&Url> {
        let root = self.endpoints.get(&endpoint)?;
        let alias =
            self.mtls_endpoint_aliases.get(&endpoint).filter(|_| mtls.takes_alias(endpoint));
        Some(alias.unwrap_or(root))
    }
}

/// A document that parses; typed access to members, nothing judged.
struct Document(Claims);

impl Document {
    fn parse(document: &[u8]) -> Result<Self, MetadataRejected> {
        Claims::parse_within(document, MAX_METADATA_BYTES).map(Self).map_err(|rejected| {
            match rejected {
                ClaimsRejected::TooLarge => MetadataRejected::TooLarge,
                ClaimsRejected::DuplicateMember => MetadataRejected::DuplicateMember,
                ClaimsRejected::Malformed | ClaimsRejected::TooDeep => MetadataRejected::NotJson,
            }
        })
    }

    fn check_capabilities(&self, profile: &Profile, needs: &Needs) -> Result<(), MetadataRejected> {
        self.check_algorithms(profile, needs)?;
        self.check_encryption(needs)?;
        let wanted = needs.response.response_type;
        if self
            .list("response_types_supported")?
            .is_some_and(|types| !types.iter().any(|listed| same_type(listed, wanted)))
        {
            return Err(MetadataRejected::ResponseTypeMissing);
        }
        let modes: &[&str] = match needs.response.response_mode {
            ResponseMode::Jwt => &["jwt", "query.jwt"],
            ResponseMode::FormPostJwt => &["form_post.jwt"],
            ResponseMode::Query => &["query"],
            ResponseMode::FormPost => &["form_post"],
            ResponseMode::Fragment => &["fragment"],
        };
        if self
            .list("response_modes_supported")?
            .is_some_and(|listed| !listed.iter().any(|mode| modes.contains(mode)))
        {
            return Err(MetadataRejected::ResponseModeMissing);
        }
        let s256 = self
            .list("code_challenge_methods_supported")?
            .is_some_and(|list| list.contains(&"S256"));
        if profile.pkce_required && !s256 {
            return Err(MetadataRejected::S256Missing);
        }
        if !profile.client_auth.contains(&needs.client_auth) {
            return Err(MetadataRejected::ClientAuthNotAllowed);
        }
        let methods = self
            .list("token_endpoint_auth_methods_supported")?
            .unwrap_or(vec!["client_secret_basic"]);
        if !methods.contains(&needs.client_auth.name()) {
            return Err(MetadataRejected::ClientAuthMissing);
        }
        if self.flag("require_signed_request_object")? && needs.request_object_alg.is_none() {
            return Err(MetadataRejected::SignedRequestRequired);
        }
        if !profile.sender_constraints.contains(&needs.binding.constraint()) {
            return Err(MetadataRejected::BindingNotAllowed);
        }
        let certificate_bound = self.flag("tls_client_certificate_bound_access_tokens")?;
        if needs.binding == Binding::Mtls && !certificate_bound {
            return Err(MetadataRejected::CertificateBindingMissing);
        }
        Ok(())
    }

    /// Our algorithms are within the profile, and the server lists them where it lists any
    /// (PKJ-alg, JAR-6.2). On what the server signs, one common algorithm is enough.
    fn check_algorithms(&self, profile: &Profile, needs: &Needs) -> Result<(), MetadataRejected> {
        let pin =
            |alg: &Option<JwsAlg>| alg.map_or(profile.unpinned_algs.to_vec(), |alg| vec![alg]);
        let dpop = match needs.binding {
            Binding::DPoP(alg) => vec![alg],
            Binding::Mtls | Binding::None => vec![],
        };
        let responses = if needs.response.response_mode.is_signed() {
            pin(&needs.authorization_response_alg)
        } else {
            vec![]
        };
        let id_tokens = if needs.openid { pin(&needs.id_token_alg) } else { vec![] };
        let introspection =
            if needs.introspection { profile.unpinned_algs.to_vec() } else { vec![] };
        let ours = [
            (
                "token_endpoint_auth_signing_alg_values_supported",
                needs.client_assertion_alg.into_iter().collect(),
            ),
            (
                "request_object_signing_alg_values_supported",
                needs.request_object_alg.into_iter().collect(),
            ),
            ("dpop_signing_alg_values_supported", dpop),
            ("id_token_signing_alg_values_supported", id_tokens),
            ("authorization_signing_alg_values_supported", responses),
            ("userinfo_signing_alg_values_supported", needs.userinfo_alg.into_iter().collect()),
            ("introspection_signing_alg_values_supported", introspection),
        ];
        for (member, algs) in ours {
            let listed = self.list(member)?;
            if algs.iter().any(|alg| !profile.jws_algs.contains(alg)) {
                return Err(MetadataRejected::AlgorithmNotAllowed);
            }
            let in_list = |list: Vec<&str>| algs.iter().any(|alg| list.contains(&alg.name()));
            if !algs.is_empty() && listed.is_some_and(|list| !in_list(list)) {
                return Err(MetadataRejected::AlgorithmMissing(member));
            }
        }
        Ok(())
    }

    /// The server lists the algorithms by which we and it agreed to encrypt, where it lists any: a
    /// misfit would only show in each login (META-2).
    fn check_encryption(&self, needs: &Needs) -> Result<(), MetadataRejected> {
        for (alg_member, enc_member, agreed) in [
            (
                "id_token_encryption_alg_values_supported",
                "id_token_encryption_enc_values_supported",
                needs.id_token_encryption.filter(|_| needs.openid),
            ),
            (
                "authorization_encryption_alg_values_supported",
                "authorization_encryption_enc_values_supported",
                needs
                    .authorization_response_encryption
                    .filter(|_| needs.response.response_mode.is_signed()),
            ),
            (
                "userinfo_encryption_alg_values_supported",
                "userinfo_encryption_enc_values_supported",
                needs.userinfo_encryption,
            ),
            (
                "request_object_encryption_alg_values_supported",
                "request_object_encryption_enc_values_supported",
                needs.request_object_encryption,
            ),
        ] {
            let Some(JwePolicy { alg, enc }) = agreed else { continue };
            for (member, name) in [(alg_member, alg.name()), (enc_member, enc.name())] {
                if self.list(member)?.is_some_and(|listed| !listed.contains(&name)) {
                    return Err(MetadataRejected::AlgorithmMissing(member));
                }
            }
        }
        Ok(())
    }

    fn aliases(&self) -> Result<BTreeMap<Endpoint, Url>, MetadataRejected> {
        const MEMBER: &str = "mtls_endpoint_aliases";
        let aliases = match self.0.get(MEMBER) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(aliases)) => aliases,
            Some(_) => return Err(MetadataRejected::MemberType(MEMBER)),
        };
        let callable = [
            Endpoint::PushedAuthorizationRequest,
            Endpoint::Token,
            Endpoint::Userinfo,
            Endpoint::Revocation,
            Endpoint::Introspection,
        ];
        let mut urls = BTreeMap::new();
        for endpoint in callable {
            let Some(value) = endpoint.member().and_then(|member| aliases.get(member)) else {
                continue;
            };
            urls.insert(endpoint, url(MEMBER, value)?);
        }
        Ok(urls)
    }

    fn required_url(&self, member: &'static str) -> Result<Url, MetadataRejected> {
        self.url(member)?.ok_or(MetadataRejected::EndpointMissing(member))
    }

    fn url(&self, member: &'static str) -> Result<Option<Url>, MetadataRejected> {
        self.0.get(member).map(|value| url(member, value)).transpose()
    }

    fn string(&self, member: &'static str) -> Result<Option<&str>, MetadataRejected> {
        self.0.optional_string(member).map_err(|_| MetadataRejected::MemberType(member))
    }

    /// A list of strings that may be absent.
    fn list(&self, member: &'static str) -> Result<Option<Vec<&str>>, MetadataRejected> {
        let items = match self.0.get(member) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(MetadataRejected::MemberType(member)),
        };
        let strings = items.iter().map(Value::as_str).collect::<Option<_>>();
        strings.map(Some).ok_or(MetadataRejected::MemberType(member))
    }

    /// A flag that is false when absent.
    fn flag(&self, member: &'static str) -> Result<bool, MetadataRejected> {
        match self.0.get(member) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or(MetadataRejected::MemberType(member)),
        }
    }
}

/// The words of a response type come in any order (OAuth 2.0 Multiple Response Types §3).
fn same_type(listed: &str, wanted: ResponseType) -> bool {
    let words = |text: &'_ str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    words(listed) == words(wanted.name())
}

/// An https URL without fragment or user information.
fn url(member: &'static str, value: &Value) -> Result<Url, MetadataRejected> {
    let text = value.as_str().ok_or(MetadataRejected::MemberType(member))?;
    let clean = text.bytes().all(|c| c.is_ascii_graphic() && c != b'\\');
    let url = Url::parse(text)
        .ok()
        .filter(|url| clean && url.scheme() == "https" && text.contains("://"));
    let url = url.ok_or(MetadataRejected::EndpointNotHttps(member))?;
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(MetadataRejected::EndpointNotAllowed(member));
    }
    Ok(url)
}
