//! Reading a sealed segment with lists row by row, without a query: for merging and for checking.

use super::assign::{Assigned, Assigner, CHUNK};
use super::write::{Bits, RowSource};
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::BlockLayout;
use crate::codec::layout::spill::SpillBlocks;
use crate::distance::{Arena, Space};
use crate::memory;
use crate::segment::Tid;
use crate::segment::columns::StoredColumns;
use crate::segment::rows::SealedRows;
use crate::storage::part_reader::PartReader;
use crate::storage::parts::{ListParts, Spill};
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::PageKind;
use std::borrow::Cow;
use std::sync::Arc;

/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredLists<'a> {
    pub sealed: SealedRef<'a>,
    pub parts: &'a ListParts,
    rows: SealedRows<'a>,
    columns: StoredColumns<'a>,
    starts: PartReader<'a>,
    codes: Option<PartReader<'a>>,
    fine: Option<PartReader<'a>>,
    vectors: Option<PartReader<'a>>,
    blocks: BlockLayout,
    spill_blocks: SpillBlocks,
    /// Read on demand.
    spill_lists: Option<SpillReader<'a>>,
    /// Lists of its codebook.
    lists: u32,
    /// Lists and codes in place of those in the segment, if they are of another codebook; dead rows
    /// included.
    assigned: Option<Assigned>,
}

/// The entries of a segment's rows in their second lists.
struct SpillReader<'a> {
    codes: PartReader<'a>,
    starts: Vec<u32>,
    entry_of_row: Vec<u32>,
}

/// Whether lists with these starts have each of `entries` entries once.
pub fn add_up(starts: &[u32], entries: u32) -> bool {
    starts.is_sorted() && starts.first() == Some(&0) && starts.last() == Some(&entries)
}

impl<'a> SpillReader<'a> {
    /// Reads the second lists; an error says what is invalid.
    fn read(stored: &StoredLists<'a>, spill: &'a Spill) -> Result<Self, String> {
        let &StoredLists { sealed, spill_blocks: blocks, lists, .. } = stored;
        let starts = sealed.part(&spill.starts, PageKind::SpillStarts).numbers(u64::from(lists) + 1);
        if !add_up(&starts, sealed.rows) {
            return Err("the second lists do not add up".into());
        }
        let mut codes = sealed.part(&spill.codes, PageKind::SpillCodes);
        let mut entry_of_row = memory::filled(u32::MAX, sealed.rows as usize, "rows of lists");
        for first in (0..sealed.rows).step_by(BLOCK) {
            let block = codes.row(u64::from(first) / BLOCK as u64, blocks.bytes());
            let ordinals = blocks.ordinals(block).expect("a row of as many bytes as were asked for");
            for (row, entry) in ordinals.into_iter().zip(first..sealed.rows) {
                match entry_of_row.get_mut(row as usize) {
                    Some(place) if *place == u32::MAX => *place = entry,
                    _ => return Err(format!("entry {entry} of the second lists is of row {row}")),
                }
            }
        }
        Ok(Self { codes, starts, entry_of_row })
    }
}

impl<'a> StoredLists<'a> {
    pub fn new(sealed: SealedRef<'a>, snapshot: &Snapshot) -> Self {
        let parts = sealed.lists();
        let part = |part, kind| sealed.part(part, kind);
        Self {
            sealed,
            parts,
            rows: SealedRows::new(sealed),
            columns: StoredColumns::new(sealed),
            starts: part(&parts.starts, PageKind::ListStarts),
            codes: parts.codes.as_ref().map(|codes| part(codes, PageKind::ListCodes)),
            fine: parts.fine.as_ref().map(|fine| part(fine, PageKind::FineCodes)),
            vectors: parts.vectors.as_ref().map(|vectors| part(vectors, PageKind::Vectors)),
            blocks: BlockLayout::new(snapshot.meta.space.dims as usize),
            spill_blocks: SpillBlocks::new(snapshot.meta.space.dims as usize),
            spill_lists: None,
            lists: snapshot.lists_of(parts),
            assigned: None,
        }
    }

