//! Reading a sealed segment's graph node by node, without a query: for merging and for checking.

use super::compact::NodeCodes;
use super::links::place_of;
use super::wide::SlotLayout;
use crate::distance::Space;
use crate::graph::packed::Packing;
use crate::pg::relation::Relation;
use crate::search::cost_model::GraphCodes;
use crate::segment::corrupt;
use crate::segment::encoder::Encoder;
use crate::segment::vectors::{Place, Vectors};
use crate::storage::manifest::{GraphParts, Sealed};
use crate::storage::meta::Meta;
use crate::storage::page::Kind;
use crate::storage::part::Part;
use crate::storage::part_reader::PartReader;
use crate::structure::{GraphLayout, GraphOptions, Quantizer, Rerank, Structure};

/// How the nodes of an index's graphs lie.
#[derive(Clone, Copy)]
pub enum NodeLayout {
    /// Without codes.
    Plain,
    /// With their neighbours' codes.
    Wide { base: SlotLayout, upper: SlotLayout },
    /// With codes of their own, whose vectors may be in the table only.
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
        match (quantizer, options.layout) {
            (Quantizer::None, _) => NodeLayout::Plain,
            (Quantizer::Rabitq | Quantizer::Sq8, GraphLayout::Wide) => {
                NodeLayout::Wide { base: SlotLayout::base(space, 2 * m), upper: SlotLayout::upper(space, m) }
            }
            (Quantizer::Rabitq | Quantizer::Sq8, GraphLayout::Compact) => {
                NodeLayout::Compact { codes: NodeCodes::new(space), rerank: options.rerank }
            }
        }
    }

    pub fn of(meta: &Meta) -> Self {
        match meta.structure {
            Structure::Graph(options) => Self::new(meta.space, options, meta.quantizer),
            Structure::Lists(_) => NodeLayout::Plain,
        }
    }

    /// Where the vectors are, if they are in the index.
    pub fn vectors(self, parts: &GraphParts) -> Option<Place<'_>> {
        match self {
            NodeLayout::Compact { rerank: Rerank::Heap, .. } => None,
            NodeLayout::Wide { base, .. } => Some(Place::Slots { part: &parts.base, stride: base.bytes() }),
            NodeLayout::Plain | NodeLayout::Compact { .. } => {
                Some(Place::Rows { part: &parts.vectors, offsets: parts.offsets.as_ref() })
            }
        }
    }
}

/// The codes of a compact graph's nodes.
pub fn codes_of<'a>(relation: Relation, segment: &Sealed, parts: &'a GraphParts) -> &'a Part {
    let codes = parts.node_codes.as_ref();
    codes.unwrap_or_else(|| corrupt(relation, segment, "Its nodes have no codes.".into()))
}

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredGraph<'a> {
    relation: Relation,
    segment: &'a Sealed,
    parts: &'a GraphParts,
    layout: NodeLayout,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    /// The vectors, if they are in the index.
    vectors: Option<Vectors<'a>>,
    /// What nodes' codes are read and understood by, if they have any.
    codes: Option<(PartReader<'a>, NodeCodes, Encoder)>,
}

impl<'a> StoredGraph<'a> {
    pub fn new(relation: Relation, meta: &Meta, segment: &'a Sealed, parts: &'a GraphParts) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        let layout = NodeLayout::of(meta);
        let codes = match layout {
            NodeLayout::Compact { codes, .. } => {
                let reader = part(codes_of(relation, segment, parts), Kind::NodeCodes);
                Encoder::new(meta.space, meta.seed).map(|encoder| (reader, codes, encoder))
            }
            NodeLayout::Plain | NodeLayout::Wide { .. } => None,
        };
        Self {
            relation,
            segment,
            parts,
            layout,
            base: part(&parts.base, Kind::GraphBase),
            upper: part(&parts.upper, Kind::GraphUpper),
            vectors: layout
                .vectors(parts)
                .map(|place| Vectors::new(relation, segment, meta.space.row_bytes(), place)),
            codes,
        }
    }

    /// The highest layer of a node.
    pub fn level(&self, node: u32) -> usize {
        self.parts.layers.iter().take_while(|&&nodes| node < nodes).count()
    }

    /// Whether the vectors are in the index.
    pub fn has_vectors(&self) -> bool {
        self.vectors.is_some()
    }

    /// Calls `visit` with a node's vector, or with what its code stands for where the index has no vectors.
    pub fn vector(&mut self, node: u32, mut visit: impl FnMut(&[u8])) {
        if let Some(vectors) = &mut self.vectors {
            return vectors.for_each(&[node], |_, row| visit(row));
        }
        let decoded = self.codes.as_mut().and_then(|(reader, codes, encoder)| {
            codes.decode(encoder, reader.row(node.into(), codes.bytes()))
        });
        match decoded {
            Some(row) => visit(&row),
            None => corrupt(self.relation, self.segment, format!("The code of node {node} makes no sense.")),
        }
    }

    /// A node's own code, if the nodes have any.
    pub fn code(&mut self, node: u32) -> Option<&[u8]> {
        let (reader, codes, _) = self.codes.as_mut()?;
        Some(reader.row(node.into(), codes.bytes()))
    }

    /// The slot of a node on a layer, as it lies there.
    pub fn slot(&mut self, layer: usize, node: u32) -> &[u8] {
        let (part, index) = match layer {
            0 => (&mut self.base, u64::from(node)),
            _ => {
                let (first, _) = place_of(self.parts, layer);
                (&mut self.upper, u64::from(first) + u64::from(node))
            }
        };
        match self.layout {
            NodeLayout::Wide { base, upper } => {
                part.row(index, if layer == 0 { base.bytes() } else { upper.bytes() })
            }
            NodeLayout::Plain | NodeLayout::Compact { .. } => part.slot(index),
        }
    }

    /// Reads the neighbours of a node on a layer; `None` if they make no sense.
    pub fn try_neighbours(&mut self, layer: usize, node: u32) -> Option<Vec<u32>> {
        let nodes = if layer == 0 { self.parts.nodes } else { self.parts.layers[layer - 1] };
        let (layout, packing) = (self.layout, Packing::new(self.parts.nodes));
        let slot = self.slot(layer, node);
        match layout {
            NodeLayout::Wide { base, upper } => {
                let neighbours = if layer == 0 { base } else { upper }.neighbours(slot)?;
                neighbours.iter().all(|&neighbour| neighbour < nodes).then(|| neighbours.to_vec())
            }
            NodeLayout::Plain | NodeLayout::Compact { .. } => {
                let mut neighbours = Vec::new();
                packing.unpack(slot, nodes, &mut neighbours).map(|()| neighbours)
            }
        }
    }

    /// The neighbours of a node on a layer.
    pub fn neighbours(&mut self, layer: usize, node: u32) -> Vec<u32> {
        self.try_neighbours(layer, node).unwrap_or_else(|| {
            let detail = format!("The neighbours of node {node} on layer {layer} make no sense.");
            corrupt(self.relation, self.segment, detail)
        })
    }
}
