//! Assigning rows to lists, and encoding them against their centroids.

use super::bytes::ByteLayout;
use super::centroids::Lists;
use super::fine::FineLayout;
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::Rotation;
use crate::distance::{Arena, Space};
use crate::pg::threads;
use crate::segment::Plan;
use crate::segment::block::BlockLayout;
use crate::segment::encoder::{Encoder, widen};
use crate::storage::meta::{ListOptions, Quantizer};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the rows of an index with lists are encoded.
#[derive(Clone, Copy)]
pub struct Formats {
    /// Blocks of single bits, if there are such.
    pub blocks: Option<BlockLayout>,
    /// Where bytes are to be, if rows are encoded so.
    pub bytes: Option<ByteLayout>,
    /// Where the fine codes are to be, if rows get any.
    pub fine: Option<FineLayout>,
}

impl Formats {
    pub fn new(space: Space, quantizer: Quantizer, options: ListOptions) -> Self {
        let dims = space.dims as usize;
        Self {
            blocks: (quantizer == Quantizer::Rabitq).then(|| BlockLayout::new(dims)),
            bytes: (quantizer == Quantizer::Sq8).then(|| ByteLayout::new(space)).flatten(),
            fine: FineLayout::new(dims, options.bits),
        }
    }
}

/// Lists and codes of rows, in the order in which the rows came.
#[derive(Default)]
pub struct Assigned {
    pub list_of_row: Vec<u32>,
    factors: Vec<Factors>,
    codes: Vec<u8>,
    fine: Vec<u8>,
}

impl Assigned {
    pub fn rows(&self) -> usize {
        self.list_of_row.len()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.codes.capacity()
            + self.fine.capacity()
            + self.list_of_row.capacity() * size_of::<u32>()
            + self.factors.capacity() * size_of::<Factors>()
    }

    /// A row's code of single bits, which has `bytes` bytes.
    pub fn bits(&self, row: u32, bytes: usize) -> (Factors, &[u8]) {
        (self.factors[row as usize], &self.codes[row as usize * bytes..][..bytes])
    }

    /// A row's code of a byte a dimension, which has `bytes` bytes.
    pub fn code(&self, row: u32, bytes: usize) -> &[u8] {
        &self.codes[row as usize * bytes..][..bytes]
    }

    /// A row's fine code, which has `bytes` bytes.
    pub fn fine(&self, row: u32, bytes: usize) -> &[u8] {
        &self.fine[row as usize * bytes..][..bytes]
    }
}

/// Assigns rows to the lists of one codebook.
pub struct Assigner {
    space: Space,
    threads: usize,
    pub lists: Lists,
    pub formats: Formats,
    rotation: Rotation,
    encoder: Option<Encoder>,
}

/// Rows worth assigning at once.
pub const CHUNK: usize = 1 << 14;

/// A row's list and its codes.
#[derive(Default)]
struct Row {
    list: u32,
    factors: Factors,
    code: Vec<u8>,
    fine: Vec<u8>,
}

impl Assigner {
    pub fn new(space: Space, plan: Plan, options: ListOptions, lists: Lists) -> Self {
        Self {
            space,
            threads: plan.threads,
            lists,
            formats: Formats::new(space, plan.quantizer, options),
            rotation: Rotation::new(plan.seed, space.dims as usize),
            encoder: match plan.quantizer {
                Quantizer::None | Quantizer::Sq8 => None,
                Quantizer::Rabitq => Encoder::new(space, plan.seed),
            },
        }
    }

    /// Assigns some rows of an arena, on threads.
    pub fn assign(&self, arena: &Arena, rows: Range<usize>, assigned: &mut Assigned) {
        let done: Vec<Row> = {
            let (space, rotation, encoder) = (self.space, &self.rotation, self.encoder.as_ref());
            let (formats, centroids) = (self.formats, &*self.lists.centroids);
            let assign = |row: usize| -> Row {
                let vector = widen(space, arena.row(row as u32));
                let rotated = rotation.rotate(&vector);
                let list = match centroids.count() {
                    1 => 0,
                    _ => centroids.nearest(&vector, &Query::new(&rotated)),
                };
                let mut assigned = Row { list, ..Row::default() };
                if let Some(layout) = formats.bytes {
                    assigned.code = layout.encode(&vector);
                }
                if let (Some(encoder), Some(layout)) = (encoder, formats.blocks) {
                    let centre = centroids.rotated(list);
                    assigned.code = vec![0; layout.code_bytes()];
                    assigned.factors = encoder.encode(&rotated, centre, &mut assigned.code);
                    if let Some(layout) = formats.fine {
                        assigned.fine = vec![0; layout.bytes()];
                        let code = layout.code_mut(&mut assigned.fine);
                        let factors = encoder.encode_fine(&rotated, centre, layout.bits(), code);
                        layout.put_factors(&mut assigned.fine, factors);
                    }
                }
                assigned
            };
            let work = move |cancel: &AtomicBool| {
                let unless_cancelled = |row| match cancel.load(Ordering::Relaxed) {
                    true => Row::default(),
                    false => assign(row),
                };
                rows.into_par_iter().map(unless_cancelled).collect()
            };
            threads::run(self.threads, || {}, work)
        };
        for row in &done {
            assigned.list_of_row.push(row.list);
            assigned.codes.extend_from_slice(&row.code);
            assigned.fine.extend_from_slice(&row.fine);
        }
        if self.encoder.is_some() {
            assigned.factors.extend(done.iter().map(|row| row.factors));
        }
    }
}
