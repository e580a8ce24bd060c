//! Owns the ecosystem table: what a national scheme demands of its clients beyond a security profile, as
//! data with its sources. A preset narrows a profile or adds to it, never the reverse.
//! Must not know: settings, tokens, how a demand is met.
//!
//! Nothing stands here that was not read in one of the documents of [`Ecosystem::sources`]. Left out for
//! that reason:
//! * UK: PS256 alone. The documents constrain OAuth's signatures as FAPI does, to PS256 and ES256; PS256
//!   is demanded of signed payloads (`x-jws-signature`), which are the page's and the API's. The
//!   preference for `code id_token` over `code` is one for banks, not for clients.
//! * Brazil: whether the scheme's move to FAPI 2.0 changes any of this; that ID tokens must be encrypted
//!   (a bank must if they hold personal data, and a client then registers for it); client authentication
//!   narrower than FAPI's; that refresh tokens must not be rotated, which is a bank's doing; headers
//!   other than FAPI's.
//! * Australia: `sharing_duration` and `cdr_arrangement_id`, which differ from login to login and have no
//!   server-side source here; `x-v` and `x-min-v`, which are the page's to say; anything under FAPI 2.0.

use std::{fmt, fmt::Write as _, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    jose::{JweAlg, JweEnc, JwePolicy, JwsAlg},
    profile::{
        ClientAuthMethod, Par, Profile, ProfileName, ResponseForm, ResponseMode, ResponseType,
    },
};

/// An ecosystem, chosen per client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum EcosystemName {
    /// Open Banking in the United Kingdom.
    #[serde(rename = "openbanking-uk")]
    OpenBankingUk,
    /// Open Finance in Brazil.
    #[serde(rename = "openbanking-brazil")]
    OpenBankingBrazil,
    /// The Consumer Data Right in Australia.
    #[serde(rename = "consumerdataright-au")]
    ConsumerDataRightAu,
}

/// A name that is none of the ecosystems'.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown ecosystem: use openbanking-uk, openbanking-brazil or consumerdataright-au")]
pub struct UnknownEcosystem;

impl EcosystemName {
    /// Every ecosystem.
    pub const ALL: [Self; 3] =
        [Self::OpenBankingUk, Self::OpenBankingBrazil, Self::ConsumerDataRightAu];

    /// The name in settings and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenBankingUk => "openbanking-uk",
            Self::OpenBankingBrazil => "openbanking-brazil",
            Self::ConsumerDataRightAu => "consumerdataright-au",
        }
    }

    /// The row of the ecosystem table.
    pub const fn ecosystem(self) -> &'static Ecosystem {
        match self {
            Self::OpenBankingUk => &OPENBANKING_UK,
            Self::OpenBankingBrazil => &OPENBANKING_BRAZIL,
            Self::ConsumerDataRightAu => &CONSUMERDATARIGHT_AU,
        }
    }
}

impl fmt::Display for EcosystemName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for EcosystemName {
    type Err = UnknownEcosystem;

    fn from_str(name: &str) -> Result<Self, UnknownEcosystem> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or(UnknownEcosystem)
    }
}

/// How the authentication context is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcrClaim {
    /// As anywhere: by `acr_values`, if at all.
    Voluntary,
    /// As an essential claim of the ID token with the acceptable values, one of which must be reached
    /// (OIDC-3.1.3.7-12).
    Values,
    /// As an essential claim of the ID token without values.
    Bare,
}

/// How a request names the consent that the user is to authorize, lodged beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    /// As an essential claim of this name, which the ID token returns.
    Claim(&'static str),
    /// As a scope that begins like this.
    Scope(&'static str),
}

/// The header that tells an API what the user's browser calls itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CustomerHeader {
    /// `x-customer-user-agent`: as it is.
    UserAgent,
    /// `x-cds-client-headers`: in Base64.
    ClientHeaders,
}

impl CustomerHeader {
    /// The header's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserAgent => "x-customer-user-agent",
            Self::ClientHeaders => "x-cds-client-headers",
        }
    }
}

/// A document, with its version or date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// What clauses call it.
    pub short: &'static str,
    /// Its full title and version.
    pub title: &'static str,
    /// Where it is published.
    pub url: &'static str,
}

