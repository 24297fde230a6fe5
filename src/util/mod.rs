//! Small tools that know nothing of vectors.

pub mod bits;
pub mod cpu;
pub mod random;
pub mod scored;
