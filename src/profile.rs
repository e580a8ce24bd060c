//! Owns the profile table: what each security profile demands and what it leaves open, as data that
//! settings are held against and rules read. Must not know: settings, tokens, how a demand is met.

use std::{fmt, fmt::Write as _, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::jose::JwsAlg;

/// A security profile, chosen per client.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum ProfileName {
    /// FAPI 2.0 Message Signing on top of the FAPI 2.0 Security Profile.
    #[default]
    #[serde(rename = "fapi2-message-signing")]
    Fapi2MessageSigning,
    /// FAPI 2.0 Security Profile.
    #[serde(rename = "fapi2-security")]
    Fapi2Security,
    /// FAPI 1.0 Part 2 (Advanced).
    #[serde(rename = "fapi1-advanced")]
    Fapi1Advanced,
    /// Plain OpenID Connect.
    #[serde(rename = "oidc")]
    Oidc,
}

/// A name that is none of the profiles'.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown profile: use fapi2-message-signing, fapi2-security, fapi1-advanced or oidc")]
pub struct UnknownProfile;

impl ProfileName {
    /// Every profile, strictest first.
    pub const ALL: [Self; 4] =
        [Self::Fapi2MessageSigning, Self::Fapi2Security, Self::Fapi1Advanced, Self::Oidc];

    /// The name in settings, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fapi2MessageSigning => "fapi2-message-signing",
            Self::Fapi2Security => "fapi2-security",
            Self::Fapi1Advanced => "fapi1-advanced",
            Self::Oidc => "oidc",
        }
    }

    /// The row of the profile table.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::Fapi2MessageSigning => &FAPI2_MESSAGE_SIGNING,
            Self::Fapi2Security => &FAPI2_SECURITY,
            Self::Fapi1Advanced => &FAPI1_ADVANCED,
            Self::Oidc => &OIDC,
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ProfileName {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name).ok_or(UnknownProfile)
    }
}

/// What the authorization endpoint answers with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResponseType {
    /// A code.
    Code,
    /// A code, and an ID token that signs it (OpenID Connect Core §3.3).
    CodeIdToken,
}

impl ResponseType {
    /// Every one there is. What would bring an access token through the browser is none of them
    /// (BCP-2.1.2).
    pub const ALL: [Self; 2] = [Self::Code, Self::CodeIdToken];

    /// The value of `response_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::CodeIdToken => "code id_token",
        }
    }
}

/// The way the answer takes through the browser.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResponseMode {
    /// One signed parameter in the query (JARM §2.3.4: what `jwt` means for a code).
    Jwt,
    /// One signed parameter in a form (JARM §2.3.3).
    FormPostJwt,
    /// Parameters in the query.
    Query,
    /// Parameters in a form.
    FormPost,
    /// Parameters in the fragment, which only a page's script can read (OIDC-FRAG).
    Fragment,
}

impl ResponseMode {
    /// Every one there is.
    pub const ALL: [Self; 5] =
        [Self::Jwt, Self::FormPostJwt, Self::Query, Self::FormPost, Self::Fragment];

    /// The value of `response_mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::FormPostJwt => "form_post.jwt",
            Self::Query => "query",
            Self::FormPost => "form_post",
            Self::Fragment => "fragment",
        }
    }

    /// Whether the parameters come inside a signed token (JARM).
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Jwt | Self::FormPostJwt)
    }

    /// Whether the browser brings the answer by a cross-site POST.
    pub const fn is_posted(self) -> bool {
        matches!(self, Self::FormPost | Self::FormPostJwt)
    }
}

/// The shape of an authorization response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResponseForm {
    /// What is in it.
    pub response_type: ResponseType,
    /// How it comes.
    pub response_mode: ResponseMode,
}

impl ResponseForm {
    /// This type by this mode.
    pub const fn new(response_type: ResponseType, response_mode: ResponseMode) -> Self {
        Self { response_type, response_mode }
    }

