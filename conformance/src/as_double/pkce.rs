//! What a verifier is worth: its entropy, and whether its challenge was seen before, in this server or
//! another of this process. It must not know requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Bits of Shannon entropy a verifier should have, as the conformance suite counts them.
pub(super) const ENOUGH_BITS: f64 = 180.0;

/// How many challenges are remembered, as in the conformance suite.
const REMEMBERED: usize = 256;

/// Shannon entropy of the text's own characters, times its length.
pub(super) fn entropy_bits(text: &str) -> f64 {
    let mut counts: HashMap<char, u32> = HashMap::new();
    let mut length = 0_u32;
    for c in text.chars() {
        *counts.entry(c).or_default() += 1;
        length += 1;
    }
    let length = f64::from(length);
    counts.values().map(|count| f64::from(*count) * (length / f64::from(*count)).log2()).sum()
}

/// Whether this is the first time the challenge is seen.
pub(super) fn is_new(challenge: &str) -> bool {
    // Of the whole process: a client that uses one verifier for every login meets a new server in
    // every module of a conformance run.
    static SEEN: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
    remember(&mut SEEN.lock().unwrap_or_else(PoisonError::into_inner), challenge)
}

fn remember(seen: &mut VecDeque<String>, challenge: &str) -> bool {
    if seen.iter().any(|known| known == challenge) {
        return false;
    }
    if seen.len() == REMEMBERED {
        seen.pop_front();
    }
    seen.push_back(challenge.to_owned());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::random_token;

    #[test]
    fn a_monotonous_verifier_has_no_entropy_and_a_random_one_has_enough() {
        assert!(entropy_bits(&"v".repeat(128)) < 1.0);
        assert!(entropy_bits(&"ab".repeat(22)) < 45.0);
        assert!((entropy_bits("abcd") - 8.0).abs() < 1e-9);
        assert!(entropy_bits(&random_token()) >= ENOUGH_BITS);
    }

    #[test]
    fn a_challenge_is_new_once_and_again_when_256_others_came_after_it() {
        let mut seen = VecDeque::new();
        assert!(remember(&mut seen, "first"));
        assert!(!remember(&mut seen, "first"));
        for other in 0..256 {
            assert!(remember(&mut seen, &other.to_string()));
        }
        assert!(remember(&mut seen, "first"));
        assert_eq!(seen.len(), REMEMBERED);
    }
}
