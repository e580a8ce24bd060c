//! Owns how a rejection is written down: one line per rule, with its stable machine reason.
//! Must not know: which rules exist.

/// Declares a rejection: an error enum whose every variant has a machine reason that reaches the
/// audit log and the metrics, and a sentence for operators. `REASONS` lists them all, so that
/// counters can exist before the first rejection and a test can prove the reasons distinct.
macro_rules! rejection {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident $(($member:ty))? => $reason:literal, $message:literal; )+
        }
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
        }

        impl $name {
            /// Every reason this rejection can give.
            pub const REASONS: &'static [&'static str] = &[$($reason),+];

            /// Stable machine reason for audit and metrics.
            pub const fn reason(&self) -> &'static str {
                match self {
                    $( Self::$variant $((rejection!(@ignore $member)))? => $reason, )+
                }
            }
        }
    };
    (@ignore $member:ty) => { _ };
}

pub(super) use rejection;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::protocol::{
        IdTokenRejected, IssuerRejected, JarmRejected, Malformation, MetadataRejected,
        NonceRejected, ParameterRejected, ParametersRejected, StepUpRejected, TokenRejected,
        TransactionRejected, UserinfoRejected, answer::AsAnswer,
    };

    #[test]
    fn every_reason_is_unique_and_snake_case_with_one_dot() {
        let kinds = [
            AsAnswer::REASONS,
            IdTokenRejected::REASONS,
            IssuerRejected::REASONS,
            Malformation::REASONS,
            MetadataRejected::REASONS,
            NonceRejected::REASONS,
            ParameterRejected::REASONS,
            JarmRejected::REASONS,
            ParametersRejected::REASONS,
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
