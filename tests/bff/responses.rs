//! Authorization responses and ID tokens that must not be believed, on the wire and by reason.
