//! Owns the settings of authorization servers and of our registrations at them.
//! Must not know: the process, apps.

use super::{
    cross::{self, ClientFacts, Facts, ProviderFacts},
    files,
    reader::{Section, Setting},
    settings::{Client, Discovery, PemFile, ProfileName, Provider},
    values::{
        choice, claim_seconds, duration, filled_list, host_allowed, hours, list, minutes, networks,
        plain_url, seconds, token,
    },
};
use crate::net::Network;

const PROFILES: [ProfileName; 4] = [
    ProfileName::Fapi2MessageSigning,
    ProfileName::Fapi2Security,
    ProfileName::Fapi1Advanced,
    ProfileName::Oidc,
];

/// Signature algorithms a FAPI 2.0 deployment may pin (FAPI2-SP-5.4.1-1.2).
const ALGS: [(&str, &str); 4] =
    [("PS256", "PS256"), ("ES256", "ES256"), ("EdDSA", "EdDSA"), ("Ed25519", "Ed25519")];

pub(super) fn provider(
    name: &str,
    mut section: Section<'_>,
    facts: &mut Facts,
) -> Option<Provider> {
    let s = &mut section;
    let allowed = s.or("networks", vec![Network::Public], networks);
    let remedy = "write the issuer identifier exactly as the authorization server's metadata has it, such as \"https://as.example.com\"";
    let issuer = s.required("issuer", remedy, |setting| {
        let (issuer, url) = plain_url(setting, remedy)?;
        if url.scheme() != "https" || !issuer.starts_with("https://") {
            return setting.wrong("is not an https URL (FAPI2-SP-5.2.1-1)", remedy);
        }
        host_allowed(setting, &url, &allowed)?;
        Some(issuer)
    });
    facts.providers.insert(
        name.to_owned(),
        ProviderFacts { issuer: issuer.clone(), place: s.place_of("issuer") },
    );
    let (trust_roots, system_roots) = trust(s);
    let discoveries = [("openid", Discovery::OpenId), ("oauth", Discovery::OAuth)];
    let provider = issuer.map(|issuer| Provider {
        issuer,
        discovery: s.or("discovery", Discovery::OpenId, |s| choice(s, &discoveries)),
        trust_roots,
        system_roots,
        networks: allowed,
        connect_timeout: s
            .or("connect_timeout", seconds(3), |s| duration(s, seconds(1)..=seconds(30))),
        request_timeout: s
            .or("request_timeout", seconds(10), |s| duration(s, seconds(1)..=minutes(1))),
        metadata_max_age: s
            .or("metadata_max_age", hours(1), |s| duration(s, minutes(1)..=hours(24))),
        jwks_max_age: s.or("jwks_max_age", minutes(5), |s| duration(s, seconds(30)..=hours(1))),
        jwks_cooldown: s
            .or("jwks_cooldown", seconds(10), |s| duration(s, seconds(5)..=seconds(300))),
    });
    section.finish();
    provider
}

/// `trust_roots` and `system_roots`: own roots replace the system's unless both are asked for.
pub(super) fn trust(s: &mut Section<'_>) -> (Vec<PemFile>, bool) {
    let roots = s.or("trust_roots", Vec::new(), |setting| {
        let files: Vec<_> = setting.items()?.iter().map(files::certificates).collect();
        files.into_iter().collect()
    });
    let system = s.flag("system_roots", !s.has("trust_roots"));
    if !system && !s.has("trust_roots") {
        let remedy = "name certificate authorities in trust_roots, or remove system_roots";
        s.place_of("system_roots").report(
            s.report,
            "leaves no certificate authority to trust",
            remedy,
        );
    }
    (roots, system)
}

