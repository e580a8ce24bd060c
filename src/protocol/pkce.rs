//! Owns the PKCE code verifier and its challenge (RFC 7636).
//! Must not know: where the verifier is kept between the two requests.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// The `code_challenge_method` sent with every challenge; there is no other (PKCE-4.2/4.3).
pub const CODE_CHALLENGE_METHOD: &str = "S256";

/// A secret of 256 bits in 43 unreserved characters (PKCE-4.1). Serialising reveals it: only a
/// sealed transaction may hold one.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeVerifier(Zeroizing<String>);

impl CodeVerifier {
    /// The verifier made of these unpredictable octets.
    pub fn from_random(octets: [u8; 32]) -> Self {
        let octets = Zeroizing::new(octets);
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(octets.as_slice())))
    }

    /// base64url(SHA-256(ASCII(verifier))), RFC 7636 §4.2.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.0.as_bytes()))
    }

    /// The verifier itself, for the token request's `code_verifier` and nothing else (PKCE-4.5).
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn read(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let unreserved =
            |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        ((43..=128).contains(&text.len()) && text.bytes().all(unreserved)).then_some(Self(text))
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeVerifier(..)")
    }
}

impl Serialize for CodeVerifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CodeVerifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(String::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("not a PKCE code verifier"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PKCE-4.2/4.3, RFC 7636 appendix B.
    #[test]
    fn challenge_matches_the_rfc_vector() {
        let octets = [
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212,
            37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
        ];
        let verifier = CodeVerifier::from_random(octets);
        assert_eq!(verifier.expose(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_verifier_out_of_length_or_alphabet_is_not_read() {
        let json = |text: String| serde_json::from_value::<CodeVerifier>(text.into());
        assert!(json("a".repeat(43)).is_ok());
        assert!(json("a".repeat(128)).is_ok());
        assert!(json("AZaz09-._~".repeat(5)).is_ok());
        for wrong in [
            "a".repeat(42),
            "a".repeat(129),
            format!("{}+", "a".repeat(43)),
            format!("{}é", "a".repeat(43)),
        ] {
            assert!(json(wrong).is_err());
        }
    }

    #[test]
    fn debug_does_not_show_the_verifier() {
        let verifier = CodeVerifier::from_random([7; 32]);
        assert!(!format!("{verifier:?}").contains(verifier.expose()));
    }

    proptest::proptest! {
        /// PKCE-4.1: 43 characters, all unreserved, whatever the randomness was.
        #[test]
        fn every_verifier_is_43_unreserved_characters(octets: [u8; 32]) {
            let verifier = CodeVerifier::from_random(octets);
            proptest::prop_assert_eq!(verifier.expose().len(), 43);
            proptest::prop_assert!(CodeVerifier::read(verifier.expose().to_owned()).is_some());
            proptest::prop_assert_eq!(verifier.challenge().len(), 43);
        }
    }
}
