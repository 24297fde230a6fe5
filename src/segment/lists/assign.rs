//! Assigning rows to lists, and encoding them against their centroids.

use crate::cluster::centroids::Centroids;
use crate::codec::encoder::{Encoder, widen};
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::BlockLayout;
use crate::codec::layout::fine::FineLayout;
use crate::codec::quantizer::ListCodes;
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::Rotation;
use crate::distance::{Arena, Space, subtract};
use crate::memory;
use crate::pg::threads::Background;
use crate::segment::Plan;
use crate::segment::lists::codebook::Lists;
use crate::structure::{ListOptions, Quantizer};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How the rows of an index with lists are encoded.
#[derive(Clone)]
pub struct Formats {
    pub codes: ListCodes,
    /// Where the fine codes are to be, if rows get any.
    pub fine: Option<FineLayout>,
}

impl Formats {
    pub fn new(space: Space, quantizer: Quantizer, options: ListOptions) -> Self {
        let codes = ListCodes::new(space, quantizer);
        Self { codes, fine: FineLayout::new(space.dims as usize, options.bits) }
    }

    /// Blocks of single bits, if there are such.
    pub fn blocks(&self) -> Option<BlockLayout> {
        match self.codes {
            ListCodes::Blocks(layout) => Some(layout),
            ListCodes::None | ListCodes::Rows(_) => None,
        }
    }
}

/// Lists of rows, and codes against their centroids.
#[derive(Default)]
pub struct ListedCodes {
    pub list_of_row: Vec<u32>,
    factors: Vec<Factors>,
    codes: Vec<u8>,
}

impl ListedCodes {
    /// Bytes in memory.
    fn bytes(&self) -> usize {
        self.codes.capacity()
            + self.list_of_row.capacity() * size_of::<u32>()
            + self.factors.capacity() * size_of::<Factors>()
    }

    /// A row's code of single bits, which has `bytes` bytes.
    pub fn bits(&self, row: u32, bytes: usize) -> (Factors, &[u8]) {
        (self.factors[row as usize], &self.codes[row as usize * bytes..][..bytes])
    }

    fn push(&mut self, entry: &Placement) {
        memory::push(&mut self.list_of_row, entry.list, CODES);
        memory::push(&mut self.factors, entry.factors, CODES);
        memory::extend(&mut self.codes, &entry.code, CODES);
    }
}

/// Lists and codes of rows, in the order in which the rows came.
#[derive(Default)]
pub struct Assigned {
    pub own: ListedCodes,
    /// The second lists, of all rows or of none (see [`crate::cluster::spill`]).
    pub second: ListedCodes,
    fine: Vec<u8>,
}

impl Assigned {
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.own.bytes() + self.second.bytes() + self.fine.capacity()
    }

    /// A row's code of a byte a dimension, which has `bytes` bytes.
    pub fn code(&self, row: u32, bytes: usize) -> &[u8] {
        &self.own.codes[row as usize * bytes..][..bytes]
    }

    fn extend(&mut self, rows: &[AssignedRow]) {
        for row in rows {
            self.own.push(&row.own);
            row.second.iter().for_each(|second| self.second.push(second));
            memory::extend(&mut self.fine, &row.fine, CODES);
        }
    }

    /// A row's fine code, which has `bytes` bytes.
    pub fn fine(&self, row: u32, bytes: usize) -> &[u8] {
        &self.fine[row as usize * bytes..][..bytes]
    }
}

/// Assigns rows to the lists of one codebook, chunk by chunk, while the main thread fetches the
/// next rows.
pub struct Assigner {
    pub lists: Lists,
    coder: Arc<Coder>,
    background: Background<Vec<AssignedRow>>,
}

/// What assigning and encoding a row takes.
struct Coder {
    space: Space,
    centroids: Arc<Centroids>,
    formats: Formats,
    rotation: Rotation,
    encoder: Option<Encoder>,
}

/// The purpose that errors about memory name.
const CODES: &str = "codes of lists";

/// Rows worth assigning at once.
pub const CHUNK: usize = 1 << 12;

/// A list that a row is in, and its code there.
#[derive(Default)]
struct Placement {
    list: u32,
    factors: Factors,
    code: Vec<u8>,
}

/// A row's lists and its codes.
#[derive(Default)]
struct AssignedRow {
    own: Placement,
    second: Option<Placement>,
    fine: Vec<u8>,
}

impl Assigner {
    pub fn new(space: Space, plan: Plan, options: ListOptions, lists: Lists) -> Self {
        let coder = Coder {
            space,
            centroids: Arc::clone(&lists.centroids),
            formats: Formats::new(space, plan.quantizer, options),
            rotation: Rotation::new(plan.seed, space.dims as usize),
            encoder: Encoder::new(space, plan.seed),
        };
        Self { lists, coder: Arc::new(coder), background: Background::new(plan.threads) }
    }

    pub fn formats(&self) -> Formats {
        self.coder.formats.clone()
    }

    /// Begins to assign rows, on threads; adds those of the call before to `assigned`.
    pub fn assign(&mut self, rows: Arc<Arena>, assigned: &mut Assigned) {
        let coder = Arc::clone(&self.coder);
        let before = self.background.start(move |cancel| {
            let unless_cancelled = |row| match cancel.load(Ordering::Relaxed) {
                true => AssignedRow::default(),
                false => coder.assign(rows.row(row)),
            };
            (0..rows.rows()).into_par_iter().map(unless_cancelled).collect()
        });
        before.iter().for_each(|rows| assigned.extend(rows));
    }

    /// Adds what was assigned last.
    pub fn finish(&mut self, assigned: &mut Assigned) {
        self.background.wait().iter().for_each(|rows| assigned.extend(rows));
    }
}

impl Coder {
    fn assign(&self, row: &[u8]) -> AssignedRow {
        let Self { centroids, formats, .. } = self;
        let vector = widen(self.space, row);
        let rotated = self.rotation.rotate(&subtract(&vector, centroids.shift()));
        let tables = Query::new(&rotated);
        let (list, second) = match formats.blocks() {
            Some(_) => centroids.nearest_two(&vector, &tables),
            None => (centroids.nearest(&vector, &tables), None),
        };
        let mut row =
            AssignedRow { own: Placement { list, ..Placement::default() }, ..AssignedRow::default() };
        if let ListCodes::Rows(code) = &formats.codes {
            row.own.code = code.encode(&vector);
        }
        if let (Some(encoder), Some(layout)) = (&self.encoder, formats.blocks()) {
            let entry = |list| {
                let mut code = vec![0; layout.code_bytes()];
                let factors = encoder.encode(&rotated, centroids.rotated(list), &mut code);
                Placement { list, factors, code }
            };
            row.second = second.map(&entry);
            row.own = entry(list);
            if let Some(layout) = formats.fine {
                row.fine = vec![0; layout.bytes()];
                let code = layout.code_mut(&mut row.fine);
                let factors = encoder.encode_fine(&rotated, centroids.rotated(list), layout.bits(), code);
                layout.put_factors(&mut row.fine, factors);
            }
        }
        row
    }
}
