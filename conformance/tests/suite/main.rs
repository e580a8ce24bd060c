//! The suite judged by what it must notice: modules made to fail, a target in another process, the
//! command line.

#[cfg(test)]
mod judging;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod target;
