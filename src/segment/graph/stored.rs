//! Reading a sealed segment's graph node by node, without a query: for merging and for checking.

use super::coded::SlotLayout;
use crate::pg::relation::Relation;
use crate::segment::corrupt;
use crate::segment::vectors::{Place, Vectors};
use crate::storage::manifest::{GraphParts, Sealed};
use crate::storage::meta::{Meta, Quantizer, Structure};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredGraph<'a> {
    relation: Relation,
    segment: &'a Sealed,
    parts: &'a GraphParts,
    /// Slots of the base layer and of upper layers, if the nodes have codes.
    slots: Option<(SlotLayout, SlotLayout)>,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    vectors: Vectors<'a>,
}

/// How the nodes of an index's graphs lie, if they have codes: on the base layer, on upper layers.
pub fn slots_of(meta: &Meta) -> Option<(SlotLayout, SlotLayout)> {
    match (meta.structure, meta.quantizer) {
        (Structure::Graph(_), Quantizer::None) | (Structure::Lists(_), _) => None,
        (Structure::Graph(options), Quantizer::Rabitq | Quantizer::Sq8) => {
            let m = usize::from(options.m);
            Some((SlotLayout::base(meta.space, 2 * m), SlotLayout::upper(meta.space, m)))
        }
    }
}

impl<'a> StoredGraph<'a> {
    pub fn new(relation: Relation, meta: &Meta, segment: &'a Sealed, parts: &'a GraphParts) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        let slots = slots_of(meta);
        let place = match slots {
            Some((base, _)) => Place::Slots { part: &parts.base, stride: base.bytes() },
            None => Place::Rows { part: &parts.vectors, offsets: parts.offsets.as_ref() },
        };
        Self {
            relation,
            segment,
            parts,
            slots,
            base: part(&parts.base, Kind::GraphBase),
            upper: part(&parts.upper, Kind::GraphUpper),
            vectors: Vectors::new(relation, segment, meta.space.row_bytes(), place),
        }
    }

    /// The highest layer of a node.
    pub fn level(&self, node: u32) -> usize {
        self.parts.layers.iter().take_while(|&&nodes| node < nodes).count()
    }

    /// Calls `visit` with a node's vector.
    pub fn vector(&mut self, node: u32, mut visit: impl FnMut(&[u8])) {
        self.vectors.for_each(&[node], |_, row| visit(row));
    }

    /// The slot of a node on a layer, as it lies there.
    pub fn slot(&mut self, layer: usize, node: u32) -> &[u8] {
        let (part, index) = match layer {
            0 => (&mut self.base, u64::from(node)),
            _ => {
                let first: u64 = self.parts.layers[..layer - 1].iter().map(|&nodes| u64::from(nodes)).sum();
                (&mut self.upper, first + u64::from(node))
            }
        };
        match self.slots {
            Some((base, upper)) => part.row(index, if layer == 0 { base.bytes() } else { upper.bytes() }),
            None => part.slot(index),
        }
    }

    /// Reads the neighbours of a node on a layer; `None` if they make no sense.
    pub fn try_neighbours(&mut self, layer: usize, node: u32) -> Option<Vec<u32>> {
        let nodes = if layer == 0 { self.parts.nodes } else { self.parts.layers[layer - 1] };
        let slots = self.slots;
        let slot = self.slot(layer, node);
        let words: &[u32] = match slots {
            Some((base, upper)) => if layer == 0 { base } else { upper }.neighbours(slot)?,
            None => {
                let words: &[u32] = bytemuck::try_cast_slice(slot).ok()?;
                let (&count, words) = words.split_first()?;
                words.get(..count as usize)?
            }
        };
        words.iter().all(|&neighbour| neighbour < nodes).then(|| words.to_vec())
    }

    /// The neighbours of a node on a layer.
    pub fn neighbours(&mut self, layer: usize, node: u32) -> Vec<u32> {
        self.try_neighbours(layer, node).unwrap_or_else(|| {
            let detail = format!("The neighbours of node {node} on layer {layer} make no sense.");
            corrupt(self.relation, self.segment, detail)
        })
    }
}
