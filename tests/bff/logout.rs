//! The way out: here, at the AS, and back.
