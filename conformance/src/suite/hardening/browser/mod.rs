//! The door for browsers: what proves that the app's own page is calling, and what every answer is like.

mod answers;
mod door;
mod requests;

use crate::suite::module::Module;

/// Every call by script, and one to the API; the last one ends the session there is.
const CALLS: [(&str, &str); 7] = [
    ("POST", "/bff/login/start"),
    ("POST", "/bff/login/end"),
    ("POST", "/bff/refresh"),
    ("GET", "/bff/session"),
    ("GET", "/bff/userinfo"),
    ("GET", "/lab/accounts"),
    ("POST", "/bff/logout"),
];

pub(super) fn modules() -> Vec<Module> {
    [door::modules(), requests::modules(), answers::modules()].into_iter().flatten().collect()
}
