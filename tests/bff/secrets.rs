//! No token, code, verifier, assertion or cookie value where it does not belong.
