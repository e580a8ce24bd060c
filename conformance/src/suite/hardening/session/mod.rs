//! Sessions and their cookies: what a cookie is like, which one counts, how long, and what never shows.

mod cookies;
mod life;
mod secrets;

use crate::suite::module::Module;

pub(super) fn modules() -> Vec<Module> {
    [cookies::modules(), life::modules(), secrets::modules()].into_iter().flatten().collect()
}
