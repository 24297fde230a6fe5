//! Sealing: rows in memory become a segment with posting lists.

use super::bytes::ByteLayout;
use super::centroids::Lists;
use super::fine::FineLayout;
use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::Rotation;
use crate::distance::{Arena, Space};
use crate::pg::progress::{self, Phase};
use crate::pg::threads;
use crate::segment::block::BlockLayout;
use crate::segment::encoder::{Encoder, widen};
use crate::segment::{Plan, TID_BYTES, Tid, rows};
use crate::storage::edit::Edit;
use crate::storage::manifest::{ListParts, Parts, Sealed};
use crate::storage::meta::{ListOptions, Quantizer, Rerank};
use crate::storage::page::Kind;
use crate::storage::part::{Part, write_rows};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows on their way into one sealed segment.
///
/// They are assigned to lists and encoded many at a time; what is kept of a row after that is what the segment keeps.
pub struct Batch {
    space: Space,
    plan: Plan,
    rerank: Rerank,
    lists: Lists,
    rotation: Rotation,
    encoder: Option<Encoder>,
    layout: BlockLayout,
    /// Where bytes are to be, if rows are encoded so.
    bytes_layout: Option<ByteLayout>,
    tids: Vec<Tid>,
    /// The vectors of all rows, or of those that are not assigned yet.
    arena: Arena,
    /// For each assigned row its list, and its code.
    list_of_row: Vec<u32>,
    factors: Vec<Factors>,
    codes: Vec<u8>,
    /// Where the fine codes are to be, if rows get any.
    fine_layout: Option<FineLayout>,
    fine: Vec<u8>,
}

/// Rows assigned at once.
const CHUNK: usize = 1 << 14;

/// A row's place in the lists, and its codes.
#[derive(Default)]
struct Assigned {
    list: u32,
    factors: Factors,
    code: Vec<u8>,
    fine: Vec<u8>,
}

impl Batch {
    pub fn new(space: Space, plan: Plan, options: ListOptions, lists: Lists) -> Self {
        let encoder = match plan.quantizer {
            Quantizer::None | Quantizer::Sq8 => None,
            Quantizer::Rabitq => Encoder::new(space, plan.seed),
        };
        Self {
            space,
            plan,
            rerank: options.rerank,
            lists,
            rotation: Rotation::new(plan.seed, space.dims as usize),
            encoder,
            layout: BlockLayout::new(space.dims as usize),
            bytes_layout: (plan.quantizer == Quantizer::Sq8).then(|| ByteLayout::new(space)).flatten(),
            tids: Vec::new(),
            arena: Arena::new(space),
            list_of_row: Vec::new(),
            factors: Vec::new(),
            codes: Vec::new(),
            fine_layout: FineLayout::new(space.dims as usize, options.bits),
            fine: Vec::new(),
        }
    }

    pub fn rows(&self) -> usize {
        self.tids.len()
    }

    /// Bytes that the rows take, and that ordering them will take.
    pub fn bytes(&self) -> usize {
        let ordinal = size_of::<u32>();
        self.arena.bytes()
            + self.codes.capacity()
            + self.fine.capacity()
            + self.tids.capacity() * (TID_BYTES as usize + ordinal)
            + self.list_of_row.capacity() * ordinal
            + self.factors.capacity() * size_of::<Factors>()
    }

    /// Adds a row; `false` if the bytes are no row of the space.
    pub fn push(&mut self, tid: Tid, row: &[u8]) -> bool {
        let added = self.arena.push(row);
        if added {
            self.tids.push(tid);
            if self.tids.len() - self.list_of_row.len() >= CHUNK {
                self.assign();
            }
        }
        added
    }

