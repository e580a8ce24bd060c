//! The door: who is let in, by which headers, to which paths.
