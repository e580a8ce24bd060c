//! Owns how a rejection is written down: one line per rule, with its stable machine reason.
//! Must not know: which rules exist.

/// Declares a rejection: an error enum whose every variant has a machine reason that reaches the
/// audit log and the metrics, and a sentence for operators. `REASONS` lists them all, so that
/// counters can exist before the first rejection and a test can prove the reasons distinct. A kind
/// of token that may come encrypted ends `with nested "kind"`, which takes over every
/// [`NestedRejected`](super::NestedRejected) under a reason of that kind.
macro_rules! rejection {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident $(($member:ty))? => $reason:literal, $message:literal; )+
        } $(with nested $kind:literal)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
        pub enum $name {
            $(
                #[doc = $message]
                $(#[$variant_meta])*
                #[error($message)]
                $variant $(($member))?,
            )+
            $(
                #[doc = concat!("No signed token came out of the encrypted one: `", $kind, ".bare`, `", $kind, ".jwe_…`")]
                #[error(transparent)]
                Nested(#[from] $crate::protocol::NestedRejected),
            )?
        }

        impl $name {
            /// Every reason this rejection can give.
            pub const REASONS: &'static [&'static str] = &[
                $($reason,)+
                $(
                    concat!($kind, ".bare"),
                    concat!($kind, ".jwe_malformed"),
                    concat!($kind, ".jwe_too_large"),
                    concat!($kind, ".jwe_duplicate_member"),
                    concat!($kind, ".jwe_header_not_allowed"),
                    concat!($kind, ".jwe_alg_not_allowed"),
                    concat!($kind, ".jwe_enc_not_allowed"),
                    concat!($kind, ".jwe_key_unknown"),
                    concat!($kind, ".jwe_key_ambiguous"),
                    concat!($kind, ".jwe_not_nested"),
                    concat!($kind, ".jwe_decryption_failed"),
                )?
            ];

            /// Stable machine reason for audit and metrics.
            pub const fn reason(&self) -> &'static str {
                match self {
                    $( Self::$variant $((rejection!(@ignore $member)))? => $reason, )+
                    $(
                        Self::Nested(nested) => {
                            use $crate::{jose::JweRejected, protocol::NestedRejected::{Bare, Jwe}};
                            match nested {
                                Bare => concat!($kind, ".bare"),
                                Jwe(JweRejected::Malformed) => concat!($kind, ".jwe_malformed"),
                                Jwe(JweRejected::TooLarge) => concat!($kind, ".jwe_too_large"),
                                Jwe(JweRejected::DuplicateMember) => concat!($kind, ".jwe_duplicate_member"),
                                Jwe(JweRejected::HeaderNotAllowed) => concat!($kind, ".jwe_header_not_allowed"),
                                Jwe(JweRejected::AlgNotAllowed) => concat!($kind, ".jwe_alg_not_allowed"),
                                Jwe(JweRejected::EncNotAllowed) => concat!($kind, ".jwe_enc_not_allowed"),
                                Jwe(JweRejected::KeyUnknown) => concat!($kind, ".jwe_key_unknown"),
                                Jwe(JweRejected::KeyAmbiguous) => concat!($kind, ".jwe_key_ambiguous"),
                                Jwe(JweRejected::NotNested) => concat!($kind, ".jwe_not_nested"),
                                Jwe(JweRejected::DecryptionFailed) => concat!($kind, ".jwe_decryption_failed"),
                            }
                        }
                    )?
                }
            }
        }
    };
    (@ignore $member:ty) => { _ };
}

/// Lets a rejection take over every [`JwsRejected`](crate::jose::JwsRejected) under its own variant
/// of the same name: its kind of token is a signed one before it is anything else.
macro_rules! signed_token {
    ($name:ident) => {
        impl From<$crate::jose::JwsRejected> for $name {
            fn from(rejected: $crate::jose::JwsRejected) -> Self {
                use $crate::jose::JwsRejected as Jws;
                match rejected {
                    Jws::Malformed => Self::Malformed,
                    Jws::TooLarge => Self::TooLarge,
                    Jws::DuplicateMember => Self::DuplicateMember,
                    Jws::HeaderNotAllowed => Self::HeaderNotAllowed,
                    Jws::AlgNotAllowed => Self::AlgNotAllowed,
                    Jws::TypNotAllowed => Self::TypNotAllowed,
                    Jws::KeyUnknown => Self::KeyUnknown,
                    Jws::KeyAmbiguous => Self::KeyAmbiguous,
                    Jws::SignatureInvalid => Self::SignatureInvalid,
                    Jws::ClaimsMalformed => Self::ClaimsMalformed,
                    Jws::Encrypted => Self::Encrypted,
                }
            }
        }
    };
}

pub(super) use rejection;
pub(super) use signed_token;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::protocol::{
        DetailsRejected, IdTokenRejected, InitiationRejected, IntrospectionRejected,
        IssuerRejected, JarmRejected, LogoutTokenRejected, Malformation, MetadataRejected,
        NonceRejected, ParameterRejected, ParametersRejected, ResourceRejected, StepUpRejected,
        TokenRejected, TransactionRejected, UserinfoRejected, answer::AsAnswer,
    };

    #[test]
    fn every_reason_is_unique_and_snake_case_with_one_dot() {
        let kinds = [
            AsAnswer::REASONS,
            DetailsRejected::REASONS,
            IdTokenRejected::REASONS,
            InitiationRejected::REASONS,
            IntrospectionRejected::REASONS,
            IssuerRejected::REASONS,
            LogoutTokenRejected::REASONS,
            Malformation::REASONS,
            MetadataRejected::REASONS,
            NonceRejected::REASONS,
            ParameterRejected::REASONS,
            JarmRejected::REASONS,
            ParametersRejected::REASONS,
            ResourceRejected::REASONS,
            StepUpRejected::REASONS,
            TokenRejected::REASONS,
            TransactionRejected::REASONS,
            UserinfoRejected::REASONS,
        ];
        let mut seen = BTreeSet::new();
        for reason in kinds.into_iter().flatten() {
            assert!(seen.insert(*reason), "{reason} is used twice");
            let (kind, rule) = reason.split_once('.').expect("a dot");
            for part in [kind, rule] {
                let words: Vec<_> = part.split('_').collect();
                assert!(
                    words.iter().all(|word| !word.is_empty()
                        && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())),
                    "{reason} is not snake_case"
                );
            }
        }
        for kinds in kinds {
            let first = kinds.first().and_then(|r| r.split_once('.')).map(|(kind, _)| kind);
            assert!(kinds.iter().all(|r| r.split_once('.').map(|(kind, _)| kind) == first));
        }
        assert!(seen.len() > 100);
    }
}