    /// Assigns all rows to the lists of another codebook.
    pub fn reassign(&mut self, assigner: &mut Assigner, space: Space) {
        let bytes = space.row_bytes().unwrap_or_default();
        let mut assigned = Assigned::default();
        for first in (0..self.sealed.rows).step_by(CHUNK) {
            let rows = first..self.sealed.rows.min(first + CHUNK as u32);
            let mut arena = Arena::new(space);
            for row in rows {
                if !arena.push(self.vector(row, bytes)) {
                    let detail = format!("The vector of row {row} is invalid.");
                    self.sealed.corrupt(detail);
                }
            }
            assigner.assign(Arc::new(arena), &mut assigned);
        }
        assigner.finish(&mut assigned);
        self.assigned = Some(assigned);
    }

    /// The lists of all rows, after [`Self::reassign`].
    pub fn assigned_lists(&self) -> &[u32] {
        self.assigned.as_ref().map_or(&[], |assigned| &assigned.own.list_of_row)
    }

    /// Reads the rows' second lists, if they are in two and were not assigned again; an error says
    /// what is invalid.
    pub fn read_spill(&mut self) -> Result<(), String> {
        if let (Some(spill), None, None) = (&self.parts.spill, &self.assigned, &self.spill_lists) {
            self.spill_lists = Some(SpillReader::read(self, spill)?);
        }
        Ok(())
    }

    /// As [`Self::read_spill`], but raises an error if they are invalid.
    fn need_spill(&mut self) {
        let read = self.read_spill();
        read.unwrap_or_else(|text| self.sealed.corrupt(format!("Invalid: {text}.")));
    }

    /// Calls `visit` with every live row and its list.
    pub fn for_each_live(&mut self, mut visit: impl FnMut(u32, u32)) {
        if let Some(assigned) = &self.assigned {
            for (&list, row) in assigned.own.list_of_row.iter().zip(0..) {
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
            if end < first || end > self.sealed.rows {
                let detail = format!("List {list} has invalid rows {first} to {end}.");
                self.sealed.corrupt(detail);
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
            let (factors, code) = assigned.own.bits(row, bytes);
            return (factors, Cow::Borrowed(code));
        }
        let blocks = self.blocks;
        let Some(codes) = &mut self.codes else { self.sealed.corrupt("It has no codes.") };
        let block = codes.row(u64::from(row) / BLOCK as u64, blocks.bytes());
        let (factors, code) = blocks.code(block, row as usize % BLOCK);
        (factors, Cow::Owned(code))
    }

    fn spill_list(&mut self, row: u32) -> Option<u32> {
        self.need_spill();
        if let Some(assigned) = &self.assigned {
            return assigned.second.list_of_row.get(row as usize).copied();
        }
        let second = self.spill_lists.as_ref()?;
        let entry = second.entry_of_row[row as usize];
        Some(second.starts.partition_point(|&start| start <= entry) as u32 - 1)
    }

    fn spill_bits(&mut self, row: u32, bytes: usize) -> Bits<'_> {
        self.need_spill();
        let blocks = self.spill_blocks;
        match (&self.assigned, &mut self.spill_lists) {
            (Some(assigned), _) => {
                let (factors, code) = assigned.second.bits(row, bytes);
                (factors, Cow::Borrowed(code))
            }
            (None, Some(second)) => {
                let entry = second.entry_of_row[row as usize];
                let block = second.codes.row(u64::from(entry) / BLOCK as u64, blocks.bytes());
                let (factors, code) = blocks.code(block, entry as usize % BLOCK);
                (factors, Cow::Owned(code))
            }
            (None, None) => self.sealed.corrupt("It has no second lists."),
        }
    }

    fn code(&mut self, row: u32, bytes: usize) -> &[u8] {
        match (&self.assigned, &mut self.codes) {
            (Some(assigned), _) => assigned.code(row, bytes),
            (None, Some(codes)) => codes.row(row.into(), bytes),
            (None, None) => self.sealed.corrupt("It has no codes."),
        }
    }

    fn fine(&mut self, row: u32, bytes: usize) -> &[u8] {
        match (&self.assigned, &mut self.fine) {
            (Some(assigned), _) => assigned.fine(row, bytes),
            (None, Some(fine)) => fine.row(row.into(), bytes),
            (None, None) => self.sealed.corrupt("It has no fine codes."),
        }
    }

    fn vector(&mut self, row: u32, bytes: usize) -> &[u8] {
        match &mut self.vectors {
            Some(vectors) => vectors.row(row.into(), bytes),
            None => self.sealed.corrupt("It has no vectors."),
        }
    }
}
