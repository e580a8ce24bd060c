//! Owns the settings of authorization servers and of our registrations at them.
//! Must not know: the process, apps.

use super::{
    cross::{self, ClientFacts, Facts, ProviderFacts},
    files,
    reader::{Section, Setting},
    settings::{Client, ClientAuthentication, Discovery, Encryption, KeyFile, PemFile, Provider},
    values::{
        choice, claim_seconds, duration, filled_list, host_allowed, hours, list, minutes, networks,
        plain_url, seconds, token,
    },
};
use crate::{
    ecosystem::{Ecosystem, EcosystemName},
    jose::{JweAlg, JweEnc, JwePolicy, JwsAlg},
    net::Network,
    profile::{
        ClientAuthMethod, Profile, ProfileName, ResponseForm, ResponseMode, ResponseType,
        SenderConstraint,
    },
};

const MAKE_KEY: &str =
    "name the private key's file; make one with `fapi-bff keys generate --alg ES256 --out FILE`";
const UNSIGNED_RESPONSE: &str = "the authorization response is no signed token";
const SIGN_RESPONSE: &str =
    "set response_mode = \"jwt\" or \"form_post.jwt\" with response_type = \"code\", or remove it";
/// Against shared secrets.
const FAPI2_SECRETS: &str = "FAPI2-SP-5.3.3.1-2";

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

#[expect(clippy::too_many_lines, reason = "a list of all settings is best read as one")]
pub(super) fn client(name: &str, mut section: Section<'_>, facts: &mut Facts) -> Option<Client> {
    let s = &mut section;
    let provider = cross::reference(s, "provider", facts.providers.keys());
    let profiles = ProfileName::ALL.map(|profile| (profile.as_str(), profile));
    let profile = s.or("profile", ProfileName::default(), |s| choice(s, &profiles)).profile();
    let (ecosystem, profile) = ecosystem(s, profile);
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
    let response = response(s, profile);
    if scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|scope| scope == "openid")) {
        without_openid(s, profile, response);
    }
    let method = within(
        s,
        "token_endpoint_auth_method",
        profile,
        ("client_auth", profile.client_auth),
        &ClientAuthMethod::ALL.map(|method| (method.name(), method)),
    )
    .unwrap_or(ClientAuthMethod::PrivateKeyJwt);
    let authentication = authentication(s, method, profile);
    let sender_constraint = within(
        s,
        "sender_constraint",
        profile,
        ("sender_constraints", profile.sender_constraints),
        &SenderConstraint::ALL.map(|constraint| (constraint.name(), constraint)),
    )
    .unwrap_or(SenderConstraint::Mtls);
    let dpop_key = match sender_constraint {
        SenderConstraint::Dpop => s.optional("dpop_key", |s| signing_key(s, profile)),
        _ => unused(s, "dpop_key", "no token is bound to it", "set sender_constraint = \"dpop\""),
    };
    let request_object_key = request_object_key(s, profile);
    let tls_remedy = "set { certificate = \"…\", private_key = \"…\" }; for a self-signed pair use `fapi-bff keys tls`";
    let tls_identity = if method.is_mtls() || sender_constraint == SenderConstraint::Mtls {
        s.required("tls_identity", tls_remedy, files::tls_files)
    } else {
        s.optional("tls_identity", files::tls_files)
    };
    let use_mtls_endpoint_aliases = aliases(s, ecosystem);
    let mut pin = |key| s.optional(key, |setting| alg(setting, profile));
    let id_token_signed_response_alg = pin("id_token_signed_response_alg");
    let userinfo_signed_response_alg = pin("userinfo_signed_response_alg");
    let signed = response.response_mode.is_signed();
    let authorization_signed_response_alg = if signed {
        pin("authorization_signed_response_alg")
    } else {
        unused(s, "authorization_signed_response_alg", UNSIGNED_RESPONSE, SIGN_RESPONSE)
    };
    let encryption =
        encryption(s, profile, ecosystem, signed, userinfo_signed_response_alg.is_some());
    let client_assertion_typ = s.flag("client_assertion_typ", true);
    let logout_token_typ_required = s.flag("logout_token_typ_required", true);
    let future_tolerance = s.or("future_tolerance", 30, |s| claim_seconds(s, 10..=60));
    let exp_leeway = s.or("exp_leeway", 10, |s| claim_seconds(s, 0..=60));
    let request_object_lifetime =
        s.or("request_object_lifetime", 60, |s| claim_seconds(s, 10..=300));
    let has_certificate = s.has("tls_identity");
    section.finish();
    facts.clients.insert(
        name.to_owned(),
        ClientFacts {
            provider: provider.clone(),
            has_certificate,
            ecosystem,
            scopes: scopes.clone().unwrap_or_default(),
            profile,
            sender_constraint,
        },
    );
    Some(Client {
        provider: provider?,
        profile: profile.name,
        ecosystem: ecosystem.map(|ecosystem| ecosystem.name),
        client_id: client_id?,
        scopes: scopes?,
        authentication: authentication?,
        sender_constraint,
        dpop_key,
        response,
        request_object_key,
        tls_identity,
        use_mtls_endpoint_aliases,
        id_token_signed_response_alg,
        authorization_signed_response_alg,
        userinfo_signed_response_alg,
        encryption,
        client_assertion_typ,
        logout_token_typ_required,
        future_tolerance,
        exp_leeway,
        request_object_lifetime,
    })
}

