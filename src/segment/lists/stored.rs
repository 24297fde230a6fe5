//! Reading a sealed segment with lists row by row, without a query: for merging and for checking.

use super::assign::{Assigned, Assigner, CHUNK};
use super::write::{Bits, RowSource};
use crate::codec::fastscan::BLOCK;
use crate::distance::{Arena, Space};
use crate::pg::relation::Relation;
use crate::segment::block::BlockLayout;
use crate::segment::columns::StoredColumns;
use crate::segment::rows::SealedRows;
use crate::segment::{Tid, corrupt};
use crate::storage::manifest::{ListParts, Parts, Sealed, Snapshot};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;
use std::borrow::Cow;

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredLists<'a> {
    relation: Relation,
    pub segment: &'a Sealed,
    pub parts: &'a ListParts,
    rows: SealedRows<'a>,
    columns: StoredColumns<'a>,
    starts: PartReader<'a>,
    codes: Option<PartReader<'a>>,
    fine: Option<PartReader<'a>>,
    vectors: Option<PartReader<'a>>,
    blocks: BlockLayout,
    /// Lists of its codebook.
    lists: u32,
    /// Lists and codes in place of those in the segment, if they are of another codebook; dead rows included.
    assigned: Option<Assigned>,
}

impl<'a> StoredLists<'a> {
    pub fn new(relation: Relation, snapshot: &Snapshot, segment: &'a Sealed) -> Self {
        let Parts::Lists(parts) = &segment.parts else {
            corrupt(relation, segment, "It has a graph, but the index has lists.".into())
        };
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            relation,
            segment,
            parts,
            rows: SealedRows::new(relation, segment),
            columns: StoredColumns::new(relation, segment),
            starts: part(&parts.starts, Kind::Starts),
            codes: parts.codes.as_ref().map(|codes| part(codes, Kind::Codes)),
            fine: parts.fine.as_ref().map(|fine| part(fine, Kind::FineCodes)),
            vectors: parts.vectors.as_ref().map(|vectors| part(vectors, Kind::Rows)),
            blocks: BlockLayout::new(snapshot.meta.space.dims as usize),
            lists: snapshot.lists_of(parts),
            assigned: None,
        }
    }

    /// Assigns all rows to the lists of another codebook.
    pub fn reassign(&mut self, assigner: &Assigner, space: Space) {
        let bytes = space.row_bytes().unwrap_or_default();
        let mut arena = Arena::new(space);
        let mut assigned = Assigned::default();
        for first in (0..self.segment.rows).step_by(CHUNK) {
            let rows = first..self.segment.rows.min(first + CHUNK as u32);
            for row in rows.clone() {
                if !arena.push(self.vector(row, bytes)) {
                    let detail = format!("The vector of row {row} makes no sense.");
                    corrupt(self.relation, self.segment, detail);
                }
            }
            assigner.assign(&arena, 0..rows.len(), &mut assigned);
            arena = Arena::new(space);
        }
        self.assigned = Some(assigned);
    }

    /// The lists of all rows, after [`Self::reassign`].
    pub fn assigned_lists(&self) -> &[u32] {
        self.assigned.as_ref().map_or(&[], |assigned| &assigned.list_of_row)
    }

    /// Calls `visit` with every live row and its list.
    pub fn for_each_live(&mut self, mut visit: impl FnMut(u32, u32)) {
        if let Some(assigned) = &self.assigned {
            for (&list, row) in assigned.list_of_row.iter().zip(0..) {
                if self.rows.live_tid(row).is_some() {
                    visit(list, row);
                }
            }
            return;
        }
        let mut first = 0;
        for list in 0..self.lists {
            let slot = self.starts.slot(u64::from(list) + 1);
            let end = u32::from_ne_bytes(slot.try_into().unwrap_or_default());
            if end < first || end > self.segment.rows {
                let detail = format!("List {list} would be rows {first} to {end}.");
                corrupt(self.relation, self.segment, detail);
            }
            for row in first..end {
                if self.rows.live_tid(row).is_some() {
                    visit(list, row);
                }
            }
            first = end;
        }
    }
}

impl RowSource for StoredLists<'_> {
    fn tid(&mut self, row: u32) -> Tid {
        self.rows.tid(row)
    }

    fn attributes(&mut self, row: u32) -> Vec<u64> {
        self.columns.attributes(row)
    }

    fn bits(&mut self, row: u32, bytes: usize) -> Bits<'_> {
        if let Some(assigned) = &self.assigned {
            let (factors, code) = assigned.bits(row, bytes);
            return (factors, Cow::Borrowed(code));
        }
        let blocks = self.blocks;
        let Some(codes) = &mut self.codes else {
            corrupt(self.relation, self.segment, "It has no codes.".into())
        };
        let block = codes.row(u64::from(row) / BLOCK as u64, blocks.bytes());
        let (factors, code) = blocks.code(block, row as usize % BLOCK);
        (factors, Cow::Owned(code))
    }

    fn code(&mut self, row: u32, bytes: usize) -> &[u8] {
        match (&self.assigned, &mut self.codes) {
            (Some(assigned), _) => assigned.code(row, bytes),
            (None, Some(codes)) => codes.row(row.into(), bytes),
            (None, None) => corrupt(self.relation, self.segment, "It has no codes.".into()),
        }
    }

    fn fine(&mut self, row: u32, bytes: usize) -> &[u8] {
        match (&self.assigned, &mut self.fine) {
            (Some(assigned), _) => assigned.fine(row, bytes),
            (None, Some(fine)) => fine.row(row.into(), bytes),
            (None, None) => corrupt(self.relation, self.segment, "It has no fine codes.".into()),
        }
    }

    fn vector(&mut self, row: u32, bytes: usize) -> &[u8] {
        match &mut self.vectors {
            Some(vectors) => vectors.row(row.into(), bytes),
            None => corrupt(self.relation, self.segment, "It has no vectors.".into()),
        }
    }
}
