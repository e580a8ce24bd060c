//! The AS, the API or the store down, slow, lying or broken at each step: typed refusals, nothing lost.