/// Notes what takes an ID token, of a client that asks for none.
fn without_openid(s: &Section<'_>, profile: &Profile, response: ResponseForm) {
    let lacks = |message| s.place_of("scopes").report(s.report, message, "add \"openid\"");
    if profile.name == ProfileName::Oidc {
        lacks("lacks `openid`, without which there is no ID token (OIDC-3.1.2.1)");
    }
    if response.response_type == ResponseType::CodeIdToken {
        lacks("lacks `openid`, without which no ID token signs the code (FAPI1-ADV-5.2.3.1-1/2)");
    }
}

/// The ecosystem, and the profile as it leaves it.
fn ecosystem(
    s: &mut Section<'_>,
    profile: &'static Profile,
) -> (Option<&'static Ecosystem>, &'static Profile) {
    let names = EcosystemName::ALL.map(|name| (name.as_str(), name));
    let Some(name) = s.optional("ecosystem", |s| choice(s, &names)) else { return (None, profile) };
    let ecosystem = name.ecosystem();
    if let Some(narrowed) = ecosystem.narrow(profile.name, s.has("request_object_encryption_alg")) {
        return (Some(ecosystem), narrowed);
    }
    let profiles: Vec<_> = ecosystem.profiles().map(|name| format!("\"{name}\"")).collect();
    let message = format!("does not go with {} ({})", profile.name, ecosystem.clause("profiles"));
    let remedy = format!("set profile = {}", profiles.join(" or "));
    s.place_of("ecosystem").report(s.report, message, remedy);
    (Some(ecosystem), profile)
}

/// Whether every endpoint is called at its alias.
fn aliases(s: &mut Section<'_>, ecosystem: Option<&Ecosystem>) -> bool {
    const KEY: &str = "use_mtls_endpoint_aliases";
    let demand = ecosystem.filter(|ecosystem| ecosystem.mtls_endpoint_aliases);
    let used = s.flag(KEY, demand.is_some());
    if let Some(ecosystem) = demand.filter(|_| !used) {
        let message = not_under(ecosystem, "mtls_endpoint_aliases");
        s.place_of(KEY).report(s.report, message, "remove it");
    }
    used
}

fn not_under(ecosystem: &Ecosystem, demand: &str) -> String {
    format!("is not allowed under {} ({})", ecosystem.name, ecosystem.clause(demand))
}

/// One of the choices that the profile leaves, the first of which goes without saying. What it does
/// not leave is refused with the clause that stands against it. `None` only for an empty choice.
fn within<T: Copy + PartialEq>(
    s: &mut Section<'_>,
    key: &'static str,
    profile: &Profile,
    (demand, allowed): (&str, &[T]),
    all: &[(&str, T)],
) -> Option<T> {
    let chosen = s.optional(key, |setting| {
        let chosen = choice(setting, all)?;
        if allowed.contains(&chosen) {
            return Some(chosen);
        }
        let named = all.iter().filter(|(_, value)| allowed.contains(value));
        let words: Vec<_> = named.map(|(word, _)| format!("\"{word}\"")).collect();
        setting.wrong(forbidden(profile, demand), format!("write {}", words.join(" or ")))
    });
    chosen.or(allowed.first().copied())
}

fn forbidden(profile: &Profile, demand: &str) -> String {
    match profile.clause(demand) {
        "" => format!("is not allowed under {}", profile.name),
        clause => format!("is not allowed under {} ({clause})", profile.name),
    }
}

