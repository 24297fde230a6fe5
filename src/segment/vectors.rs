//! The exact vectors of a sealed segment.

use super::request::HeapRows;
use super::rows::SealedRows;
use crate::distance::PreparedQuery;
use crate::storage::part::{Layout, Part};
use crate::storage::part_reader::PartReader;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;

/// Where a segment keeps its vectors.
pub enum VectorPlace<'a> {
    /// In a part of their own; rows of varying length with their offsets.
    Rows { part: &'a Part, offsets: Option<&'a Part> },
    /// At the head of the graph's slots, which are `stride` bytes apart if they lie on a tape.
    Slots { part: &'a Part, stride: usize },
}

/// Calls `visit` with the position in `rows` and the exact score of rows; `rows` are pairs of a row
/// and the ordinal of its vector, a node's for graphs.
///
/// Where the index has no vectors, `place` is `None`: only live rows that the scan's snapshot sees
/// are then visited.
pub fn compare(
    sealed: SealedRef,
    query: &PreparedQuery,
    place: Option<VectorPlace>,
    rows: &[(u32, u32)],
    heap: &mut HeapRows,
    mut visit: impl FnMut(usize, f64),
) {
    let score = |row: u32, bytes: &[u8]| {
        let invalid = || sealed.corrupt(format!("The vector of row {row} is invalid."));
        query.score(bytes).unwrap_or_else(invalid)
    };
    match place {
        Some(place) => {
            let ordinals: Vec<u32> = rows.iter().map(|&(_, ordinal)| ordinal).collect();
            let mut positions = 0..;
            Vectors::new(sealed, query.row_bytes(), place).for_each(&ordinals, |_, bytes| {
                let position = positions.next().expect("a position for each row");
                visit(position, score(rows[position].0, bytes));
            });
        }
        None => {
            let mut tids = SealedRows::new(sealed);
            for (position, &(row, _)) in rows.iter().enumerate() {
                if let Some(tid) = tids.live_tid(row) {
                    heap(tid, &mut |bytes| visit(position, score(row, bytes)));
                }
            }
        }
    }
}

/// Reads vectors by their ordinals.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct Vectors<'a> {
    sealed: SealedRef<'a>,
    row_bytes: Option<usize>,
    /// Bytes from one vector to the next where they lie on a tape.
    stride: usize,
    vectors: PartReader<'a>,
    offsets: Option<PartReader<'a>>,
}

impl<'a> Vectors<'a> {
    /// `row_bytes` is the length of a row, if all have the same.
    pub fn new(sealed: SealedRef<'a>, row_bytes: Option<usize>, place: VectorPlace<'a>) -> Self {
        let (vectors, offsets, stride) = match place {
            VectorPlace::Rows { part: rows, offsets } => (
                sealed.part(rows, PageKind::Vectors),
                offsets.map(|offsets| sealed.part(offsets, PageKind::Offsets)),
                row_bytes.unwrap_or_default(),
            ),
            VectorPlace::Slots { part: slots, stride } => {
                (sealed.part(slots, PageKind::GraphBase), None, stride)
            }
        };
        Self { sealed, row_bytes, stride, vectors, offsets }
    }

    /// Calls `visit` with each vector, in the order of `nodes`.
    pub fn for_each(&mut self, nodes: &[u32], mut visit: impl FnMut(u32, &[u8])) {
        match (self.vectors.layout(), self.row_bytes) {
            (Layout::Slots { bytes }, Some(len)) if len <= bytes as usize => {
                self.vectors.for_each_slot(nodes, len, visit);
            }
            (Layout::Tape, Some(len)) if len == self.stride => self.vectors.for_each_row(nodes, len, visit),
            _ => nodes.iter().for_each(|&node| visit(node, self.on_tape(node))),
        }
    }

    fn on_tape(&mut self, node: u32) -> &[u8] {
        match (self.vectors.layout(), self.row_bytes) {
            (Layout::Tape, Some(len)) => self.vectors.tape(u64::from(node) * self.stride as u64, len),
            (Layout::Tape, None) => {
                let Some(offsets) = &mut self.offsets else { self.sealed.corrupt("Offsets are missing.") };
                let mut offset = |index: u64| {
                    let slot = offsets.slot(index);
                    u64::from_ne_bytes(slot.try_into().unwrap_or_default())
                };
                let (from, to) = (offset(node.into()), offset(u64::from(node) + 1));
                let len = to.checked_sub(from).filter(|&len| len <= MAX_SPARSE_BYTES);
                let Some(len) = len else {
                    self.sealed
                        .corrupt(format!("The vector of node {node} has invalid bounds {from} to {to}."))
                };
                self.vectors.tape(from, len as usize)
            }
            (layout, len) => self.sealed.corrupt(format!("Rows of {len:?} bytes lie in {layout:?}.")),
        }
    }
}

/// Longest stored sparse row: its count, indices and values.
const MAX_SPARSE_BYTES: u64 = 4 + 8 * crate::types::MAX_NON_ZEROS as u64;