    /// The `response_mode` to ask for; none where it is the response type's default (OAuth 2.0
    /// Multiple Response Types §2.1).
    pub const fn asked_mode(self) -> Option<&'static str> {
        match (self.response_type, self.response_mode) {
            (ResponseType::Code, ResponseMode::Query)
            | (ResponseType::CodeIdToken, ResponseMode::Fragment) => None,
            (_, mode) => Some(mode.name()),
        }
    }
}

/// Whether a plain response must name its issuer. One inside a signed token always must.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IssParameter {
    /// Always (FAPI2-SP-5.3.3.2-5).
    Required,
    /// If the server announces that it does (ISS-2.4-2). A front-channel ID token says it as well
    /// (ISS-2.4-4).
    IfAnnounced,
}

/// Whether authorization requests are pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Par {
    /// Always; a server without the endpoint is unusable (FAPI2-SP-5.3.3.2-2).
    Required,
    /// Whenever the server's metadata name the endpoint.
    WhenAdvertised,
}

/// What an access token is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SenderConstraint {
    /// The client certificate (RFC 8705 §3).
    Mtls,
    /// A `DPoP` key (RFC 9449).
    Dpop,
    /// Nothing: whoever has it can use it.
    None,
}

impl SenderConstraint {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Mtls, Self::Dpop, Self::None];

    /// The name in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mtls => "mtls",
            Self::Dpop => "dpop",
            Self::None => "none",
        }
    }
}

/// How the client proves its identity to the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientAuthMethod {
    /// A signed assertion (RFC 7523, RFC 10070).
    PrivateKeyJwt,
    /// A client certificate from a known authority (RFC 8705 §2.1).
    TlsClientAuth,
    /// A client certificate published by the client (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// A shared secret in the Authorization header.
    ClientSecretBasic,
    /// A shared secret in the form.
    ClientSecretPost,
}

impl ClientAuthMethod {
    /// Every one there is.
    pub const ALL: [Self; 5] = [
        Self::PrivateKeyJwt,
        Self::TlsClientAuth,
        Self::SelfSignedTlsClientAuth,
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
    ];

    /// The registered name, as in `token_endpoint_auth_methods_supported`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }

    /// Whether the client certificate is the proof.
    pub const fn is_mtls(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth)
    }

    /// Whether a shared secret is.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// One row of the profile table: everything a profile demands of this client. Where it leaves a
/// choice, the first of the list is the default.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a table of independent switches")]
pub struct Profile {
    /// Which row.
    pub name: ProfileName,
    /// The specification's name, for people.
    pub title: &'static str,
    /// The shapes an authorization response may have.
    pub responses: &'static [ResponseForm],
    /// Whether a plain response must name its issuer.
    pub iss_parameter: IssParameter,
    /// Whether requests are pushed.
    pub par: Par,
    /// Whether the request's parameters must stand inside a signed object.
    pub signed_request_object: bool,
    /// Whether a server must be known to support S256. We send it in every profile.
    pub pkce_required: bool,
    /// What access tokens may be bound to.
    pub sender_constraints: &'static [SenderConstraint],
    /// Signature algorithms, ours and the server's.
    pub jws_algs: &'static [JwsAlg],
    /// Those of them that the server may use without being pinned to one: RS256 is taken only from
    /// whom it was agreed with (ALG-MAT).
    pub unpinned_algs: &'static [JwsAlg],
    /// Whether the profile itself demands the ID token's signature. We verify it in every profile.
    pub id_token_signature_required: bool,
    /// Allowed client authentication methods.
    pub client_auth: &'static [ClientAuthMethod],
    /// Whether introspection answers must be signed.
    pub signed_introspection: bool,
    /// Whether endpoints may come from the metadata document only. We take them from nowhere else.
    pub endpoints_from_metadata_only: bool,
    /// Whether authorization responses may be encrypted.
    pub encrypted_responses: bool,
    /// Which clause stands behind which demand, by the field's name.
    pub clauses: &'static [(&'static str, &'static str)],
    /// The same for what an ecosystem narrowed, by the clause of its own document.
    pub narrowed: &'static [(&'static str, &'static str)],
}

