//! Owns the profile table: what each security profile demands, as data that rules and `check` read.
//! Must not know: settings, tokens, how a demand is met.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::jose::JwsAlg;

/// A security profile, chosen per client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
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

/// What ties an authorization response to its issuer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseProtection {
    /// A signed response, always (FAPI2-MS-5.4.2-1/2).
    Jarm,
    /// The `iss` parameter, always (FAPI2-SP-5.3.3.2-5).
    IssParameter,
    /// A signed response, or `code id_token` where the server lacks it (FAPI1-ADV-5.2.2-2).
    JarmOrHybrid,
    /// The `iss` parameter if the server announces it (ISS-2.4-2).
    IssIfAnnounced,
}

/// Whether authorization requests are pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Par {
    /// Always; a server without the endpoint is unusable (FAPI2-SP-5.3.3.2-2).
    Required,
    /// Whenever the server's metadata names the endpoint.
    WhenAdvertised,
}

/// What an access token must be bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SenderConstraint {
    /// The client certificate or a `DPoP` key (FAPI2-SP-5.3.3.1-1).
    MtlsOrDpop,
    /// The client certificate (FAPI1-ADV-5.2.3-1).
    Mtls,
    /// Nothing, either or both.
    Optional,
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
}

/// One row of the profile table: everything a profile demands of this client.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a table of independent switches")]
pub struct Profile {
    /// Which row.
    pub name: ProfileName,
    /// The specification's name, for people.
    pub title: &'static str,
    /// What ties a response to its issuer.
    pub response: ResponseProtection,
    /// The `response_mode` asked for; none means the server's default for `code`.
    pub response_mode: Option<&'static str>,
    /// Whether requests are pushed.
    pub par: Par,
    /// Whether the request's parameters stand inside a signed object.
    pub signed_request_object: bool,
    /// Whether a server must be known to support S256. We send it in every profile.
    pub pkce_required: bool,
    /// What access tokens must be bound to.
    pub sender_constraint: SenderConstraint,
    /// Signature algorithms, ours and the server's.
    pub jws_algs: &'static [JwsAlg],
    /// Whether the profile itself demands the ID token's signature. We verify it in every profile.
    pub id_token_signature_required: bool,
    /// Allowed client authentication methods.
    pub client_auth: &'static [ClientAuthMethod],
    /// Whether introspection answers must be signed.
    pub signed_introspection: bool,
    /// Whether endpoints may come from the metadata document only.
    pub endpoints_from_metadata_only: bool,
    /// Whether this version implements the whole profile.
    pub supported: bool,
    /// Which clause stands behind which demand.
    pub clauses: &'static [(&'static str, &'static str)],
}

const FAPI2_ALGS: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519];
const FAPI_CLIENT_AUTH: &[ClientAuthMethod] = &[
    ClientAuthMethod::PrivateKeyJwt,
    ClientAuthMethod::TlsClientAuth,
    ClientAuthMethod::SelfSignedTlsClientAuth,
];

static FAPI2_MESSAGE_SIGNING: Profile = Profile {
    name: ProfileName::Fapi2MessageSigning,
    title: "FAPI 2.0 Message Signing",
    response: ResponseProtection::Jarm,
    response_mode: Some("jwt"),
    par: Par::Required,
    signed_request_object: true,
    pkce_required: true,
    sender_constraint: SenderConstraint::MtlsOrDpop,
    jws_algs: FAPI2_ALGS,
    id_token_signature_required: true,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: true,
    endpoints_from_metadata_only: true,
    supported: true,
    clauses: &[
        ("response", "FAPI2-MS-5.4.2-2"),
        ("response_mode", "FAPI2-MS-5.4.2-1"),
        ("par", "FAPI2-SP-5.3.3.2-2"),
        ("signed_request_object", "FAPI2-MS-5.3.2-1"),
        ("pkce_required", "FAPI2-SP-5.3.3.2-3"),
        ("sender_constraint", "FAPI2-SP-5.3.3.1-1"),
        ("jws_algs", "FAPI2-SP-5.4.1-1.2"),
        ("id_token_signature_required", "FAPI2-MS-5.6.2-1"),
        ("client_auth", "FAPI2-SP-5.3.3.1-2"),
        ("signed_introspection", "FAPI2-MS-5.5.2"),
        ("endpoints_from_metadata_only", "FAPI2-SP-5.3.3.1-9"),
    ],
};

static FAPI2_SECURITY: Profile = Profile {
    name: ProfileName::Fapi2Security,
    title: "FAPI 2.0 Security Profile",
    response: ResponseProtection::IssParameter,
    response_mode: None,
    par: Par::Required,
    signed_request_object: false,
    pkce_required: true,
    sender_constraint: SenderConstraint::MtlsOrDpop,
    jws_algs: FAPI2_ALGS,
    id_token_signature_required: false,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: false,
    endpoints_from_metadata_only: true,
    supported: false,
    clauses: &[
        ("response", "FAPI2-SP-5.3.3.2-5"),
        ("par", "FAPI2-SP-5.3.3.2-2"),
        ("pkce_required", "FAPI2-SP-5.3.3.2-3"),
        ("sender_constraint", "FAPI2-SP-5.3.3.1-1"),
        ("jws_algs", "FAPI2-SP-5.4.1-1.2"),
        ("client_auth", "FAPI2-SP-5.3.3.1-2"),
        ("endpoints_from_metadata_only", "FAPI2-SP-5.3.3.1-9"),
    ],
};