/// One row of the ecosystem table.
#[derive(Debug)]
pub struct Ecosystem {
    /// Which row.
    pub name: EcosystemName,
    /// Its name, for people.
    pub title: &'static str,
    /// What the row was taken from.
    pub sources: &'static [Source],
    /// The profiles it goes with, each as it leaves them; the usual one first.
    profiles: &'static [&'static Profile],
    /// The same where request objects are encrypted, if that makes a difference.
    encrypting: &'static [&'static Profile],
    /// The only algorithms tokens and request objects may be encrypted with, where they are.
    pub encryption: Option<JwePolicy>,
    /// Whether every endpoint is called at its mutual-TLS alias.
    pub mtls_endpoint_aliases: bool,
    /// The authentication context classes there are.
    pub acr_values: &'static [&'static str],
    /// How they are asked for.
    pub acr_claim: AcrClaim,
    /// How a request names a consent, if it does.
    pub consent: Option<Consent>,
    /// What APIs learn of the user's browser, beside `x-fapi-interaction-id`, `x-fapi-auth-date` and
    /// `x-fapi-customer-ip-address`, which every API gets.
    pub customer_header: Option<CustomerHeader>,
    /// Which clause stands behind which demand, by the field's name.
    pub clauses: &'static [(&'static str, &'static str)],
}

impl Ecosystem {
    /// The clause behind a demand, as error messages quote it; empty if it is nobody's demand.
    pub fn clause(&self, demand: &str) -> &'static str {
        let found = self.clauses.iter().find(|(name, _)| *name == demand);
        found.map_or("", |(_, clause)| clause)
    }

    /// The profiles it goes with.
    pub fn profiles(&self) -> impl Iterator<Item = ProfileName> {
        self.profiles.iter().map(|profile| profile.name)
    }

    /// A profile as this ecosystem leaves it; none if they do not go together.
    pub fn narrow(
        &self,
        profile: ProfileName,
        encrypts_requests: bool,
    ) -> Option<&'static Profile> {
        let fits = |narrowed: &&&'static Profile| narrowed.name == profile;
        let encrypting = self.encrypting.iter().filter(|_| encrypts_requests);
        encrypting.chain(self.profiles).find(fits).copied()
    }
}

const FAPI_ALGS: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256];

const UK_ALGS: &str = "OBL DCR 3.3, id_token_signed_response_alg: as constrained by FAPI-RW";
const UK_CLIENT_AUTH: &[ClientAuthMethod] =
    &[ClientAuthMethod::PrivateKeyJwt, ClientAuthMethod::TlsClientAuth];
const UK_NARROWED: &[(&str, &str)] =
    &[("client_auth", "OBL DCR 3.3, token_endpoint_auth_method"), ("jws_algs", UK_ALGS)];

const fn in_the_uk(profile: ProfileName) -> Profile {
    Profile {
        client_auth: UK_CLIENT_AUTH,
        jws_algs: FAPI_ALGS,
        unpinned_algs: FAPI_ALGS,
        narrowed: UK_NARROWED,
        ..*profile.profile()
    }
}

static UK_FAPI1: Profile = in_the_uk(ProfileName::Fapi1Advanced);
static UK_FAPI2_SECURITY: Profile = in_the_uk(ProfileName::Fapi2Security);
static UK_FAPI2_MESSAGE_SIGNING: Profile = in_the_uk(ProfileName::Fapi2MessageSigning);

static OPENBANKING_UK: Ecosystem = Ecosystem {
    name: EcosystemName::OpenBankingUk,
    title: "Open Banking (United Kingdom)",
    sources: &[
        Source {
            short: "OBL RW",
            title: "Open Banking Read-Write API Profile v4.0.1",
            url: "https://openbankinguk.github.io/read-write-api-site3/",
        },
        Source {
            short: "OBL DCR",
            title: "Open Banking Dynamic Client Registration v3.3",
            url: "https://openbankinguk.github.io/dcr-docs-pub/v3.3/dynamic-client-registration.html",
        },
        Source {
            short: "OIDF suite",
            title: "OpenID Foundation conformance suite, client test plans with fapi_profile openbanking_uk",
            url: "https://gitlab.com/openid/conformance-suite",
        },
    ],
    profiles: &[&UK_FAPI1, &UK_FAPI2_SECURITY, &UK_FAPI2_MESSAGE_SIGNING],
    encrypting: &[],
    encryption: None,
    mtls_endpoint_aliases: false,
    acr_values: &["urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"],
    acr_claim: AcrClaim::Values,
    consent: Some(Consent::Claim("openbanking_intent_id")),
    customer_header: Some(CustomerHeader::UserAgent),
    clauses: &[
        ("profiles", "OBL RW 4.0.1, Supported Grant Types; OIDF suite for FAPI 2.0"),
        ("acr_values", "OIDF suite, FAPIValidateRequestObjectIdTokenACRClaims"),
        ("acr_claim", "OIDF suite, FAPIValidateRequestObjectIdTokenACRClaims"),
        ("consent", "OBL RW 4.0.1, Consent Authorisation; OIDF suite, ExtractOBIntentId"),
        ("customer_header", "OBL RW 4.0.1, Request Headers"),
    ],
};

