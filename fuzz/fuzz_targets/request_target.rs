//! Any text as a request target: what is accepted is sent as it is, and means one thing only
//! (BFF-6.1.3.6-1/2).
#![no_main]

use fapi_bff::proxy::path::accept_target;
use http::{Uri, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(uri) = text.parse::<Uri>() else { return };
    if let Ok(path) = accept_target(&uri, Version::HTTP_11) {
        let path = path.as_str();
        assert_eq!(path, uri.path());
        assert!(path.starts_with('/') && !path.starts_with("//"));
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
        assert!(!decoded.contains('\\') && !decoded.contains('\0'));
        assert_eq!(decoded.matches('/').count(), path.matches('/').count());
    }
});
