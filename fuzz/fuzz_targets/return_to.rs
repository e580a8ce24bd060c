//! Any text as a place to return to: what is accepted stays on the app's origin for a URL parser that
//! thinks like a browser (FAPI2-SP-5.3.3.1-4).
#![no_main]

use fapi_bff::protocol::safe_return_to;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    if let Some(path) = safe_return_to(text) {
        assert!(path.starts_with('/'));
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
        let base = Url::parse("https://app.example:8443/").unwrap();
        assert_eq!(base.join(&path).unwrap().origin(), base.origin());
        // What the browser is sent is origin and path put together.
        let whole = Url::parse(&format!("https://app.example:8443{path}")).unwrap();
        assert_eq!(whole.origin(), base.origin());
    }
});
