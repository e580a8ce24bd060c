//! The national schemes that the official suite's plans know as `fapi_profile` and the product has a
//! preset for: what each adds to a client, to its registration and to the server it meets. It must not
//! know which module is played.

use serde_json::json;

use super::{client::Client, module::Step, stage::Stage};
use crate::{
    as_double::{
        AsDouble, ClientAuth, ClientRegistration, Encryption, Endpoint, Family, RequestMethod,
        ResponseForm, Target, edits,
    },
    demo::browser::Call,
    jws::Alg,
};

/// A scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Open Banking in the United Kingdom.
    Uk,
    /// Open Finance in Brazil.
    Brazil,
    /// The Consumer Data Right in Australia.
    Australia,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 3] = [Self::Uk, Self::Brazil, Self::Australia];

    /// The scheme that a plan means by this value of `fapi_profile`.
    pub fn of(fapi_profile: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.fapi_profile() == fapi_profile)
    }

    /// Its name in plans.
    pub const fn fapi_profile(self) -> &'static str {
        match self {
            Self::Uk => "openbanking_uk",
            Self::Brazil => "openbanking_brazil",
            Self::Australia => "consumerdataright_au",
        }
    }

    /// Its name in settings.
    pub const fn ecosystem(self) -> &'static str {
        match self {
            Self::Uk => "openbanking-uk",
            Self::Brazil => "openbanking-brazil",
            Self::Australia => "consumerdataright-au",
        }
    }

    /// What of this client the scheme rules out, by whatever document.
    pub fn rules_out(self, client: &Client) -> Option<&'static str> {
        let conduct = client.conduct;
        let by_certificate = conduct.client_auth != ClientAuth::PrivateKeyJwt;
        let pushed = conduct.request_method == RequestMethod::Pushed;
        match self {
            Self::Uk if !conduct.openid => Some("an ID token (it must bring the consent back)"),
            Self::Brazil | Self::Australia if conduct.family != Family::Fapi1 => {
                Some("FAPI 2.0 (the scheme says nothing of it)")
            }
            Self::Australia if conduct.response != ResponseForm::Jarm => {
                Some("hybrid responses (the scheme has retired them)")
            }
            Self::Australia if !pushed => Some("requests by value (the scheme forbids them)"),
            Self::Australia if by_certificate => {
                Some("client authentication by certificate (the scheme forbids it)")
            }
            Self::Uk | Self::Brazil | Self::Australia => None,
        }
    }

    /// What everybody signs with, if it is not the usual algorithm.
    pub const fn alg(self) -> Option<Alg> {
        match self {
            Self::Brazil => Some(Alg::Ps256),
            Self::Uk | Self::Australia => None,
        }
    }

    /// Authentication contexts that the server reaches.
    pub fn acrs(self) -> Vec<String> {
        let acrs: &[&str] = match self {
            Self::Uk => &["urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"],
            Self::Brazil => &["urn:brasil:openbanking:loa2", "urn:brasil:openbanking:loa3"],
            Self::Australia => &["urn:cds.au:cdr:2", "urn:cds.au:cdr:3"],
        };
        acrs.iter().map(|acr| (*acr).to_owned()).collect()
    }

    /// How request objects are encrypted to the server, if the browser brings them where all can read.
    pub fn request_encryption(self, client: &Client) -> Option<Encryption> {
        let open = client.conduct.request_method == RequestMethod::ByValue;
        let pair = || Encryption { alg: "RSA-OAEP".to_owned(), enc: "A256GCM".to_owned() };
        (self == Self::Brazil && open).then(pair)
    }

    /// Lines of the app's login.
    pub const fn login(self) -> &'static str {
        match self {
            Self::Uk | Self::Brazil => "consent_parameter = true\n",
            Self::Australia => "acr_values = [\"urn:cds.au:cdr:2\"]\nrequire_acr = true\n",
        }
    }

    /// What the app's page says at the start of a login, form-encoded.
    pub const fn wishes(self) -> &'static str {
        match self {
            Self::Uk => "intent=urn-alphabank-intent-58923",
            Self::Brazil => "intent=urn%3Abancoex%3AC1DD33123",
            Self::Australia => "",
        }
    }

    /// What is typed into the registration form beside the usual.
    pub fn register(self, registration: &mut ClientRegistration) {
        if self == Self::Brazil {
            registration.consent_scope = Some("consent:".to_owned());
        }
    }

    /// Makes the server one of the scheme's.
    pub fn prepare(self, double: &AsDouble) {
        if self == Self::Australia {
            let s256 = edits::set("code_challenge_methods_supported", json!(["S256"]));
            double.behave(|behaviour| behaviour.edit(Target::Metadata, s256));
        }
    }
}

/// Twice the API does not take the token any more, and twice a new one is got with the refresh token,
/// which is replaced each time.
pub(super) async fn renewed_twice(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| behaviour.rotate_refresh_tokens = true);
    let before = stage.world.double.accepted(Endpoint::Token);
    for _ in 0..2 {
        stage.world.double.expire_access_tokens();
        let answer = stage.browser.fetch(Call::get("/api/accounts")).await?;
        stage.expect("accounts", &answer, 200)?;
    }
    let renewals = stage.world.double.accepted(Endpoint::Token) - before;
    let message = format!("{renewals} token requests met for two refusals");
    stage.check("renewed_twice", &["FAPI2-SP-5.3.3.1-6"], renewals == 2, message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use fapi_bff::ecosystem::{Consent, EcosystemName};

    use super::*;

    /// The product's table and what the double takes for the scheme's are about the same scheme.
    #[test]
    fn the_schemes_are_those_of_the_product() {
        assert_eq!(Scheme::ALL.len(), EcosystemName::ALL.len());
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::of(scheme.fapi_profile()), Some(scheme));
            let ecosystem = scheme.ecosystem().parse::<EcosystemName>().unwrap().ecosystem();
            for acr in scheme.acrs() {
                assert!(ecosystem.acr_values.contains(&acr.as_str()), "{acr}");
            }
            let names_consent = scheme.login().contains("consent_parameter = true");
            assert_eq!(names_consent, ecosystem.consent.is_some());
            assert_eq!(names_consent, !scheme.wishes().is_empty());
            let mut registration = ClientRegistration::default();
            scheme.register(&mut registration);
            let prefix = registration.consent_scope.as_deref();
            let expected = match ecosystem.consent {
                Some(Consent::Scope(prefix)) => Some(prefix),
                _ => None,
            };
            assert_eq!(prefix, expected);
        }
        for other in ["plain_fapi", "openinsurance_brazil", "openbanking_ksa", "connectid_au", ""] {
            assert_eq!(Scheme::of(other), None);
        }
    }
}