    /// Assigns the rows that are not yet, on threads.
    fn assign(&mut self) {
        let kept = match self.rerank {
            Rerank::Index => self.list_of_row.len(),
            Rerank::Heap => 0,
        };
        let new = self.tids.len() - self.list_of_row.len();
        let (space, arena, rotation) = (self.space, &self.arena, &self.rotation);
        let (encoder, centroids) = (self.encoder.as_ref(), &*self.lists.centroids);
        let (layout, fine_layout, bytes_layout) = (self.layout, self.fine_layout, self.bytes_layout);
        let assign = |row: usize| -> Assigned {
            let vector = widen(space, arena.row(row as u32));
            let rotated = rotation.rotate(&vector);
            let list = match centroids.count() {
                1 => 0,
                _ => centroids.nearest(&vector, &Query::new(&rotated)),
            };
            let mut assigned = Assigned { list, ..Assigned::default() };
            if let Some(layout) = bytes_layout {
                assigned.code = layout.encode(&vector);
            }
            if let Some(encoder) = encoder {
                let centre = centroids.rotated(list);
                assigned.code = vec![0; layout.code_bytes()];
                assigned.factors = encoder.encode(&rotated, centre, &mut assigned.code);
                if let Some(layout) = fine_layout {
                    assigned.fine = vec![0; layout.bytes()];
                    let code = layout.code_mut(&mut assigned.fine);
                    let factors = encoder.encode_fine(&rotated, centre, layout.bits(), code);
                    layout.put_factors(&mut assigned.fine, factors);
                }
            }
            assigned
        };
        let rows = kept..kept + new;
        let assigned: Vec<Assigned> = threads::run(
            self.plan.threads,
            || {},
            move |cancel: &AtomicBool| {
                let unless_cancelled = |row| match cancel.load(Ordering::Relaxed) {
                    true => Assigned::default(),
                    false => assign(row),
                };
                rows.into_par_iter().map(unless_cancelled).collect()
            },
        );
        for row in &assigned {
            self.list_of_row.push(row.list);
            self.codes.extend_from_slice(&row.code);
            self.fine.extend_from_slice(&row.fine);
        }
        if self.encoder.is_some() {
            self.factors.extend(assigned.iter().map(|row| row.factors));
        }
        if self.rerank == Rerank::Heap {
            self.arena = Arena::new(self.space);
        }
    }

    /// Writes the segment's pages; the caller adds it to the manifest.
    pub fn seal(mut self, edit: &mut Edit) -> Sealed {
        if self.list_of_row.len() < self.tids.len() {
            self.assign();
        }
        if self.plan.show_progress {
            progress::phase(Phase::WriteSegment);
        }
        let id = edit.new_segment();
        let rows = self.tids.len() as u32;
        let (starts, order) = order_by_list(&self.list_of_row, self.lists.centroids.count());
        let mut crc = crc32fast::Hasher::new();

        let ordered = order.iter().map(|&row| &self.tids[row as usize]);
        let told = rows::write(edit, id, rows, ordered, &mut crc);

        let count = starts.len() as u64;
        let starts = starts.iter().map(|start| start.to_ne_bytes());
        let starts = write_rows(edit, Kind::Starts, id, 4, count, starts, Some(&mut crc));

        let count = u64::from(rows);
        let bytes_codes = self.bytes_layout.map(|layout| {
            let codes = in_order(&self.codes, layout.bytes(), &order);
            write_rows(edit, Kind::Codes, id, layout.bytes(), count, codes, Some(&mut crc))
        });
        let fine = self.fine_layout.map(|layout| {
            let codes = in_order(&self.fine, layout.bytes(), &order);
            write_rows(edit, Kind::FineCodes, id, layout.bytes(), count, codes, Some(&mut crc))
        });
        let vectors = (self.rerank == Rerank::Index).then(|| {
            let bytes = self.space.row_bytes().unwrap_or_default();
            let vectors = order.iter().map(|&row| self.arena.row(row));
            write_rows(edit, Kind::Rows, id, bytes, count, vectors, Some(&mut crc))
        });
        let bits = self.encoder.is_some().then(|| self.write_blocks(edit, id, &order, &mut crc));
        let codes = bytes_codes.or(bits);
        let parts = ListParts { codebook: self.lists.codebook, starts, codes, fine, vectors };
        Sealed::new(id, rows, told, Parts::Lists(parts), crc)
    }

    fn write_blocks(&self, edit: &mut Edit, id: u32, order: &[u32], crc: &mut crc32fast::Hasher) -> Part {
        let code_bytes = self.layout.code_bytes();
        let code = |row: u32| {
            let row = row as usize;
            (self.factors[row], &self.codes[row * code_bytes..][..code_bytes])
        };
        let blocks = order.chunks(BLOCK).map(|rows| {
            let codes: Vec<_> = rows.iter().map(|&row| code(row)).collect();
            self.layout.pack(&codes)
        });
        write_rows(edit, Kind::Codes, id, self.layout.bytes(), blocks.len() as u64, blocks, Some(crc))
    }
}

/// Rows of `bytes` bytes each, in order.
fn in_order<'a>(rows: &'a [u8], bytes: usize, order: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
    order.iter().map(move |&row| &rows[row as usize * bytes..][..bytes])
}

/// The first ordinal of each list, and one more for the end; the rows in the order of their lists.
fn order_by_list(lists: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; count + 1];
    for &list in lists {
        starts[list as usize + 1] += 1;
    }
    for list in 0..count {
        starts[list + 1] += starts[list];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; lists.len()];
    for (row, &list) in lists.iter().enumerate() {
        let at = &mut next[list as usize];
        order[*at as usize] = row as u32;
        *at += 1;
    }
    (starts, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_list() {
        let (starts, order) = order_by_list(&[2, 0, 2, 3, 0], 5);
        assert_eq!(starts, [0, 2, 2, 4, 5, 5]);
        assert_eq!(order, [1, 4, 0, 2, 3]);
    }
}
