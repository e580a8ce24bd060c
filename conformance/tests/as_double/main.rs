//! The double is a check only if it refuses: a correct client gets through, and each rule broken
//! alone is refused for that rule's reason.

#[cfg(test)]
mod anybody;
#[cfg(test)]
mod authentication;
#[cfg(test)]
mod client;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod conducts;
#[cfg(test)]
mod extensions;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod logout;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod traces;
