//! Owns throw-away certificates for tests.
