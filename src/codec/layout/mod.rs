//! Where codes and the numbers beside them lie in bytes.

pub mod block;
pub mod bytes;
pub mod centroids;
pub mod fine;
pub mod row;
pub mod spill;
