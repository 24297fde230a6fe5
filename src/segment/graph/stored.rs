//! Reading a sealed segment's graph node by node, without a query: for merging and for checking.

use super::layout::NodeLayout;
use super::links::place_of;
use crate::codec::encoder::Encoder;
use crate::codec::layout::CodeLayout;
use crate::graph::packed::Packing;
use crate::segment::graph::node_codes::NodeCodes;
use crate::segment::vectors::Vectors;
use crate::storage::meta::Meta;
use crate::storage::part::Part;
use crate::storage::part_reader::PartReader;
use crate::storage::parts::GraphParts;
use crate::storage::sealed::SealedRef;
use crate::structure::GraphOptions;
use crate::structure::PageKind;

/// The codes of a compact graph's nodes.
pub fn codes_of<'a>(sealed: SealedRef, parts: &'a GraphParts) -> &'a Part {
    let codes = parts.node_codes.as_ref();
    codes.unwrap_or_else(|| sealed.corrupt("Its nodes have no codes."))
}

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredGraph<'a> {
    sealed: SealedRef<'a>,
    parts: &'a GraphParts,
    layout: NodeLayout,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    /// The vectors, if they are in the index.
    vectors: Option<Vectors<'a>>,
    /// Reader, layout and encoder of the nodes' codes, if they have any.
    codes: Option<(PartReader<'a>, NodeCodes, Encoder)>,
}

impl<'a> StoredGraph<'a> {
    pub fn new(sealed: SealedRef<'a>, meta: &Meta, options: GraphOptions) -> Self {
        let parts = sealed.graph();
        let layout = NodeLayout::new(meta.space, options, meta.quantizer);
        let codes = match layout {
            NodeLayout::Compact { codes, .. } => {
                let reader = sealed.part(codes_of(sealed, parts), PageKind::NodeCodes);
                Encoder::new(meta.space, meta.seed).map(|encoder| (reader, codes, encoder))
            }
            NodeLayout::Plain | NodeLayout::Wide { .. } => None,
        };
        Self {
            sealed,
            parts,
            layout,
            base: sealed.part(&parts.base, PageKind::GraphBase),
            upper: sealed.part(&parts.upper, PageKind::GraphUpper),
            vectors: layout.vectors(parts).map(|place| Vectors::new(sealed, meta.space.row_bytes(), place)),
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

    /// Calls `visit` with a node's vector, or with what its code stands for where the index has no
    /// vectors.
    pub fn vector(&mut self, node: u32, mut visit: impl FnMut(&[u8])) {
        if let Some(vectors) = &mut self.vectors {
            return vectors.for_each(&[node], |_, row| visit(row));
        }
        let decoded = self.codes.as_mut().and_then(|(reader, codes, encoder)| {
            codes.decode(encoder, reader.row(node.into(), codes.bytes()))
        });
        match decoded {
            Some(row) => visit(&row),
            None => self.sealed.corrupt(format!("The code of node {node} is invalid.")),
        }
    }

    /// A node's own code, if the nodes have any.
    pub fn code(&mut self, node: u32) -> Option<&[u8]> {
        let (reader, codes, _) = self.codes.as_mut()?;
        Some(reader.row(node.into(), codes.bytes()))
    }

    /// The bytes of a node's slot on a layer.
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

    /// Reads the neighbours of a node on a layer; `None` if they are invalid.
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
            self.sealed.corrupt(format!("The neighbours of node {node} on layer {layer} are invalid."))
        })
    }
}
