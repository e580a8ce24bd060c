//! Any bytes as a JWK set, and as one key in a set: each key is either usable or counted.
#![no_main]

use fapi_bff::jose::{KeySet, PublicJwk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = KeySet::parse(bytes);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let usable = PublicJwk::from_json(&value).is_ok();
        let set = [&b"{\"keys\":["[..], bytes, b"]}"].concat();
        if let Ok(set) = KeySet::parse(&set) {
            // The set also refuses duplicate names, which a parsed value no longer shows.
            assert!(set.is_empty() || usable);
            assert_eq!(set.len() + set.skipped().len(), 1);
        }
    }
});
