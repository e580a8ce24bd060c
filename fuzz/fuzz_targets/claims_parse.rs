//! Any bytes as claims: what the strict parser accepts must mean the same to serde_json.
#![no_main]

use fapi_bff::jose::Claims;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(claims) = Claims::parse(bytes) {
        for name in claims.as_map().keys() {
            let _ = (claims.string(name), claims.time(name));
        }
        let _ = claims.audience();
        let lenient: serde_json::Value = serde_json::from_slice(bytes).expect("also lenient JSON");
        assert_eq!(serde_json::Value::Object(claims.into_map()), lenient);
    }
});
