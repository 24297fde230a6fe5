//! The heap tuples of a sealed segment's rows, and which of them are dead.

use super::{TID_BYTES, Tid, columns};
use crate::filter::{Bitset, Table};
use crate::storage::draft::Draft;
use crate::storage::manifest::RowParts;
use crate::storage::part::Layout;
use crate::storage::part_reader::PartReader;
use crate::storage::part_writer::PartWriter;
use crate::storage::parts::GraphParts;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;

/// Writes the parts with a new segment's rows. `entries` gives heap tuple and attributes of each
/// row in the order of the ordinals, for `columns` filter columns.
pub fn write(
    draft: &mut Draft,
    columns: usize,
    rows: u32,
    entries: impl Iterator<Item = (Tid, Vec<u64>)>,
) -> RowParts {
    let layout = Layout::Slots { bytes: TID_BYTES };
    let mut writer = PartWriter::new(draft, PageKind::Tids, layout, rows.into());
    let mut table = Table::new(columns);
    for (tid, attributes) in entries {
        writer.push(&tid);
        table.push(&attributes);
    }
    let tids = writer.finish();
    let bytes = u64::from(rows).div_ceil(8);
    let tombstone_bits = PartWriter::new(draft, PageKind::Tombstones, Layout::Tape, bytes).finish();
    RowParts { rows, tids, tombstone_bits, columns: columns::write(draft, columns, &table) }
}

/// Reads heap tuples' addresses by ordinal.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct SealedRows<'a> {
    tids: PartReader<'a>,
    tombstones: PartReader<'a>,
}

impl<'a> SealedRows<'a> {
    pub fn new(sealed: SealedRef<'a>) -> Self {
        Self {
            tids: sealed.part(&sealed.segment().tids, PageKind::Tids),
            tombstones: sealed.part(&sealed.segment().tombstone_bits, PageKind::Tombstones),
        }
    }

    /// The heap tuple of a row, unless the row is dead.
    pub fn live_tid(&mut self, row: u32) -> Option<Tid> {
        (!self.is_dead(row)).then(|| self.tid(row))
    }

    /// Whether a row is dead.
    ///
    /// VACUUM may set the bit meanwhile: whichever value is read, the heap decides visibility.
    pub fn is_dead(&mut self, row: u32) -> bool {
        self.tombstones.tape(u64::from(row / 8), 1)[0] >> (row % 8) & 1 == 1
    }

    /// The heap tuple of a row, dead or alive.
    pub fn tid(&mut self, row: u32) -> Tid {
        let slot = self.tids.slot(row.into());
        slot.get(..TID_BYTES as usize).and_then(|tid| tid.try_into().ok()).unwrap_or_default()
    }
}

/// The rows of a segment that are not dead.
pub fn live(sealed: SealedRef) -> Bitset {
    let mut rows = Bitset::full(sealed.rows as usize);
    let mut tombstones = sealed.part(&sealed.tombstone_bits, PageKind::Tombstones);
    let dead = tombstones.tape(0, (sealed.rows as usize).div_ceil(8));
    for (word, dead) in rows.words_mut().iter_mut().zip(dead.chunks(size_of::<u64>())) {
        let mut bytes = [0; size_of::<u64>()];
        bytes[..dead.len()].copy_from_slice(dead);
        *word &= !u64::from_le_bytes(bytes);
    }
    rows
}

/// Reads the heap tuples' addresses of a graph's nodes.
pub struct NodeRows<'a> {
    rows: SealedRows<'a>,
    count: u32,
    nodes: u32,
    duplicates: PartReader<'a>,
}

impl<'a> NodeRows<'a> {
    pub fn new(sealed: SealedRef<'a>, parts: &'a GraphParts) -> Self {
        Self {
            rows: SealedRows::new(sealed),
            count: sealed.rows,
            nodes: parts.nodes,
            duplicates: sealed.part(&parts.duplicates, PageKind::Duplicates),
        }
    }

    /// Calls `visit` with the ordinal and the heap tuple of every live row of a node.
    pub fn for_each_live(&mut self, node: u32, mut visit: impl FnMut(u32, Tid)) {
        if let Some(tid) = self.rows.live_tid(node) {
            visit(node, tid);
        }
        let (mut low, mut high) = (self.nodes, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.node_of_duplicate(middle) < node {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < self.count && self.node_of_duplicate(low) == node {
            if let Some(tid) = self.rows.live_tid(low) {
                visit(low, tid);
            }
            low += 1;
        }
    }

    /// The heap tuple of a row, unless the row is dead.
    pub fn live_tid(&mut self, row: u32) -> Option<Tid> {
        self.rows.live_tid(row)
    }

    /// The node of a row.
    pub fn node(&mut self, row: u32) -> u32 {
        if row < self.nodes { row } else { self.node_of_duplicate(row) }
    }

    fn node_of_duplicate(&mut self, row: u32) -> u32 {
        let slot = self.duplicates.slot(u64::from(row - self.nodes));
        u32::from_ne_bytes(slot.try_into().unwrap_or_default())
    }
}