const BRAZIL_ALGS: &[JwsAlg] = &[JwsAlg::Ps256];
const BRAZIL_SIGNING: &str = "OFB-FAPI-1 ID3 6.2-1";

static BRAZIL_FAPI1: Profile = Profile {
    jws_algs: BRAZIL_ALGS,
    unpinned_algs: BRAZIL_ALGS,
    par: Par::Required,
    narrowed: &[("jws_algs", BRAZIL_SIGNING), ("par", "OFB-FAPI-1 ID3 5.2.3-3")],
    ..*ProfileName::Fapi1Advanced.profile()
};

/// A request object that nobody else can read need not be pushed.
static BRAZIL_FAPI1_ENCRYPTING: Profile = Profile {
    jws_algs: BRAZIL_ALGS,
    unpinned_algs: BRAZIL_ALGS,
    narrowed: &[("jws_algs", BRAZIL_SIGNING)],
    ..*ProfileName::Fapi1Advanced.profile()
};

static OPENBANKING_BRAZIL: Ecosystem = Ecosystem {
    name: EcosystemName::OpenBankingBrazil,
    title: "Open Finance Brasil",
    sources: &[
        Source {
            short: "OFB-FAPI-1 ID3",
            title: "Open Finance Brasil Financial-grade API Security Profile 1.0 Implementers Draft 3",
            url: "https://openbanking-brasil.github.io/specs-seguranca/open-banking-brasil-financial-api-1_ID3.html",
        },
        Source {
            short: "OFB-DCR",
            title: "Open Finance Brasil Financial-grade API Dynamic Client Registration Profile 1.0",
            url: "https://openbanking-brasil.github.io/specs-seguranca/open-banking-brasil-dynamic-client-registration-1_ID3.html",
        },
    ],
    profiles: &[&BRAZIL_FAPI1],
    encrypting: &[&BRAZIL_FAPI1_ENCRYPTING],
    encryption: Some(JwePolicy { alg: JweAlg::RsaOaep, enc: JweEnc::A256Gcm }),
    mtls_endpoint_aliases: true,
    acr_values: &["urn:brasil:openbanking:loa3", "urn:brasil:openbanking:loa2"],
    acr_claim: AcrClaim::Bare,
    consent: Some(Consent::Scope("consent:")),
    customer_header: None,
    clauses: &[
        ("profiles", "OFB-FAPI-1 ID3 5.2.3"),
        ("encryption", "OFB-FAPI-1 ID3 6.2.1-1"),
        ("mtls_endpoint_aliases", "OFB-DCR 6.2-3"),
        ("acr_values", "OFB-FAPI-1 ID3 5.2.2-6/7"),
        ("acr_claim", "OFB-FAPI-1 ID3 5.2.3-6/7"),
        ("consent", "OFB-FAPI-1 ID3 7.1.2"),
    ],
};

static CDR_FAPI1: Profile = Profile {
    responses: &[
        ResponseForm::new(ResponseType::Code, ResponseMode::Jwt),
        ResponseForm::new(ResponseType::Code, ResponseMode::FormPostJwt),
    ],
    par: Par::Required,
    pkce_required: true,
    client_auth: &[ClientAuthMethod::PrivateKeyJwt],
    narrowed: &[
        (
            "responses",
            "CDS Authentication Flows: from 12 May 2025 only the Authorization Code Flow, with JARM",
        ),
        ("par", "CDS Request Object, Data Recipient Software Products"),
        ("pkce_required", "CDS Authentication Flows, Baseline Security Provisions"),
        ("client_auth", "CDS Client Authentication"),
    ],
    ..*ProfileName::Fapi1Advanced.profile()
};