pub(super) fn client(name: &str, mut section: Section<'_>, facts: &mut Facts) -> Option<Client> {
    let s = &mut section;
    let provider = cross::reference(s, "provider", facts.providers.keys());
    let profile = s.or("profile", ProfileName::Fapi2MessageSigning, profile);
    let client_id = s.required(
        "client_id",
        "write the client_id the authorization server registered",
        Setting::text,
    );
    let scopes = s.required(
        "scopes",
        "list the scopes to ask for, such as [\"openid\", \"accounts\"]",
        |s| filled_list(s, token),
    );
    if profile == ProfileName::Oidc
        && scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|scope| scope == "openid"))
    {
        let message = "lacks `openid`, without which there is no ID token (OIDC-3.1.2.1)";
        s.place_of("scopes").report(s.report, message, "add \"openid\"");
    }
    let make = "name the private key's file; make one with `fapi-bff keys generate --alg ES256 --out FILE`";
    let client_assertion_key = s.required("client_assertion_key", make, files::key_file);
    let request_object_key = if profile == ProfileName::Fapi2MessageSigning {
        // Signed request objects are what the profile is about (FAPI2-MS-5.3.2-1).
        s.required("request_object_key", make, files::key_file)
    } else {
        s.optional("request_object_key", files::key_file)
    };
    let tls_remedy = "set { certificate = \"…\", private_key = \"…\" }; for a self-signed pair use `fapi-bff keys tls`";
    let tls_identity = s.required("tls_identity", tls_remedy, files::tls_files);
    let pin = |setting: &Setting<'_>| choice(setting, &ALGS).map(str::to_owned);
    let use_mtls_endpoint_aliases = s.flag("use_mtls_endpoint_aliases", false);
    let id_token_signed_response_alg = s.optional("id_token_signed_response_alg", pin);
    let authorization_signed_response_alg = s.optional("authorization_signed_response_alg", pin);
    let client_assertion_typ = s.flag("client_assertion_typ", true);
    let future_tolerance = s.or("future_tolerance", 30, |s| claim_seconds(s, 10..=60));
    let exp_leeway = s.or("exp_leeway", 10, |s| claim_seconds(s, 0..=60));
    let request_object_lifetime =
        s.or("request_object_lifetime", 60, |s| claim_seconds(s, 10..=300));
    section.finish();
    facts.clients.insert(name.to_owned(), ClientFacts { provider: provider.clone() });
    Some(Client {
        provider: provider?,
        profile,
        client_id: client_id?,
        scopes: scopes?,
        client_assertion_key: client_assertion_key?,
        request_object_key,
        tls_identity: tls_identity?,
        use_mtls_endpoint_aliases,
        id_token_signed_response_alg,
        authorization_signed_response_alg,
        client_assertion_typ,
        future_tolerance,
        exp_leeway,
        request_object_lifetime,
    })
}

fn profile(setting: &Setting<'_>) -> Option<ProfileName> {
    let profile = choice(setting, &PROFILES.map(|profile| (profile.as_str(), profile)))?;
    if profile != ProfileName::Fapi2MessageSigning {
        setting.wrong::<()>(
            "this release completes only the fapi2-message-signing profile",
            "remove the line, and register the client for FAPI 2.0 Message Signing",
        );
    }
    Some(profile)
}

/// ID-token claims for the browser: `list` of names that show no token's inside.
pub(super) fn claims(setting: &Setting<'_>) -> Option<Vec<String>> {
    const INTERNAL: [&str; 9] = [
        "access_token",
        "at_hash",
        "c_hash",
        "cnf",
        "code",
        "id_token",
        "nonce",
        "refresh_token",
        "s_hash",
    ];
    let names = list(setting, |item| {
        let name = token(item)?;
        if INTERNAL.contains(&name.as_str()) {
            return item.wrong(
                format!("`{name}` belongs to the protocol and is not shown to the browser"),
                "remove it",
            );
        }
        Some(name)
    })?;
    if names.is_empty() {
        return setting
            .wrong("is empty", "list at least one claim, such as \"sub\", or remove the line");
    }
    Some(names)
}
