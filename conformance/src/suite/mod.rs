//! The conformance suite for clients: plans of modules in the shape of the OpenID Foundation's, played
//! by the authorization-server double against a BFF in this process or anywhere. Knows the product
//! only as a browser, an authorization server and an API know it, and by its audit stream.

pub mod client;
pub mod ecosystem;
pub mod evidence;
pub mod exam;
pub mod hardening;
pub mod module;
pub mod mutation;
pub mod oidf;
pub mod plan;
pub mod report;
pub mod requirements;
pub mod runner;
pub mod stage;
pub mod verdict;
pub mod world;
