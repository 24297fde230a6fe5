//! Sealing: rows in memory become a segment with posting lists.

use super::assign::{Assigned, Assigner, CHUNK};
use super::write::{self, RowSource};
use crate::distance::{Arena, Space};
use crate::filter::Table;
use crate::memory;
use crate::pg::progress::{self, Phase};
use crate::segment::lists::codebook::Lists;
use crate::segment::structures::Batch;
use crate::segment::{Entry, Plan, TID_BYTES, Tid, row_layout};
use crate::storage::draft::Draft;
use crate::storage::manifest::Sealed;
use crate::structure::{ListOptions, Rerank};
use std::borrow::Cow;
use std::sync::Arc;

/// Rows on their way into one sealed segment.
///
/// They are assigned to lists and encoded many at a time; what is kept of a row after that is what
/// the segment keeps.
pub struct ListBatch {
    space: Space,
    plan: Plan,
    rerank: Rerank,
    assigner: Assigner,
    tids: Vec<Tid>,
    attributes: Table,
    /// The vectors of rows that were given to the assigner, [`CHUNK`] in each, unless the table's
    /// are used.
    chunks: Vec<Arc<Arena>>,
    /// The vectors of the rows since then.
    recent: Arena,
    assigned: Assigned,
}

impl ListBatch {
    pub fn new(space: Space, plan: Plan, options: ListOptions, lists: Lists) -> Self {
        Self {
            space,
            plan,
            rerank: options.rerank,
            assigner: Assigner::new(space, plan, options, lists),
            tids: Vec::new(),
            attributes: Table::new(plan.columns),
            chunks: Vec::new(),
            recent: Arena::new(space),
            assigned: Assigned::default(),
        }
    }

    /// Gives the recent rows to the assigner.
    fn assign(&mut self) {
        let rows = Arc::new(std::mem::replace(&mut self.recent, Arena::new(self.space)));
        if self.rerank == Rerank::Index {
            self.chunks.push(Arc::clone(&rows));
        }
        self.assigner.assign(rows, &mut self.assigned);
    }
}

impl Batch for ListBatch {
    fn push(&mut self, entry: Entry) -> bool {
        let added = self.recent.push(entry.row);
        if added {
            memory::push(&mut self.tids, entry.tid, "rows of a segment");
            self.attributes.push(entry.attributes);
            if self.recent.rows() as usize >= CHUNK {
                self.assign();
            }
        }
        added
    }

    fn rows(&self) -> usize {
        self.tids.len()
    }

    fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes()).sum::<usize>()
            + self.recent.bytes()
            + self.assigned.bytes()
            + self.attributes.bytes()
            + self.tids.capacity() * (TID_BYTES as usize + write::BYTES_PER_ROW)
    }

    /// Those of the vectors of a chunk of rows that threads have just been given.
    fn pages_ahead(&self) -> u64 {
        match self.space.row_bytes() {
            Some(bytes) if self.rerank == Rerank::Index && self.rows().is_multiple_of(CHUNK) => {
                let layout = row_layout(self.space);
                layout.pages(layout.size(CHUNK as u64, bytes))
            }
            _ => 0,
        }
    }

    fn seal(mut self: Box<Self>, draft: &mut Draft) -> Sealed {
        if self.recent.rows() > 0 {
            self.assign();
        }
        self.assigner.finish(&mut self.assigned);
        if self.plan.show_progress {
            progress::phase(Phase::WriteSegment);
        }
        let lists = self.assigner.lists.clone();
        let format =
            write::Format::new(self.space, self.plan.columns, self.assigner.formats(), self.rerank, &lists);
        let list_of_row = std::mem::take(&mut self.assigned.own.list_of_row);
        let placed =
            list_of_row.iter().zip(0..).map(|(&list, row)| (list, write::RowPlace { source: 0, row }));
        write::write(draft, &format, placed, &mut [*self])
    }
}

impl RowSource for ListBatch {
    fn tid(&mut self, row: u32) -> Tid {
        self.tids[row as usize]
    }

    fn attributes(&mut self, row: u32) -> Vec<u64> {
        self.attributes.row(row as usize).to_vec()
    }

    fn bits(&mut self, row: u32, bytes: usize) -> write::Bits<'_> {
        let (factors, code) = self.assigned.own.bits(row, bytes);
        (factors, Cow::Borrowed(code))
    }

    fn spill_list(&mut self, row: u32) -> Option<u32> {
        self.assigned.second.list_of_row.get(row as usize).copied()
    }

    fn spill_bits(&mut self, row: u32, bytes: usize) -> write::Bits<'_> {
        let (factors, code) = self.assigned.second.bits(row, bytes);
        (factors, Cow::Borrowed(code))
    }

    fn code(&mut self, row: u32, bytes: usize) -> &[u8] {
        self.assigned.code(row, bytes)
    }

    fn fine(&mut self, row: u32, bytes: usize) -> &[u8] {
        self.assigned.fine(row, bytes)
    }

    fn vector(&mut self, row: u32, _bytes: usize) -> &[u8] {
        self.chunks[row as usize / CHUNK].row((row as usize % CHUNK) as u32)
    }
}
