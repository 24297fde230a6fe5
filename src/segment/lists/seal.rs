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
use crate::segment::encoder::{Encoder, rotate, widen};
use crate::segment::{Plan, TID_BYTES, Tid, row_layout, rows};
use crate::storage::edit::Edit;
use crate::storage::manifest::{ListParts, Parts, Sealed};
use crate::storage::meta::{ListOptions, Quantizer, Rerank};
use crate::storage::page::Kind;
use crate::storage::part::{Layout, Part, PartWriter};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
            let rotated = rotate(rotation, &vector);
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

        let in_order = order.iter().map(|&row| &self.tids[row as usize]);
        let (tids, tombstone_bits) = rows::write(edit, id, rows, in_order, &mut crc);

        let count = starts.len() as u64;
        let mut writer =
            PartWriter::new(edit, Kind::Starts, id, Layout::Slots { bytes: 4 }, count, Some(&mut crc));
        starts.iter().for_each(|start| writer.push(&start.to_ne_bytes()));
        let starts = writer.finish();

        let codes = match self.bytes_layout {
            Some(layout) => {
                Some(write_rows(edit, Kind::Codes, id, layout.bytes(), &self.codes, &order, &mut crc))
            }
            None => self.encoder.is_some().then(|| self.write_codes(edit, id, &order, &mut crc)),
        };
        let fine = self.fine_layout.map(|layout| {
            write_rows(edit, Kind::FineCodes, id, layout.bytes(), &self.fine, &order, &mut crc)
        });
        let vectors = (self.rerank == Rerank::Index).then(|| {
            let layout = row_layout(self.space);
            let count = layout.size(rows.into(), self.space.row_bytes().unwrap_or_default());
            let mut writer = PartWriter::new(edit, Kind::Rows, id, layout, count, Some(&mut crc));
            order.iter().for_each(|&row| writer.push(self.arena.row(row)));
            writer.finish()
        });

        Sealed {
            id,
            level: 0,
            rows,
            tombstones: 0,
            tids,
            tombstone_bits,
            parts: Parts::Lists(ListParts { codebook: self.lists.codebook, starts, codes, fine, vectors }),
            crc: crc.finalize(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }

    fn write_codes(&self, edit: &mut Edit, id: u32, order: &[u32], crc: &mut crc32fast::Hasher) -> Part {
        let layout = Layout::for_rows(Some(self.layout.bytes()));
        let blocks = order.len().div_ceil(BLOCK) as u64;
        let count = layout.size(blocks, self.layout.bytes());
        let mut writer = PartWriter::new(edit, Kind::Codes, id, layout, count, Some(crc));
        let code_bytes = self.layout.code_bytes();
        for rows in order.chunks(BLOCK) {
            let code = |row: u32| {
                let row = row as usize;
                (self.factors[row], &self.codes[row * code_bytes..][..code_bytes])
            };
            let codes: Vec<_> = rows.iter().map(|&row| code(row)).collect();
            writer.push(&self.layout.pack(&codes));
        }
        writer.finish()
    }
}

/// Writes a part of `bytes` bytes a row, in order.
fn write_rows(
    edit: &mut Edit,
    kind: Kind,
    segment: u32,
    bytes: usize,
    rows: &[u8],
    order: &[u32],
    crc: &mut crc32fast::Hasher,
) -> Part {
    let layout = Layout::for_rows(Some(bytes));
    let mut writer =
        PartWriter::new(edit, kind, segment, layout, layout.size(order.len() as u64, bytes), Some(crc));
    order.iter().for_each(|&row| writer.push(&rows[row as usize * bytes..][..bytes]));
    writer.finish()
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
