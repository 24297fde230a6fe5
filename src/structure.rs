//! What an index is made of, as its options say.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// How a vector is encoded for search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantizer {
    /// Not at all: a search compares exact vectors.
    None,
    /// RaBitQ, one bit a dimension or more (see [`crate::codec::rabitq`],
    /// [`crate::codec::multibit`] and [`crate::codec::nibble`]).
    Rabitq,
    /// A byte a dimension (see [`crate::codec::scalar`]).
    Sq8,
}

impl Quantizer {
    /// Whether rows in lists have an entry in a second one (see [`crate::cluster::spill`]), if
    /// there are two lists.
    pub fn has_second_lists(self) -> bool {
        self == Quantizer::Rabitq
    }
}

/// Parameters of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphOptions {
    /// Neighbours of a node on upper layers; twice as many on the base layer.
    pub m: u16,
    /// Candidates examined for each new node.
    pub ef_construction: u16,
    /// Where the nodes' codes lie, if they have codes.
    pub layout: GraphLayout,
    pub rerank: Rerank,
}

/// Where a graph's codes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GraphLayout {
    /// The codes of a node's neighbours lie with it: a hop is one read, and each code is there many
    /// times.
    Wide,
    /// Each node's code is there once.
    Compact,
}

/// Parameters of posting lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListOptions {
    /// Lists requested; 0 for as many as suit the rows.
    pub lists: u32,
    /// Bits a dimension of the codes that are looked at before a row is compared exactly.
    pub bits: u8,
    pub rerank: Rerank,
}

/// Most lists of an index.
pub const MAX_LISTS: u32 = 1 << 16;

/// Where the exact vectors are that decide the order of the rows found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rerank {
    /// In the index.
    Index,
    /// In the table: the index is much smaller.
    Heap,
}

/// What sealed segments are searched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Structure {
    Graph(GraphOptions),
    Lists(ListOptions),
}