fn response(s: &mut Section<'_>, profile: &Profile) -> ResponseForm {
    let types = ResponseType::ALL.map(|kind| (kind.name(), kind));
    let modes = ResponseMode::ALL.map(|mode| (mode.name(), mode));
    let response_type = s.optional("response_type", |s| choice(s, &types));
    let response_mode = s.optional("response_mode", |s| choice(s, &modes));
    let fits = |form: &&ResponseForm| {
        response_type.is_none_or(|wanted| wanted == form.response_type)
            && response_mode.is_none_or(|wanted| wanted == form.response_mode)
    };
    let found = profile.responses.iter().find(fits).copied();
    if found.is_none() {
        let key = if response_mode.is_some() { "response_mode" } else { "response_type" };
        let pairs: Vec<_> = profile
            .responses
            .iter()
            .map(|form| {
                format!("`{}` by `{}`", form.response_type.name(), form.response_mode.name())
            })
            .collect();
        s.place_of(key).report(
            s.report,
            forbidden(profile, "responses"),
            format!("{} leaves {}", profile.name, pairs.join(", ")),
        );
    }
    found.or(profile.responses.first().copied()).unwrap_or(ResponseForm {
        response_type: ResponseType::Code,
        response_mode: ResponseMode::Jwt,
    })
}

/// What the method takes, and nothing another method would.
fn authentication(
    s: &mut Section<'_>,
    method: ClientAuthMethod,
    profile: &Profile,
) -> Option<ClientAuthentication> {
    let key = if method == ClientAuthMethod::PrivateKeyJwt {
        s.required("client_assertion_key", MAKE_KEY, |s| signing_key(s, profile))
    } else {
        let why = format!("nothing is signed with it under {}", method.name());
        unused(s, "client_assertion_key", &why, "remove it")
    };
    let secret = if method.is_secret() {
        let remedy = "name a file that holds the secret the authorization server issued";
        s.required("client_secret_file", remedy, files::client_secret)
    } else {
        let allowed = profile.client_auth.iter().any(|method| method.is_secret());
        let (clause, remedy) = if allowed {
            (
                String::new(),
                "set token_endpoint_auth_method = \"client_secret_basic\", or remove it",
            )
        } else {
            (format!(" ({FAPI2_SECRETS})"), "remove it")
        };
        let why = format!("no secret is used under {}{clause}", method.name());
        unused(s, "client_secret_file", &why, remedy)
    };
    Some(match method {
        ClientAuthMethod::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt(key?),
        ClientAuthMethod::TlsClientAuth => ClientAuthentication::TlsClientAuth,
        ClientAuthMethod::SelfSignedTlsClientAuth => ClientAuthentication::SelfSignedTlsClientAuth,
        ClientAuthMethod::ClientSecretBasic => ClientAuthentication::ClientSecretBasic(secret?),
        ClientAuthMethod::ClientSecretPost => ClientAuthentication::ClientSecretPost(secret?),
    })
}

/// The key of request objects where they are signed. That one is missing is noted.
fn request_object_key(s: &mut Section<'_>, profile: &Profile) -> Option<KeyFile> {
    let signed = s.flag("signed_request_object", profile.signed_request_object);
    if profile.signed_request_object && !signed {
        let message = forbidden(profile, "signed_request_object");
        s.place_of("signed_request_object").report(s.report, message, "remove it");
    }
    if signed || profile.signed_request_object {
        return s.required("request_object_key", MAKE_KEY, |s| signing_key(s, profile));
    }
    let remedy = "set signed_request_object = true, or remove the key";
    unused(s, "request_object_key", "requests are not signed", remedy)
}