impl Profile {
    /// The clause behind a demand, as error messages quote it; empty if it is nobody's demand.
    pub fn clause(&self, demand: &str) -> &'static str {
        let found = self.narrowed.iter().chain(self.clauses).find(|(name, _)| *name == demand);
        found.map_or("", |(_, clause)| clause)
    }
}

const FAPI2_ALGS: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519];
const FAPI1_ALGS: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256];
const FAPI_CLIENT_AUTH: &[ClientAuthMethod] = &[
    ClientAuthMethod::PrivateKeyJwt,
    ClientAuthMethod::TlsClientAuth,
    ClientAuthMethod::SelfSignedTlsClientAuth,
];

static FAPI2_MESSAGE_SIGNING: Profile = Profile {
    name: ProfileName::Fapi2MessageSigning,
    title: "FAPI 2.0 Message Signing",
    responses: &[
        ResponseForm::new(ResponseType::Code, ResponseMode::Jwt),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPostJwt),
    ],
    iss_parameter: IssParameter::Required,
    par: Par::Required,
    signed_request_object: true,
    pkce_required: true,
    sender_constraints: &[SenderConstraint::Mtls, SenderConstraint::Dpop],
    jws_algs: FAPI2_ALGS,
    unpinned_algs: FAPI2_ALGS,
    id_token_signature_required: true,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: true,
    endpoints_from_metadata_only: true,
    encrypted_responses: false,
    clauses: &[
        ("encrypted_responses", "FAPI2-MS-6.1"),
        ("responses", "FAPI2-MS-5.4.2-1"),
        ("iss_parameter", "FAPI2-SP-5.3.3.2-5"),
        ("par", "FAPI2-SP-5.3.3.2-2"),
        ("signed_request_object", "FAPI2-MS-5.3.2-1"),
        ("pkce_required", "FAPI2-SP-5.3.3.2-3"),
        ("sender_constraints", "FAPI2-SP-5.3.3.1-1"),
        ("jws_algs", "FAPI2-SP-5.4.1-1.2"),
        ("id_token_signature_required", "FAPI2-MS-5.6.2-1"),
        ("client_auth", "FAPI2-SP-5.3.3.1-2"),
        ("signed_introspection", "FAPI2-MS-5.5.2"),
        ("endpoints_from_metadata_only", "FAPI2-SP-5.3.3.1-9"),
    ],
    narrowed: &[],
};

static FAPI2_SECURITY: Profile = Profile {
    name: ProfileName::Fapi2Security,
    title: "FAPI 2.0 Security Profile",
    responses: &[
        ResponseForm::new(ResponseType::Code, ResponseMode::Query),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPost),
        ResponseForm::new(ResponseType::Code, ResponseMode::Jwt),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPostJwt),
    ],
    iss_parameter: IssParameter::Required,
    par: Par::Required,
    signed_request_object: false,
    pkce_required: true,
    sender_constraints: &[SenderConstraint::Mtls, SenderConstraint::Dpop],
    jws_algs: FAPI2_ALGS,
    unpinned_algs: FAPI2_ALGS,
    id_token_signature_required: false,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: false,
    endpoints_from_metadata_only: true,
    encrypted_responses: false,
    clauses: &[
        ("encrypted_responses", "FAPI2-MS-6.1"),
        ("responses", "FAPI2-SP-5.3.3.2-1"),
        ("iss_parameter", "FAPI2-SP-5.3.3.2-5"),
        ("par", "FAPI2-SP-5.3.3.2-2"),
        ("pkce_required", "FAPI2-SP-5.3.3.2-3"),
        ("sender_constraints", "FAPI2-SP-5.3.3.1-1"),
        ("jws_algs", "FAPI2-SP-5.4.1-1.2"),
        ("client_auth", "FAPI2-SP-5.3.3.1-2"),
        ("endpoints_from_metadata_only", "FAPI2-SP-5.3.3.1-9"),
    ],
    narrowed: &[],
};

