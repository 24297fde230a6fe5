//! The neighbours of a graph's nodes, where they lie apart from codes.

use crate::graph::packed::Packing;
use crate::storage::part::Layout;
use crate::storage::part_reader::PartReader;
use crate::storage::parts::GraphParts;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct Links<'a> {
    sealed: SealedRef<'a>,
    parts: &'a GraphParts,
    packing: Packing,
    base: PartReader<'a>,
    base_bytes: usize,
    upper: PartReader<'a>,
}

/// Slot of node 0 on an upper layer, and the number of nodes on that layer.
pub fn place_of(parts: &GraphParts, layer: usize) -> (u32, u32) {
    (parts.layers[..layer - 1].iter().sum(), parts.layers[layer - 1])
}

impl<'a> Links<'a> {
    pub fn new(sealed: SealedRef<'a>, parts: &'a GraphParts) -> Self {
        Self {
            sealed,
            parts,
            packing: Packing::new(parts.nodes),
            base: sealed.part(&parts.base, PageKind::GraphBase),
            base_bytes: match parts.base.layout {
                Layout::Slots { bytes } => bytes as usize,
                Layout::Tape => 0,
            },
            upper: sealed.part(&parts.upper, PageKind::GraphUpper),
        }
    }

    /// Begins to load a node's slot on the base layer.
    pub fn announce(&self, node: u32) {
        self.base.announce(node, self.base_bytes);
    }

    /// Replaces `neighbours` by those of a node on a layer.
    pub fn read(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        let packing = self.packing;
        let mut unpack = |nodes: u32, slot: &[u8]| {
            neighbours.clear();
            packing.unpack(slot, nodes, neighbours).is_some()
        };
        let is_sane = if layer == 0 {
            let (mut is_sane, nodes) = (true, self.parts.nodes);
            self.base
                .read_each_optimistically(&[node], self.base_bytes, |_, slot| is_sane = unpack(nodes, slot));
            // What was read without a pin may be wrong.
            is_sane || unpack(nodes, self.base.slot(node.into()))
        } else {
            let (first, nodes) = place_of(self.parts, layer);
            unpack(nodes, self.upper.slot(u64::from(first) + u64::from(node)))
        };
        if !is_sane {
            self.sealed.corrupt(format!("The neighbours of node {node} on layer {layer} are invalid."))
        }
    }
}