/// What comes encrypted. Keys nobody encrypts to, and answers nobody can open, are noted.
fn encryption(
    s: &mut Section<'_>,
    profile: &Profile,
    ecosystem: Option<&Ecosystem>,
    authorization_signed: bool,
    userinfo_signed: bool,
) -> Encryption {
    let only = ecosystem.filter(|ecosystem| ecosystem.encryption.is_some());
    let encrypted = |s: &mut _, alg, enc| encrypted(s, alg, enc, only);
    let id_token =
        encrypted(s, "id_token_encrypted_response_alg", "id_token_encrypted_response_enc");
    let authorization = encrypted(
        s,
        "authorization_encrypted_response_alg",
        "authorization_encrypted_response_enc",
    );
    if authorization.is_some() && !profile.encrypted_responses {
        let message = forbidden(profile, "encrypted_responses");
        s.place_of("authorization_encrypted_response_alg").report(s.report, message, "remove it");
    } else if authorization.is_some() && !authorization_signed {
        // Encryption goes around a signed response (JARM §2.2).
        let message = format!("is not used: {UNSIGNED_RESPONSE}");
        let place = s.place_of("authorization_encrypted_response_alg");
        place.report(s.report, message, SIGN_RESPONSE);
    }
    let userinfo =
        encrypted(s, "userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc");
    if userinfo.is_some() && !userinfo_signed {
        let message = "encrypts what nobody has signed (OIDC-5.3.2-sig)";
        let remedy = "set userinfo_signed_response_alg as well";
        s.place_of("userinfo_encrypted_response_alg").report(s.report, message, remedy);
    }
    let request_object =
        encrypted(s, "request_object_encryption_alg", "request_object_encryption_enc");
    if request_object.is_some() && !s.has("request_object_key") {
        let message = "encrypts request objects, and none are made";
        let remedy = "set signed_request_object = true and request_object_key";
        s.place_of("request_object_encryption_alg").report(s.report, message, remedy);
    }
    let opens = [id_token, authorization, userinfo].iter().any(Option::is_some);
    let decryption_keys = if opens {
        let remedy = "list files with private keys, the active one first; make one with `fapi-bff keys generate --use enc --alg ECDH-ES --out keys/decryption.jwk`";
        let keys = |setting: &Setting<'_>| {
            let keys: Option<Vec<_>> = setting.items()?.iter().map(files::decryption_key).collect();
            keys.filter(|keys| !keys.is_empty()).or_else(|| setting.wrong("is empty", remedy))
        };
        s.required("decryption_keys", remedy, keys).unwrap_or_default()
    } else {
        let remedy = "set id_token_encrypted_response_alg or its like, or remove the keys";
        unused::<()>(s, "decryption_keys", "nothing comes encrypted", remedy);
        Vec::new()
    };
    Encryption { decryption_keys, id_token, authorization, userinfo, request_object }
}

/// A pair of `alg` and `enc`; the second has a default (OpenID Connect Registration §2). Where `only`
/// has a pair of its own there is no other.
fn encrypted(
    s: &mut Section<'_>,
    alg: &'static str,
    enc: &'static str,
    only: Option<&Ecosystem>,
) -> Option<JwePolicy> {
    let algs = JweAlg::ALL.map(|alg| (alg.name(), alg));
    let encs = JweEnc::ALL.map(|enc| (enc.name(), enc));
    let Some(chosen) = s.optional(alg, |s| choice(s, &algs)) else {
        let remedy = format!("set {alg}, or remove it");
        unused::<()>(s, enc, "nothing is encrypted", &remedy);
        return None;
    };
    let pair = only.and_then(|ecosystem| ecosystem.encryption);
    let usual = pair.map_or(JweEnc::A128CbcHs256, |pair| pair.enc);
    let policy = JwePolicy { alg: chosen, enc: s.or(enc, usual, |s| choice(s, &encs)) };
    if let Some((ecosystem, pair)) = only.zip(pair) {
        let wrong = [
            (alg, policy.alg != pair.alg, pair.alg.name()),
            (enc, policy.enc != pair.enc, pair.enc.name()),
        ];
        for (key, _, name) in wrong.into_iter().filter(|(_, wrong, _)| *wrong) {
            let message = not_under(ecosystem, "encryption");
            s.place_of(key).report(s.report, message, format!("write \"{name}\""));
        }
    }
    Some(policy)
}

/// A setting that would change nothing: whoever wrote it expects otherwise.
fn unused<T>(s: &mut Section<'_>, key: &'static str, why: &str, remedy: &str) -> Option<T> {
    s.optional(key, |setting| setting.wrong(format!("is not used: {why}"), remedy))
}

fn signing_key(setting: &Setting<'_>, profile: &Profile) -> Option<KeyFile> {
    let key = files::key_file(setting)?;
    match key.alg.filter(|alg| !profile.jws_algs.contains(alg)) {
        None => Some(key),
        Some(alg) => {
            let message = format!("{} {}", alg.name(), forbidden(profile, "jws_algs"));
            setting.wrong(message, format!("use {}", alg_names(profile)))
        }
    }
}

fn alg(setting: &Setting<'_>, profile: &Profile) -> Option<JwsAlg> {
    let alg = choice(setting, &JwsAlg::ALL.map(|alg| (alg.name(), alg)))?;
    if profile.jws_algs.contains(&alg) {
        return Some(alg);
    }
    setting.wrong(forbidden(profile, "jws_algs"), format!("write {}", alg_names(profile)))
}

fn alg_names(profile: &Profile) -> String {
    let names: Vec<_> = profile.jws_algs.iter().map(|alg| format!("\"{}\"", alg.name())).collect();
    names.join(" or ")
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