static FAPI1_ADVANCED: Profile = Profile {
    name: ProfileName::Fapi1Advanced,
    title: "FAPI 1.0 Part 2 (Advanced)",
    responses: &[
        ResponseForm::new(ResponseType::Code, ResponseMode::Jwt),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPostJwt),
        ResponseForm::new(ResponseType::CodeIdToken, ResponseMode::Fragment),
        ResponseForm::new(ResponseType::CodeIdToken, ResponseMode::FormPost),
    ],
    iss_parameter: IssParameter::IfAnnounced,
    par: Par::WhenAdvertised,
    signed_request_object: true,
    pkce_required: false,
    sender_constraints: &[SenderConstraint::Mtls],
    jws_algs: FAPI1_ALGS,
    unpinned_algs: FAPI1_ALGS,
    id_token_signature_required: true,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: false,
    endpoints_from_metadata_only: true,
    encrypted_responses: true,
    clauses: &[
        ("responses", "FAPI1-ADV-5.2.2-2"),
        ("iss_parameter", "ISS-2.4-4"),
        ("signed_request_object", "FAPI1-ADV-5.2.3-8"),
        ("sender_constraints", "FAPI1-ADV-5.2.3-1"),
        ("jws_algs", "FAPI1-ADV-8.6"),
        ("id_token_signature_required", "FAPI1-ADV-5.2.3.1-1/2"),
        ("client_auth", "FAPI1-BASE-5.2.4-1"),
        ("endpoints_from_metadata_only", "FAPI1-BASE-5.2.3-11"),
    ],
    narrowed: &[],
};

static OIDC: Profile = Profile {
    name: ProfileName::Oidc,
    title: "OpenID Connect",
    responses: &[
        ResponseForm::new(ResponseType::Code, ResponseMode::Query),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPost),
        ResponseForm::new(ResponseType::Code, ResponseMode::Jwt),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPostJwt),
    ],
    iss_parameter: IssParameter::IfAnnounced,
    par: Par::WhenAdvertised,
    signed_request_object: false,
    pkce_required: false,
    sender_constraints: &[SenderConstraint::None, SenderConstraint::Mtls, SenderConstraint::Dpop],
    jws_algs: &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519, JwsAlg::Rs256],
    unpinned_algs: FAPI2_ALGS,
    id_token_signature_required: false,
    client_auth: &ClientAuthMethod::ALL,
    signed_introspection: false,
    endpoints_from_metadata_only: false,
    encrypted_responses: true,
    clauses: &[("responses", "BCP-2.1.2"), ("iss_parameter", "ISS-2.4-2"), ("jws_algs", "ALG-MAT")],
    narrowed: &[],
};

