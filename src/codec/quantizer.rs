//! What each quantizer makes of the rows of a list.

use crate::codec::layout::RowCode;
use crate::codec::layout::block::BlockLayout;
use crate::codec::layout::bytes::ByteLayout;
use crate::distance::Space;
use crate::structure::Quantizer;
use std::sync::Arc;

/// The codes of rows in lists.
#[derive(Clone)]
pub enum ListCodes {
    /// None: a search compares the rows.
    None,
    /// One bit a dimension against the list's centroid, in blocks of 32 rows.
    Blocks(BlockLayout),
    /// A code for each row by itself.
    Rows(Arc<dyn RowCode>),
}

impl ListCodes {
    /// No codes if vectors of the space cannot be encoded.
    pub fn new(space: Space, quantizer: Quantizer) -> Self {
        match quantizer {
            Quantizer::None => Self::None,
            Quantizer::Rabitq => Self::Blocks(BlockLayout::new(space.dims as usize)),
            Quantizer::Sq8 => ByteLayout::new(space).map_or(Self::None, |code| Self::Rows(Arc::new(code))),
        }
    }
}
