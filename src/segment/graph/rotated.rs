//! The rotated rows of a segment in the making, which codes are computed from.

use crate::cluster::Matrix;
use crate::codec::encoder::{Encoder, widen};
use crate::distance::{Arena, Geometry, Space, padded};
use crate::graph::build::Nodes;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows by their node numbers.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub arena: &'a Arena,
    pub row_of_node: &'a [u32],
}

impl<'a> Rows<'a> {
    pub fn space(self) -> Space {
        self.arena.space()
    }

    pub fn nodes(self) -> u32 {
        self.row_of_node.len() as u32
    }

    pub fn row(self, node: u32) -> &'a [u8] {
        self.arena.row(self.row_of_node[node as usize])
    }

    /// A row's numbers (see [`widen`]).
    pub fn vector(self, node: u32) -> Vec<f32> {
        widen(self.space(), self.row(node))
    }
}

impl Nodes for Rows<'_> {
    fn score(&self, a: u32, b: u32) -> f32 {
        self.arena.score(self.row_of_node[a as usize], self.row_of_node[b as usize])
    }

    fn prefetch(&self, node: u32) {
        self.arena.prefetch(self.row_of_node[node as usize]);
    }
}

/// The rotated vector of every node.
pub struct Rotated<'a> {
    rows: Rows<'a>,
    encoder: &'a Encoder,
    /// All of them, if there is room.
    all: Option<Matrix>,
    /// Their places there, if those are not the nodes' numbers.
    places: Option<Vec<u32>>,
}

impl<'a> Rotated<'a> {
    /// Rotates all rows, on the current rayon pool, if they fit into `room` bytes; otherwise each
    /// on demand.
    ///
    /// Returns early, with an arbitrary result, once `cancel` is set.
    pub fn new(rows: Rows<'a>, encoder: &'a Encoder, room: usize, cancel: &AtomicBool) -> Self {
        const TOGETHER: usize = 64;
        let dims = encoder.dims();
        let numbers = rows.nodes() as usize * dims;
        // Without memory for them, rows are rotated at each access.
        let fits = numbers * size_of::<f32>() <= room;
        let zeros = fits.then(|| bytemuck::allocation::try_zeroed_vec(numbers).ok()).flatten();
        let all = zeros.map(|numbers| {
            let mut all = Matrix { dims, numbers };
            let chunks = all.numbers.par_chunks_mut(dims * TOGETHER).enumerate();
            chunks.filter(|_| !cancel.load(Ordering::Relaxed)).for_each(|(number, chunk)| {
                for (target, node) in chunk.chunks_exact_mut(dims).zip((number * TOGETHER) as u32..) {
                    target.copy_from_slice(&encoder.rotate(rows.row(node)));
                }
            });
            all
        });
        Self { rows, encoder, all, places: None }
    }

    /// The same nodes renumbered: node `i` had the number `old[i]`, and `rows` has the new numbers.
    pub fn renumbered<'b>(self, rows: Rows<'b>, old: Vec<u32>) -> Rotated<'b>
    where
        'a: 'b,
    {
        Rotated { rows, places: Some(old), ..self }
    }

    /// Where a node's vector is among all of them.
    fn place(&self, node: u32) -> usize {
        self.places.as_ref().map_or(node, |places| places[node as usize]) as usize
    }

    pub fn rows(&self) -> Rows<'a> {
        self.rows
    }

    pub fn encoder(&self) -> &'a Encoder {
        self.encoder
    }

    pub fn vector(&self, node: u32) -> Cow<'_, [f32]> {
        match &self.all {
            Some(all) => Cow::Borrowed(all.row(self.place(node))),
            None => Cow::Owned(self.encoder.rotate(self.rows.row(node))),
        }
    }
}

impl Nodes for Rotated<'_> {
    fn score(&self, a: u32, b: u32) -> f32 {
        let Some(all) = &self.all else { return self.rows.score(a, b) };
        let (a, b) = (all.row(self.place(a)), all.row(self.place(b)));
        match self.rows.space().metric.geometry() {
            Geometry::Product => -padded::dot(a, b),
            // The vectors have unit length.
            Geometry::Angle => 1.0 - padded::dot(a, b),
            Geometry::Euclidean => padded::l2_squared(a, b),
        }
    }

    fn prefetch(&self, node: u32) {
        match &self.all {
            Some(all) => crate::util::cpu::prefetch(bytemuck::cast_slice(all.row(self.place(node)))),
            None => self.rows.prefetch(node),
        }
    }
}
