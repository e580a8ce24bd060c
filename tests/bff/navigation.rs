//! Logins by plain navigation, and what a browser must not be made to do.
