//! The neighbours of a graph's nodes, where they lie apart from codes.

use crate::pg::relation::Relation;
use crate::segment::corrupt;
use crate::storage::manifest::{GraphParts, Sealed};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct Links<'a> {
    relation: Relation,
    segment: &'a Sealed,
    parts: &'a GraphParts,
    base: PartReader<'a>,
    upper: PartReader<'a>,
}

/// Slot of node 0 on an upper layer, and the nodes of that layer.
pub fn place_of(parts: &GraphParts, layer: usize) -> (u32, u32) {
    (parts.layers[..layer - 1].iter().sum(), parts.layers[layer - 1])
}

impl<'a> Links<'a> {
    pub fn new(relation: Relation, segment: &'a Sealed, parts: &'a GraphParts) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            relation,
            segment,
            parts,
            base: part(&parts.base, Kind::GraphBase),
            upper: part(&parts.upper, Kind::GraphUpper),
        }
    }

    /// Replaces `neighbours` by those of a node on a layer.
    pub fn read(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        let (slot, nodes) = if layer == 0 {
            (self.base.slot(node.into()), self.parts.nodes)
        } else {
            let (first, nodes) = place_of(self.parts, layer);
            (self.upper.slot(u64::from(first) + u64::from(node)), nodes)
        };
        let numbers: &[u32] = bytemuck::try_cast_slice(slot).unwrap_or_default();
        let list = numbers.split_first().and_then(|(&count, rest)| rest.get(..count as usize));
        match list {
            Some(list) if list.iter().all(|&neighbour| neighbour < nodes) => {
                neighbours.clear();
                neighbours.extend_from_slice(list);
            }
            _ => corrupt(
                self.relation,
                self.segment,
                format!("The neighbours of node {node} on layer {layer} make no sense."),
            ),
        }
    }
}
