//! What the official suite's authorization server gets wrong, as data: one mutation a module, in its
//! exact form ("wrong" is the right string with `1` appended, "expired" is six minutes ago). It must
//! not know which client it is played against.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::{
    as_double::{Behaviour, DpopNonces, Tamper, Target, edits},
    jwe::Flaw,
    jws::{Alg, Object, SigningKey, random_token},
};

/// How long ago an expired token of the suite's expired, in seconds.
const EXPIRED: i64 = 360;
/// How old an ID token "from last week" is, in seconds.
const WEEK: i64 = 7 * 24 * 3600;

/// Which keys are published beside the one that signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// Of other types, of a curve hardly anybody has, and one for encryption.
    OfOtherKinds,
    /// Two more RSA keys that could have signed.
    OfTheSameKind,
}

impl Others {
    /// Their public halves, without names, made once: RSA keys are slow to make. A key that cannot be
    /// made is left out.
    fn keys(self) -> Vec<Value> {
        static KINDS: [OnceLock<Vec<Value>>; 2] = [OnceLock::new(), OnceLock::new()];
        let [other, same] = &KINDS;
        let made = match self {
            Self::OfOtherKinds => other,
            Self::OfTheSameKind => same,
        };
        made.get_or_init(|| self.make()).clone()
    }

    fn make(self) -> Vec<Value> {
        let nameless = |alg, changes: &[(&str, &str)]| {
            let mut jwk = SigningKey::generate(alg).ok()?.public_jwk();
            let members = jwk.as_object_mut()?;
            members.remove("kid");
            for (name, value) in changes {
                members.insert((*name).to_owned(), (*value).into());
            }
            Some(jwk)
        };
        let keys = match self {
            Self::OfOtherKinds => vec![
                nameless(Alg::Es256, &[]),
                nameless(Alg::Es256, &[("crv", "secp256k1"), ("alg", "ES256K")]),
                nameless(Alg::EdDsa, &[]),
                nameless(Alg::Rs256, &[("use", "enc"), ("alg", "RSA-OAEP")]),
            ],
            Self::OfTheSameKind => {
                vec![nameless(Alg::Rs256, &[]), nameless(Alg::Rs256, &[])]
            }
        };
        keys.into_iter().flatten().collect()
    }
}

/// One thing that is wrong, or merely unusual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Everything is right.
    Nothing,
    /// A claim is the right string with `1` appended.
    Wrong(Target, &'static str),
    /// A claim is the right string with `INVALID` appended.
    Invalid(Target, &'static str),
    /// There is a claim that has no business there.
    Unexpected(Target, &'static str),
    /// The logout token's event is the right one's name with `INVALID` appended.
    OtherEvent,
    /// A claim is absent.
    Absent(Target, &'static str),
    /// `exp` is six minutes ago.
    Expired(Target),
    /// `iat` is a week ago, `exp` still to come.
    WeekOld(Target),
    /// `aud` is an array with the client in it.
    AudienceAsArray(Target),
    /// `aud` is the client and the client with `1` appended, without `azp`.
    SecondAudience(Target),
    /// Every byte of the signature is changed.
    BadSignature(Target),
    /// An unsecured token.
    AlgNone(Target),
    /// RS256 by a key that is really published.
    AlternateAlg(Target),
    /// The metadata's `issuer` has `INVALID` appended.
    IssuerInMetadata,
    /// The token response lacks these members.
    TokenResponseWithout(&'static [&'static str]),
    /// Every letter of `token_type` has its case flipped.
    TokenTypeCase,
    /// Userinfo is about somebody else.
    UserinfoSubject,
    /// No DPoP proof needs a nonce.
    NoDpopNonce,
    /// A resource's demand for a nonce spells its scheme `dPoP`.
    DpopSchemeCase,
    /// Encrypted tokens are encrypted with RSAES-PKCS1-v1_5.
    Rsa15,
    /// Neither the signing key nor what it signs has a `kid`; so many other keys could have signed.
    NamelessKeys(Others),
    /// The keys are at an address that only the metadata know.
    KeysElsewhere,
}

impl Mutation {
    /// Makes the authorization server behave so from now on.
    pub fn apply(self, behaviour: &mut Behaviour) {
        match self {
            Self::Nothing => {}
            Self::Wrong(target, claim) => behaviour.edit(target, edits::wrong(claim)),
            Self::Invalid(target, claim) => {
                behaviour.edit(target, edits::append(claim, "INVALID"));
            }
            Self::Unexpected(target, claim) => {
                behaviour.edit(target, edits::set(claim, random_token().into()));
            }
            Self::OtherEvent => behaviour.edit(Target::LogoutToken, |claims: &mut Object| {
                let events = claims.get_mut("events").and_then(Value::as_object_mut);
                if let Some(events) = events {
                    *events = std::mem::take(events)
                        .into_iter()
                        .map(|(name, value)| (format!("{name}INVALID"), value))
                        .collect();
                }
            }),
            Self::Absent(target, claim) => behaviour.edit(target, edits::remove(claim)),
            Self::Expired(target) => behaviour.edit(target, shifted("exp", EXPIRED)),
            Self::WeekOld(target) => behaviour.edit(target, shifted("iat", WEEK)),
            Self::AudienceAsArray(target) => behaviour.edit(target, audience(|own| json!([own]))),
            Self::SecondAudience(target) => {
                behaviour.edit(target, audience(|own| json!([own, format!("{own}1")])));
                behaviour.edit(target, edits::remove("azp"));
            }
            Self::BadSignature(target) => behaviour.tamper(target, Tamper::Flip),
            Self::AlgNone(target) => behaviour.tamper(target, Tamper::AlgNone),
            Self::AlternateAlg(target) => behaviour.tamper(target, Tamper::AlternateAlg),
            Self::IssuerInMetadata => "INVALID".clone_into(&mut behaviour.issuer_suffix),
            Self::TokenResponseWithout(members) => {
                for member in members {
                    behaviour.edit(Target::TokenResponse, edits::remove(member));
                }
            }
            Self::TokenTypeCase => behaviour.edit(Target::TokenResponse, |body: &mut Object| {
                let flipped = body.get("token_type").and_then(Value::as_str).map(flip_case);
                if let Some(flipped) = flipped {
                    body.insert("token_type".to_owned(), flipped.into());
                }
            }),
            Self::UserinfoSubject => behaviour.edit(Target::Userinfo, edits::wrong("sub")),
            Self::NoDpopNonce => behaviour.dpop_nonces = DpopNonces::Never,
            Self::DpopSchemeCase => "dPoP".clone_into(&mut behaviour.dpop_scheme),
            Self::Rsa15 => behaviour.flaw = Some(Flaw::Rsa15),
            Self::NamelessKeys(others) => {
                behaviour.omit_kid = true;
                behaviour.extra_keys = others.keys();
            }
            Self::KeysElsewhere => behaviour.jwks_suffix = random_token(),
        }
    }
}

/// Puts a time claim so many seconds before the moment of issue.
fn shifted(claim: &'static str, ago: i64) -> impl Fn(&mut Object) + Send + Sync {
    move |claims| {
        let issued = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        claims.insert(claim.to_owned(), (issued - ago).into());
    }
}

fn audience(change: fn(&str) -> Value) -> impl Fn(&mut Object) + Send + Sync {
    move |claims| {
        let own = claims.get("aud").and_then(Value::as_str).unwrap_or_default().to_owned();
        claims.insert("aud".to_owned(), change(&own));
    }
}

fn flip_case(text: &str) -> String {
    let flip = |c: char| {
        if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    text.chars().map(flip).collect()
}
