//! The driver and the generator, against a double of the suite's API.

mod double;
mod example;
mod runs;
mod world;