static CONSUMERDATARIGHT_AU: Ecosystem = Ecosystem {
    name: EcosystemName::ConsumerDataRightAu,
    title: "Consumer Data Right (Australia)",
    sources: &[Source {
        short: "CDS",
        title: "Consumer Data Standards, Security Profile and HTTP Headers, with the obligations from 12 May 2025",
        url: "https://consumerdatastandardsaustralia.github.io/standards/",
    }],
    profiles: &[&CDR_FAPI1],
    encrypting: &[],
    encryption: None,
    mtls_endpoint_aliases: false,
    acr_values: &["urn:cds.au:cdr:2", "urn:cds.au:cdr:3", "urn:cds.au:cdr:4"],
    acr_claim: AcrClaim::Voluntary,
    consent: None,
    customer_header: Some(CustomerHeader::ClientHeaders),
    clauses: &[
        ("profiles", "CDS Authentication Flows, Baseline Security Provisions"),
        ("acr_values", "CDS Levels of Assurance"),
        ("customer_header", "CDS HTTP Headers"),
    ],
};

/// The table for people, one column an ecosystem, and the sources below it, as Markdown. Where nothing is
/// said the profile's own rule stands.
pub fn markdown_table() -> String {
    type Cell = fn(&Ecosystem) -> String;
    fn list<T: Copy>(items: &[T], name: fn(T) -> &'static str) -> String {
        items.iter().map(|item| format!("`{}`", name(*item))).collect::<Vec<_>>().join(", ")
    }
    /// What the usual profile is narrowed to, with the clause.
    fn narrowed(ecosystem: &Ecosystem, demand: &str, told: fn(&Profile) -> String) -> String {
        let profile = ecosystem.profiles.first();
        let found = profile.and_then(|profile| {
            let clause = profile.narrowed.iter().find(|(name, _)| *name == demand)?.1;
            Some(format!("{} ({clause})", told(profile)))
        });
        found.unwrap_or_default()
    }
    const ROWS: [(&str, &str, Cell); 11] = [
        ("profiles", "profiles", |ecosystem| {
            let names: Vec<_> = ecosystem.profiles().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        }),
        ("authorization response", "", |ecosystem| {
            narrowed(ecosystem, "responses", |profile| {
                let form = |form: &ResponseForm| {
                    format!("`{}` by `{}`", form.response_type.name(), form.response_mode.name())
                };
                profile.responses.iter().map(form).collect::<Vec<_>>().join(", ")
            })
        }),
        ("PAR", "", |ecosystem| {
            let unless = if ecosystem.encrypting.is_empty() {
                |_: &Profile| "always".to_owned()
            } else {
                |_: &Profile| "always, unless request objects are encrypted".to_owned()
            };
            narrowed(ecosystem, "par", unless)
        }),
        ("client authentication", "", |ecosystem| {
            narrowed(ecosystem, "client_auth", |profile| {
                list(profile.client_auth, ClientAuthMethod::name)
            })
        }),
        ("signature algorithms", "", |ecosystem| {
            narrowed(ecosystem, "jws_algs", |profile| list(profile.jws_algs, JwsAlg::name))
        }),
        ("encryption, where there is any", "encryption", |ecosystem| {
            let pair = |JwePolicy { alg, enc }: JwePolicy| {
                format!("`{}` with `{}`", alg.name(), enc.name())
            };
            ecosystem.encryption.map(pair).unwrap_or_default()
        }),
        ("mutual-TLS aliases", "mtls_endpoint_aliases", |ecosystem| {
            if ecosystem.mtls_endpoint_aliases { "of every endpoint" } else { "" }.to_owned()
        }),
        ("`acr` values", "acr_values", |ecosystem| list(ecosystem.acr_values, |value| value)),
        ("`acr` asked for", "acr_claim", |ecosystem| match ecosystem.acr_claim {
            AcrClaim::Voluntary => String::new(),
            AcrClaim::Values => {
                "as an essential claim with its values, one of which must be reached".to_owned()
            }
            AcrClaim::Bare => {
                "as an essential claim without values; one of those in `acr_values` must be reached"
                    .to_owned()
            }
        }),
        ("consent named by", "consent", |ecosystem| match ecosystem.consent {
            None => String::new(),
            Some(Consent::Claim(name)) => {
                format!("the essential claim `{name}`, which must come back")
            }
            Some(Consent::Scope(prefix)) => format!("the scope `{prefix}…`"),
        }),
        ("further header to APIs", "customer_header", |ecosystem| {
            let name = |header: CustomerHeader| format!("`{}`", header.name());
            ecosystem.customer_header.map(name).unwrap_or_default()
        }),
    ];
    let ecosystems = EcosystemName::ALL.map(EcosystemName::ecosystem);
    let mut table = String::from("| |");
    // Writing to a String cannot fail.
    for ecosystem in ecosystems {
        let _ = write!(table, " `{}` |", ecosystem.name);
    }
    table.push_str("\n|---|---|---|---|\n");
    for (title, demand, cell) in ROWS {
        let _ = write!(table, "| {title} |");
        for ecosystem in ecosystems {
            let (text, clause) = (cell(ecosystem), ecosystem.clause(demand));
            let cited = if clause.is_empty() { String::new() } else { format!(" ({clause})") };
            let _ = write!(table, " {text}{cited} |");
        }
        table.push('\n');
    }
    table.push('\n');
    for Source { short, title, url } in ecosystems.iter().flat_map(|ecosystem| ecosystem.sources) {
        let _ = writeln!(table, "* {short}: [{title}]({url})");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::SenderConstraint;

    fn names<T: Copy>(items: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
        items.iter().map(|item| name(*item)).collect()
    }

    /// Every pair of an ecosystem and a profile that go together, with and without encrypted requests.
    fn pairs() -> Vec<(&'static Ecosystem, &'static Profile)> {
        let mut pairs = Vec::new();
        for ecosystem in EcosystemName::ALL.map(EcosystemName::ecosystem) {
            for name in ProfileName::ALL {
                for encrypts in [false, true] {
                    pairs.extend(ecosystem.narrow(name, encrypts).map(|found| (ecosystem, found)));
                }
            }
        }
        pairs
    }

    /// The documents, written out a second time by hand.
    #[test]
    fn the_table_is_what_the_documents_say() {
        let keys = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"].as_slice();
        let forms =
            ["code jwt", "code form_post.jwt", "code id_token fragment", "code id_token form_post"];
        #[rustfmt::skip]
        let table = [
            // ecosystem, profile, encrypts, algorithms, client auth, responses, PAR, S256
            ("openbanking-uk", "fapi1-advanced", false, ["PS256", "ES256"].as_slice(), &keys[..2], forms.as_slice(), false, false),
            ("openbanking-uk", "fapi2-security", false, &["PS256", "ES256"], &keys[..2], &["code query", "code form_post", "code jwt", "code form_post.jwt"], true, true),
            ("openbanking-uk", "fapi2-message-signing", false, &["PS256", "ES256"], &keys[..2], &forms[..2], true, true),
            ("openbanking-brazil", "fapi1-advanced", false, &["PS256"], keys, &forms, true, false),
            ("openbanking-brazil", "fapi1-advanced", true, &["PS256"], keys, &forms, false, false),
            ("consumerdataright-au", "fapi1-advanced", true, &["PS256", "ES256"], &keys[..1], &forms[..2], true, true),
        ];
        for (name, profile, encrypts, algs, auth, responses, pushed, s256) in table {
            let ecosystem = name.parse::<EcosystemName>().unwrap().ecosystem();
            let narrowed = ecosystem.narrow(profile.parse().unwrap(), encrypts).unwrap();
            assert_eq!(narrowed.name.as_str(), profile);
            assert_eq!(names(narrowed.jws_algs, JwsAlg::name), algs, "{name}");
            assert_eq!(names(narrowed.unpinned_algs, JwsAlg::name), algs, "{name}");
            assert_eq!(names(narrowed.client_auth, ClientAuthMethod::name), auth, "{name}");
            let forms: Vec<_> = narrowed
                .responses
                .iter()
                .map(|form| format!("{} {}", form.response_type.name(), form.response_mode.name()))
                .collect();
            assert_eq!(forms, responses, "{name}");
            assert_eq!(narrowed.par == Par::Required, pushed, "{name}");
            assert_eq!(narrowed.pkce_required, s256, "{name}");
        }
        let goes_with = |name: EcosystemName| {
            name.ecosystem().profiles().map(ProfileName::as_str).collect::<Vec<_>>()
        };
        assert_eq!(
            goes_with(EcosystemName::OpenBankingUk),
            ["fapi1-advanced", "fapi2-security", "fapi2-message-signing"]
        );
        assert_eq!(goes_with(EcosystemName::OpenBankingBrazil), ["fapi1-advanced"]);
        assert_eq!(goes_with(EcosystemName::ConsumerDataRightAu), ["fapi1-advanced"]);
        assert_eq!(pairs().len(), 2 * 3 + 2 + 2);
    }

    /// A preset only ever narrows a profile.
    #[test]
    fn no_ecosystem_weakens_a_profile() {
        fn within<T: PartialEq + fmt::Debug>(narrowed: &[T], profile: &[T]) {
            assert!(!narrowed.is_empty());
            assert!(narrowed.iter().all(|item| profile.contains(item)), "{narrowed:?}");
        }
        for (ecosystem, narrowed) in pairs() {
            let profile = narrowed.name.profile();
            assert_ne!(profile.name, ProfileName::Oidc, "{}", ecosystem.name);
            within(narrowed.responses, profile.responses);
            within(narrowed.jws_algs, profile.jws_algs);
            within(narrowed.unpinned_algs, profile.unpinned_algs);
            within(narrowed.client_auth, profile.client_auth);
            assert_eq!(
                names(narrowed.sender_constraints, SenderConstraint::name),
                names(profile.sender_constraints, SenderConstraint::name)
            );
            assert_eq!(narrowed.iss_parameter, profile.iss_parameter);
            let at_least = |narrowed: bool, profile: bool| assert!(narrowed || !profile);
            at_least(narrowed.par == Par::Required, profile.par == Par::Required);
            at_least(narrowed.pkce_required, profile.pkce_required);
            at_least(narrowed.signed_request_object, profile.signed_request_object);
            at_least(narrowed.id_token_signature_required, profile.id_token_signature_required);
            at_least(narrowed.signed_introspection, profile.signed_introspection);
            at_least(narrowed.endpoints_from_metadata_only, profile.endpoints_from_metadata_only);
            at_least(profile.encrypted_responses, narrowed.encrypted_responses);
            assert_eq!(narrowed.clauses, profile.clauses, "the profile's own reasons stand");
        }
    }

    /// Whatever a row demands has a clause, and every clause begins with the name of a document.
    #[test]
    fn every_demand_has_its_source() {
        for ecosystem in EcosystemName::ALL.map(EcosystemName::ecosystem) {
            let demanded = [
                ("profiles", true),
                ("acr_values", !ecosystem.acr_values.is_empty()),
                ("encryption", ecosystem.encryption.is_some()),
                ("mtls_endpoint_aliases", ecosystem.mtls_endpoint_aliases),
                ("acr_claim", ecosystem.acr_claim != AcrClaim::Voluntary),
                ("consent", ecosystem.consent.is_some()),
                ("customer_header", ecosystem.customer_header.is_some()),
            ];
            for (demand, is_made) in demanded {
                assert_eq!(!ecosystem.clause(demand).is_empty(), is_made, "{demand}");
            }
            assert_eq!(ecosystem.clauses.len(), demanded.iter().filter(|(_, made)| *made).count());
        }
        for (ecosystem, narrowed) in pairs() {
            let profile = narrowed.name.profile();
            let changed = [
                ("responses", narrowed.responses != profile.responses),
                ("par", narrowed.par != profile.par),
                ("pkce_required", narrowed.pkce_required != profile.pkce_required),
                ("client_auth", narrowed.client_auth != profile.client_auth),
                ("jws_algs", narrowed.jws_algs != profile.jws_algs),
            ];
            for (demand, is_changed) in changed {
                let told = narrowed.narrowed.iter().any(|(name, _)| *name == demand);
                assert!(told || !is_changed, "{} {demand}", ecosystem.name);
            }
            let known = |clause: &str| {
                ecosystem.sources.iter().any(|source| clause.starts_with(source.short))
            };
            for (demand, clause) in ecosystem.clauses.iter().chain(narrowed.narrowed) {
                assert!(known(clause), "{} {demand}: {clause}", ecosystem.name);
                assert_eq!(clause.trim(), *clause);
            }
        }
    }

    #[test]
    fn names_read_and_print_the_same_everywhere() {
        for name in EcosystemName::ALL {
            assert_eq!(name.ecosystem().name, name);
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            assert_eq!(
                serde_json::from_value::<EcosystemName>(name.as_str().into()).unwrap(),
                name
            );
        }
        for wrong in ["", "openbanking", "OpenBanking-UK", "openbanking_uk", "openbanking-uk "] {
            assert_eq!(wrong.parse::<EcosystemName>(), Err(UnknownEcosystem), "{wrong}");
        }
    }

    /// The README shows the table as it is.
    #[test]
    fn the_readme_has_this_table() {
        let readme = include_str!("../README.md");
        let table = markdown_table();
        assert!(readme.contains(&table), "put this into README.md:\n{table}");
    }
}