/// The table for people, one column a profile, as Markdown.
pub fn markdown_table() -> String {
    type Cell = fn(&Profile) -> String;
    fn list<T: Copy>(items: &[T], name: fn(T) -> &'static str) -> String {
        items.iter().map(|item| format!("`{}`", name(*item))).collect::<Vec<_>>().join(", ")
    }
    const ROWS: [(&str, &str, Cell); 12] = [
        ("authorization response", "responses", |profile| {
            let form = |form: &ResponseForm| {
                format!("`{}` by `{}`", form.response_type.name(), form.response_mode.name())
            };
            profile.responses.iter().map(form).collect::<Vec<_>>().join(", ")
        }),
        ("`iss` in a plain response", "iss_parameter", |profile| {
            let signed = profile.responses.iter().all(|form| form.response_mode.is_signed());
            match profile.iss_parameter {
                _ if signed => "inside the signature".to_owned(),
                IssParameter::Required => "demanded".to_owned(),
                IssParameter::IfAnnounced => "demanded if announced".to_owned(),
            }
        }),
        ("PAR", "par", |profile| match profile.par {
            Par::Required => "always".to_owned(),
            Par::WhenAdvertised => "if the AS has it".to_owned(),
        }),
        ("signed request object", "signed_request_object", |profile| {
            if profile.signed_request_object { "always" } else { "can be set" }.to_owned()
        }),
        ("PKCE S256", "pkce_required", |profile| {
            let demanded = if profile.pkce_required { ", demanded of the AS" } else { "" };
            format!("always{demanded}")
        }),
        ("`state`, `nonce`", "", |_| "always, each once".to_owned()),
        ("client authentication", "client_auth", |profile| {
            list(profile.client_auth, ClientAuthMethod::name)
        }),
        ("access tokens bound by", "sender_constraints", |profile| {
            list(profile.sender_constraints, SenderConstraint::name)
        }),
        ("signature algorithms", "jws_algs", |profile| list(profile.jws_algs, JwsAlg::name)),
        ("ID token signature", "id_token_signature_required", |_| "always verified".to_owned()),
        ("authorization response encrypted", "encrypted_responses", |profile| {
            if profile.encrypted_responses { "can be set" } else { "no" }.to_owned()
        }),
        ("introspection answers", "signed_introspection", |profile| {
            if profile.signed_introspection { "signed" } else { "plain or signed" }.to_owned()
        }),
    ];
    let profiles = ProfileName::ALL.map(ProfileName::profile);
    let mut table = String::from("| |");
    // Writing to a String cannot fail.
    for profile in profiles {
        let _ = write!(table, " `{}` |", profile.name);
    }
    table.push_str("\n|---|---|---|---|---|\n");
    for (title, demand, cell) in ROWS {
        let _ = write!(table, "| {title} |");
        for profile in profiles {
            let clause = profile.clause(demand);
            let cited = if clause.is_empty() { String::new() } else { format!(" ({clause})") };
            let _ = write!(table, " {}{cited} |", cell(profile));
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: Copy>(items: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
        items.iter().map(|item| name(*item)).collect()
    }

    /// ALG-MAT: the profile switch table of the requirements, written out a second time by hand.
    #[test]
    fn the_table_is_what_the_specifications_say() {
        use IssParameter::{IfAnnounced, Required};
        use ProfileName::{Fapi1Advanced, Fapi2MessageSigning, Fapi2Security, Oidc};
        let fapi2 = ["PS256", "ES256", "EdDSA", "Ed25519"].as_slice();
        let fapi1 = ["PS256", "ES256"].as_slice();
        let all = ["PS256", "ES256", "EdDSA", "Ed25519", "RS256"].as_slice();
        let keys = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"].as_slice();
        let secrets = [keys, &["client_secret_basic", "client_secret_post"]].concat();
        let signed = ["code jwt", "code form_post.jwt"].as_slice();
        let plain = ["code query", "code form_post", "code jwt", "code form_post.jwt"].as_slice();
        let hybrid = [signed, &["code id_token fragment", "code id_token form_post"]].concat();
        let bound = ["mtls", "dpop"].as_slice();
        let when = Par::WhenAdvertised;
        #[rustfmt::skip]
        let table = [
            // name, responses, iss, PAR, signed request, S256, bindings, algorithms, ID token, client auth, introspection, well-known, encryption
            (Oidc, plain, IfAnnounced, when, false, false, ["none", "mtls", "dpop"].as_slice(), all, false, secrets.as_slice(), false, false, true),
            (Fapi1Advanced, &hybrid, IfAnnounced, when, true, false, &["mtls"], fapi1, true, keys, false, true, true),
            (Fapi2Security, plain, Required, Par::Required, false, true, bound, fapi2, false, keys, false, true, false),
            (Fapi2MessageSigning, signed, Required, Par::Required, true, true, bound, fapi2, true, keys, true, true, false),
        ];
        for (
            name,
            responses,
            iss,
            par,
            request,
            s256,
            bindings,
            algs,
            id_token,
            auth,
            introspection,
            well_known,
            encrypted,
        ) in table
        {
            let profile = name.profile();
            assert_eq!(profile.name, name);
            let forms: Vec<_> = profile
                .responses
                .iter()
                .map(|form| format!("{} {}", form.response_type.name(), form.response_mode.name()))
                .collect();
            assert_eq!(forms, responses, "{name}");
            assert_eq!(profile.iss_parameter, iss, "{name}");
            assert_eq!(profile.par, par, "{name}");
            assert_eq!(profile.signed_request_object, request, "{name}");
            assert_eq!(profile.pkce_required, s256, "{name}");
            assert_eq!(names(profile.sender_constraints, SenderConstraint::name), bindings);
            assert_eq!(names(profile.jws_algs, JwsAlg::name), algs, "{name}");
            let mut unpinned = algs.to_vec();
            unpinned.retain(|alg| *alg != "RS256");
            assert_eq!(names(profile.unpinned_algs, JwsAlg::name), unpinned, "{name}");
            assert_eq!(profile.id_token_signature_required, id_token, "{name}");
            assert_eq!(names(profile.client_auth, ClientAuthMethod::name), auth, "{name}");
            assert_eq!(profile.signed_introspection, introspection, "{name}");
            assert_eq!(profile.endpoints_from_metadata_only, well_known, "{name}");
            assert_eq!(profile.encrypted_responses, encrypted, "{name}");
        }
    }

    /// FAPI2-SP-5.3.3.1-2.
    #[test]
    fn no_shared_secret_authenticates_under_a_fapi_profile() {
        for name in [
            ProfileName::Fapi2MessageSigning,
            ProfileName::Fapi2Security,
            ProfileName::Fapi1Advanced,
        ] {
            assert!(!name.profile().client_auth.iter().any(|method| method.is_secret()), "{name}");
            assert!(!name.profile().jws_algs.contains(&JwsAlg::Rs256), "{name}");
            assert!(!name.profile().sender_constraints.contains(&SenderConstraint::None), "{name}");
        }
    }

    /// FAPI1-ADV-5.2.2-2, OIDC-FRAG: a bare code is no answer under FAPI 1.0 Advanced, an ID token in
    /// the query is none anywhere.
    #[test]
    fn a_form_that_protects_nothing_is_in_no_list() {
        for form in ProfileName::Fapi1Advanced.profile().responses {
            assert!(
                form.response_mode.is_signed() || form.response_type == ResponseType::CodeIdToken
            );
        }
        for form in ProfileName::ALL.iter().flat_map(|name| name.profile().responses) {
            let by_query = form.response_mode == ResponseMode::Query;
            assert!(!by_query || form.response_type == ResponseType::Code);
        }
    }

    #[test]
    fn the_mode_is_asked_for_unless_it_is_the_default() {
        let asked = |response_type, response_mode| {
            ResponseForm::new(response_type, response_mode).asked_mode()
        };
        assert_eq!(asked(ResponseType::Code, ResponseMode::Query), None);
        assert_eq!(asked(ResponseType::CodeIdToken, ResponseMode::Fragment), None);
        assert_eq!(asked(ResponseType::Code, ResponseMode::Jwt), Some("jwt"));
        assert_eq!(asked(ResponseType::CodeIdToken, ResponseMode::FormPost), Some("form_post"));
        assert_eq!(asked(ResponseType::Code, ResponseMode::FormPostJwt), Some("form_post.jwt"));
    }

    #[test]
    fn names_read_and_print_the_same_everywhere() {
        for name in ProfileName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            assert_eq!(serde_json::from_value::<ProfileName>(name.as_str().into()).unwrap(), name);
        }
        for wrong in ["", "fapi2", "FAPI2-MESSAGE-SIGNING", "fapi2-message-signing ", "Oidc"] {
            assert_eq!(wrong.parse::<ProfileName>(), Err(UnknownProfile), "{wrong}");
        }
        assert_eq!(ProfileName::default(), ProfileName::Fapi2MessageSigning);
    }

    /// The README shows the table as it is.
    #[test]
    fn the_readme_has_this_table() {
        let readme = include_str!("../README.md");
        let table = markdown_table();
        assert!(readme.contains(&table), "put this into README.md:\n{table}");
    }
}
