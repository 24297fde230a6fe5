//! How the nodes of graphs lie.

use super::wide::SlotLayout;
use crate::codec::encoder::CodedQuery;
use crate::distance::Space;
use crate::search::cost_model::GraphCodes;
use crate::segment::graph::node_codes::{NodeCodes, NodeQuery};
use crate::segment::vectors::VectorPlace;
use crate::storage::parts::GraphParts;
use crate::structure::{GraphLayout, GraphOptions, Quantizer, Rerank};

/// How the nodes of an index's graphs lie.
#[derive(Clone, Copy)]
pub enum NodeLayout {
    /// Without codes.
    Plain,
    /// With their neighbours' codes.
    Wide { base: SlotLayout, upper: SlotLayout },
    /// With codes of their own; the vectors may be in the table only.
    Compact { codes: NodeCodes, rerank: Rerank },
}

impl From<NodeLayout> for GraphCodes {
    fn from(layout: NodeLayout) -> Self {
        match layout {
            NodeLayout::Plain => GraphCodes::None,
            NodeLayout::Wide { .. } => GraphCodes::Neighbours,
            NodeLayout::Compact { rerank, .. } => GraphCodes::Own { rerank },
        }
    }
}

impl NodeLayout {
    pub fn new(space: Space, options: GraphOptions, quantizer: Quantizer) -> Self {
        let m = usize::from(options.m);
        match (quantizer.has_codes(), options.layout) {
            (false, _) => NodeLayout::Plain,
            (true, GraphLayout::Wide) => {
                NodeLayout::Wide { base: SlotLayout::base(space, 2 * m), upper: SlotLayout::upper(space, m) }
            }
            (true, GraphLayout::Compact) => {
                NodeLayout::Compact { codes: NodeCodes::new(space), rerank: options.rerank }
            }
        }
    }

    /// Where the vectors are, if they are in the index.
    pub fn vectors(self, parts: &GraphParts) -> Option<VectorPlace<'_>> {
        match self {
            NodeLayout::Compact { rerank: Rerank::Heap, .. } => None,
            NodeLayout::Wide { base, .. } => {
                Some(VectorPlace::Slots { part: &parts.base, stride: base.bytes() })
            }
            NodeLayout::Plain | NodeLayout::Compact { .. } => {
                Some(VectorPlace::Rows { part: &parts.vectors, offsets: parts.offsets.as_ref() })
            }
        }
    }

    /// The query for nodes' own codes, if the layout is compact.
    pub fn node_query(self, space: Space, coded: Option<&CodedQuery>) -> Option<NodeQuery> {
        match self {
            NodeLayout::Compact { .. } => coded.map(|coded| NodeQuery::new(space, coded)),
            NodeLayout::Plain | NodeLayout::Wide { .. } => None,
        }
    }
}
