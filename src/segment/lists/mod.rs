//! Segments with posting lists (IVF): rows are assigned to the [`centroids`] of their index, sealed by [`seal`] in the
//! order of their lists, and searched ([`search`]) list by list, the lists nearest to the query first.

pub mod bytes;
pub mod centroids;
pub mod fine;
pub mod scan;
pub mod seal;
pub mod search;
pub mod train;
