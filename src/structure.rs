//! What an index is made of, as its options say.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// How a vector is encoded for search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantizer {
    /// Not at all: a search compares exact vectors.
    None,
    /// RaBitQ, one bit a dimension or more (see [`crate::codec::rabitq`],
    /// [`crate::codec::rabitq_multibit`] and [`crate::codec::rabitq4`]).
    Rabitq,
    /// A byte a dimension (see [`crate::codec::scalar`]).
    Sq8,
}

impl Quantizer {
    /// Those that graphs can have.
    pub const OF_GRAPHS: &[Self] = &[Self::None, Self::Rabitq];

    /// Those that lists can have.
    pub const OF_LISTS: &[Self] = &[Self::None, Self::Rabitq, Self::Sq8];

    /// Whether a search reads codes before it compares exact vectors.
    pub fn has_codes(self) -> bool {
        match self {
            Quantizer::None => false,
            Quantizer::Rabitq | Quantizer::Sq8 => true,
        }
    }

    /// Its name in options and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Quantizer::None => "none",
            Quantizer::Rabitq => "rabitq",
            Quantizer::Sq8 => "sq8",
        }
    }

    /// Whether rows in lists have an entry in a second one (see [`crate::cluster::spill`]), if
    /// there are two lists.
    pub fn has_spill(self) -> bool {
        match self {
            Quantizer::Rabitq => true,
            Quantizer::None | Quantizer::Sq8 => false,
        }
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

impl GraphLayout {
    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            GraphLayout::Wide => "wide",
            GraphLayout::Compact => "compact",
        }
    }
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

/// Most candidates of a graph that a search may look at before its first row.
pub const MAX_EF_SEARCH: u32 = 10_000;

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

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PageKind {
    Meta = 1,
    Manifest = 2,
    Lane = 3,
    GrowingGroups = 4,
    GrowingRows = 5,
    Tids = 6,
    Tombstones = 7,
    Vectors = 8,
    Offsets = 9,
    GraphBase = 10,
    GraphUpper = 11,
    Duplicates = 12,
    ListStarts = 13,
    ListCodes = 14,
    Centroids = 15,
    FineCodes = 16,
    Column = 17,
    RowCodes = 18,
    NodeCodes = 19,
    SpillStarts = 20,
    SpillCodes = 21,
}

impl PageKind {
    /// The part of a segment that such pages make up, in statistics.
    pub fn name(self) -> &'static str {
        match self {
            PageKind::Meta => "meta",
            PageKind::Manifest => "manifest",
            PageKind::Lane | PageKind::GrowingGroups | PageKind::GrowingRows => "lanes",
            PageKind::Tids => "tids",
            PageKind::Tombstones => "tombstones",
            PageKind::Vectors => "vectors",
            PageKind::Offsets => "offsets",
            PageKind::GraphBase => "graph",
            PageKind::GraphUpper => "upper layers",
            PageKind::Duplicates => "duplicates",
            PageKind::ListStarts => "lists",
            PageKind::ListCodes => "codes",
            PageKind::Centroids => "centroids",
            PageKind::FineCodes => "fine codes",
            PageKind::Column => "filter column",
            PageKind::RowCodes => "row codes",
            PageKind::NodeCodes => "node codes",
            PageKind::SpillStarts => "second lists",
            PageKind::SpillCodes => "second codes",
        }
    }
}