static FAPI1_ADVANCED: Profile = Profile {
    name: ProfileName::Fapi1Advanced,
    title: "FAPI 1.0 Part 2 (Advanced)",
    response: ResponseProtection::JarmOrHybrid,
    response_mode: Some("jwt"),
    par: Par::WhenAdvertised,
    signed_request_object: true,
    pkce_required: false,
    sender_constraint: SenderConstraint::Mtls,
    jws_algs: &[JwsAlg::Ps256, JwsAlg::Es256],
    id_token_signature_required: true,
    client_auth: FAPI_CLIENT_AUTH,
    signed_introspection: false,
    endpoints_from_metadata_only: true,
    supported: false,
    clauses: &[
        ("response", "FAPI1-ADV-5.2.2-2"),
        ("response_mode", "FAPI1-ADV-5.2.3.2-1"),
        ("signed_request_object", "FAPI1-ADV-5.2.3-8"),
        ("sender_constraint", "FAPI1-ADV-5.2.3-1"),
        ("jws_algs", "FAPI1-ADV-8.6"),
        ("id_token_signature_required", "FAPI1-ADV-5.2.3.1-1/2"),
        ("client_auth", "FAPI1-BASE-5.2.4-1"),
        ("endpoints_from_metadata_only", "FAPI1-BASE-5.2.3-11"),
    ],
};

static OIDC: Profile = Profile {
    name: ProfileName::Oidc,
    title: "OpenID Connect",
    response: ResponseProtection::IssIfAnnounced,
    response_mode: None,
    par: Par::WhenAdvertised,
    signed_request_object: false,
    pkce_required: false,
    sender_constraint: SenderConstraint::Optional,
    jws_algs: &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519, JwsAlg::Rs256],
    id_token_signature_required: false,
    client_auth: &[
        ClientAuthMethod::PrivateKeyJwt,
        ClientAuthMethod::TlsClientAuth,
        ClientAuthMethod::SelfSignedTlsClientAuth,
        ClientAuthMethod::ClientSecretBasic,
        ClientAuthMethod::ClientSecretPost,
    ],
    signed_introspection: false,
    endpoints_from_metadata_only: false,
    supported: false,
    clauses: &[("response", "ISS-2.4-2"), ("jws_algs", "ALG-MAT")],
};

#[cfg(test)]
mod tests {
    use super::*;

    /// ALG-MAT: the profile switch table of the requirements, written out a second time by hand.
    #[test]
    fn the_table_is_what_the_specifications_say() {
        use ProfileName::{Fapi1Advanced, Fapi2MessageSigning, Fapi2Security, Oidc};
        use ResponseProtection::{IssIfAnnounced, IssParameter, Jarm, JarmOrHybrid};
        let fapi2 = ["PS256", "ES256", "EdDSA", "Ed25519"].as_slice();
        let fapi1 = ["PS256", "ES256"].as_slice();
        let oidc = ["PS256", "ES256", "EdDSA", "Ed25519", "RS256"].as_slice();
        let certificates =
            ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"].as_slice();
        #[rustfmt::skip]
        let table = [
            // name, response, mode, PAR, signed request, S256, binding, algorithms, ID token, client auth, introspection, well-known
            (Oidc, IssIfAnnounced, None, Par::WhenAdvertised, false, false, SenderConstraint::Optional, oidc, false, None, false, false),
            (Fapi1Advanced, JarmOrHybrid, Some("jwt"), Par::WhenAdvertised, true, false, SenderConstraint::Mtls, fapi1, true, Some(certificates), false, true),
            (Fapi2Security, IssParameter, None, Par::Required, false, true, SenderConstraint::MtlsOrDpop, fapi2, false, Some(certificates), false, true),
            (Fapi2MessageSigning, Jarm, Some("jwt"), Par::Required, true, true, SenderConstraint::MtlsOrDpop, fapi2, true, Some(certificates), true, true),
        ];
        for (
            name,
            response,
            mode,
            par,
            signed,
            s256,
            binding,
            algs,
            id_token,
            auth,
            introspection,
            well_known,
        ) in table
        {
            let profile = name.profile();
            assert_eq!(profile.name, name);
            assert_eq!(profile.response, response, "{name}");
            assert_eq!(profile.response_mode, mode, "{name}");
            assert_eq!(profile.par, par, "{name}");
            assert_eq!(profile.signed_request_object, signed, "{name}");
            assert_eq!(profile.pkce_required, s256, "{name}");
            assert_eq!(profile.sender_constraint, binding, "{name}");
            assert_eq!(
                profile.jws_algs.iter().map(|alg| alg.name()).collect::<Vec<_>>(),
                algs,
                "{name}"
            );
            assert_eq!(profile.id_token_signature_required, id_token, "{name}");
            let methods: Vec<_> = profile.client_auth.iter().map(|method| method.name()).collect();
            if let Some(auth) = auth {
                assert_eq!(methods, auth, "{name}");
            }
            assert_eq!(profile.signed_introspection, introspection, "{name}");
            assert_eq!(profile.endpoints_from_metadata_only, well_known, "{name}");
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
            assert!(
                name.profile().client_auth.iter().all(|method| !method.name().contains("secret")),
                "{name}"
            );
            assert!(!name.profile().jws_algs.contains(&JwsAlg::Rs256), "{name}");
        }
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

    #[test]
    fn only_message_signing_is_complete() {
        let supported: Vec<_> =
            ProfileName::ALL.into_iter().filter(|name| name.profile().supported).collect();
        assert_eq!(supported, [ProfileName::Fapi2MessageSigning]);
    }
}
