//! Codes: vectors in a few bits, and estimates of distances from them.
//!
//! The code is RaBitQ (Gao, Long: "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical
//! Error Bound for Approximate Nearest Neighbor Search", SIGMOD 2024). It rotates at random, keeps
//! the signs of the residual to a centre, and corrects the inner product by what the signs lost.
//! Nothing here knows of PostgreSQL.

pub mod encoder;
pub mod fastscan;
pub mod layout;
pub mod quantizer;
pub mod rabitq;
pub mod rabitq4;
pub mod rabitq_multibit;
pub mod rotation;
pub mod rounding;
pub mod scalar;
