//! Segments: rows that belong together, growing until they are sealed with a graph.
//!
//! [`growing`] takes inserts; [`flush`] freezes it and has [`seal`] build a graph over its rows; [`sealed`] reads the
//! result, [`coded`] being its neighbours' codes; [`search`] merges the answers of all segments; [`vacuum`] marks dead rows in any of them.

pub mod coded;
pub mod empty;
pub mod flush;
pub mod growing;
pub mod seal;
pub mod sealed;
pub mod search;
pub mod vacuum;

use crate::distance::Space;
use crate::storage::part::Layout;

/// A heap tuple's address as PostgreSQL stores it.
pub type Tid = [u8; 6];

/// Bytes of a [`Tid`].
pub const TID_BYTES: u32 = 6;

/// How rows of a space lie on pages.
pub fn row_layout(space: Space) -> Layout {
    Layout::for_rows(space.row_bytes())
}
