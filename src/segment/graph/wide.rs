//! A wide graph: a node's vector, its neighbours and their codes lie together. So one hop is one
//! read, one exact distance and one pass over the codes.
//!
//! A node's slot: the vector, `u32` number of neighbours, their node numbers, their addends, their
//! multipliers, then the codes in blocks of 32. The centre of the codes is the node's own vector.
//! On upper layers the vector is left out: it is on the base layer.

use crate::codec::encoder::{Encoder, is_near};
use crate::codec::fastscan::{BLOCK, block_bytes, pack};
use crate::codec::rabitq::Query;
use crate::codec::rotation::rotated_dims;
use crate::distance::Space;
use crate::util::scored::Scored;

impl Encoder {
    /// Writes the slot of a node: its row, its rotated vector, and its neighbours' numbers and
    /// rotated vectors.
    pub fn encode_slot<V: AsRef<[f32]>>(
        &self,
        layout: SlotLayout,
        row: &[u8],
        centre: &[f32],
        neighbours: impl Iterator<Item = (u32, V)>,
        slot: &mut [u8],
    ) {
        slot[..layout.vector_bytes].copy_from_slice(&row[..layout.vector_bytes]);
        let code_bytes = self.dims() / 8;
        let mut codes = vec![0; layout.degree * code_bytes];
        let mut count = 0;
        for (i, (number, vector)) in neighbours.take(layout.degree).enumerate() {
            let factors = self.encode(vector.as_ref(), centre, &mut codes[i * code_bytes..][..code_bytes]);
            count = i + 1;
            let mut put = |at: usize, bytes: [u8; 4]| slot[at + 4 * i..][..4].copy_from_slice(&bytes);
            put(layout.numbers(), number.to_ne_bytes());
            put(layout.adds(), factors.add.to_ne_bytes());
            put(layout.rescales(), factors.rescale.to_ne_bytes());
        }
        slot[layout.count()..][..4].copy_from_slice(&(count as u32).to_ne_bytes());
        let blocks = slot[layout.blocks()..].chunks_exact_mut(layout.block_bytes);
        for (block, codes) in blocks.zip(codes[..count * code_bytes].chunks(BLOCK * code_bytes)) {
            let codes: Vec<&[u8]> = codes.chunks_exact(code_bytes).collect();
            block.copy_from_slice(&pack(&codes, self.dims()));
        }
    }
}

/// Where things are in a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotLayout {
    /// 0 where the vector is left out.
    vector_bytes: usize,
    degree: usize,
    block_bytes: usize,
}

impl SlotLayout {
    /// Slots of the base layer, for a space whose rows have one length, and up to `degree`
    /// neighbours.
    pub fn base(space: Space, degree: usize) -> Self {
        Self { vector_bytes: space.row_bytes().unwrap_or(0), ..Self::upper(space, degree) }
    }

    /// Slots of upper layers.
    pub fn upper(space: Space, degree: usize) -> Self {
        Self { vector_bytes: 0, degree, block_bytes: block_bytes(rotated_dims(space.dims as usize)) }
    }

    fn count(self) -> usize {
        self.vector_bytes.next_multiple_of(4)
    }

    fn numbers(self) -> usize {
        self.count() + 4
    }

    fn adds(self) -> usize {
        self.numbers() + 4 * self.degree
    }

    fn rescales(self) -> usize {
        self.adds() + 4 * self.degree
    }

    fn blocks(self) -> usize {
        self.rescales() + 4 * self.degree
    }

    /// Bytes of a slot.
    pub fn bytes(self) -> usize {
        self.blocks() + self.degree.div_ceil(BLOCK) * self.block_bytes
    }

    /// The vector at the head of a slot.
    pub fn vector(self, slot: &[u8]) -> &[u8] {
        slot.get(..self.vector_bytes).unwrap_or_default()
    }

    /// The numbers of the neighbours in a slot; `None` if the slot is invalid.
    pub fn neighbours(self, slot: &[u8]) -> Option<&[u32]> {
        let words = slot.get(self.count()..self.adds())?;
        let (&count, numbers) = bytemuck::try_cast_slice(words).ok()?.split_first()?;
        numbers.get(..count as usize)
    }

    /// Whether a slot equals one that was just encoded, up to rounding of sums, which differs
    /// between processors.
    pub fn equals_up_to_rounding(self, slot: &[u8], encoded: &[u8]) -> bool {
        let (slot, encoded) = (&slot[..self.bytes()], &encoded[..self.bytes()]);
        let factors = self.adds()..self.blocks();
        let numbers = |slot: &[u8]| -> Vec<f32> {
            let (words, _) = slot[factors.clone()].as_chunks::<4>();
            words.iter().map(|&word| f32::from_ne_bytes(word)).collect()
        };
        slot[..factors.start] == encoded[..factors.start]
            && slot[factors.end..] == encoded[factors.end..]
            && numbers(slot).into_iter().zip(numbers(encoded)).all(|(a, b)| is_near(a, b))
    }

    /// Appends to `estimated` the neighbours in a slot with estimated distances, from the node's
    /// own `score`.
    ///
    /// `None` if the slot cannot be one of a graph of `nodes` nodes.
    pub fn estimate(
        self,
        slot: &[u8],
        nodes: u32,
        query: &Query,
        score: f64,
        estimated: &mut Vec<Scored>,
    ) -> Option<()> {
        let slot = slot.get(self.count()..self.bytes())?;
        let (head, blocks) = slot.split_at(self.blocks() - self.count());
        let words: &[u32] = bytemuck::try_cast_slice(head).ok()?;
        let (&count, words) = words.split_first()?;
        let count = count as usize;
        if count > self.degree {
            return None;
        }
        let (numbers, factors) = words.split_at(self.degree);
        let (adds, rescales): (&[f32], &[f32]) = {
            let (adds, rescales) = factors.split_at(self.degree);
            (bytemuck::cast_slice(adds), bytemuck::cast_slice(rescales))
        };
        let blocks = blocks.chunks_exact(self.block_bytes);
        for (first, block) in (0..count).step_by(BLOCK).zip(blocks) {
            let last = (first + BLOCK).min(self.degree);
            let scores = query.estimate(block, &adds[first..last], &rescales[first..last], score);
            let numbers = &numbers[first..last.min(count)];
            if numbers.iter().fold(false, |is_beyond, &node| is_beyond | (node >= nodes)) {
                return None;
            }
            Scored::append(&scores, numbers, estimated);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encoder::CodedQuery;
    use crate::distance::{ElementKind, Metric, PreparedQuery};

    fn row(dims: usize, phase: f32) -> Vec<f32> {
        (0..dims).map(|i| ((i * i) as f32 * 0.017 + phase).sin()).collect()
    }

    #[test]
    fn estimates_of_a_slot_are_near_the_distances() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for (dims, degree, count) in [(100, 32, 20), (768, 32, 32), (300, 80, 70)] {
                let space = Space { kind: ElementKind::F32, metric, dims: dims as u32 };
                let encoder = Encoder::new(space, 3).unwrap();
                let layout = SlotLayout::base(space, degree);
                let rows: Vec<Vec<f32>> = (0..count).map(|i| row(dims, 0.02 * i as f32)).collect();
                let centre = row(dims, 0.5);
                let mut slot = vec![0; layout.bytes()];
                let rotate = |row: &[f32]| encoder.rotate(bytemuck::cast_slice(row));
                let neighbours = rows.iter().zip(0..).map(|(row, n)| (n, rotate(row)));
                let (bytes, rotated) = (bytemuck::cast_slice(&centre), rotate(&centre));
                encoder.encode_slot(layout, bytes, &rotated, neighbours, &mut slot);

                let query_row = row(dims, 1.0);
                let query = PreparedQuery::new(space, bytemuck::cast_slice(&query_row)).unwrap();
                let score = |row: &[f32]| query.score(bytemuck::cast_slice(row)).unwrap();
                let tables = CodedQuery::new(space, 3, bytemuck::cast_slice(&query_row)).tables;
                let mut estimated = Vec::new();
                layout.estimate(&slot, count as u32, &tables, score(&centre), &mut estimated).unwrap();
                assert_eq!(estimated.len(), count);
                let spread = (score(&centre) - score(&rows[0])).abs();
                let deviation = estimated
                    .iter()
                    .map(|c| (f64::from(c.score()) - score(&rows[c.node() as usize])).powi(2))
                    .sum::<f64>()
                    .sqrt()
                    / (count as f64).sqrt();
                assert!(deviation < 0.25 * spread, "{metric:?} {dims}: off by {deviation} of {spread}");
            }
        }
    }

    #[test]
    fn a_damaged_slot_is_refused() {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: 64 };
        let encoder = Encoder::new(space, 3).unwrap();
        let layout = SlotLayout::base(space, 32);
        let mut slot = vec![0; layout.bytes()];
        let vector = row(64, 0.0);
        let bytes: &[u8] = bytemuck::cast_slice(&vector);
        let rotated = encoder.rotate(bytes);
        encoder.encode_slot(layout, bytes, &rotated, [(0, &rotated), (1, &rotated)].into_iter(), &mut slot);
        let tables = CodedQuery::new(space, 3, bytes).tables;
        let estimate = |slot: &[u8], nodes| layout.estimate(slot, nodes, &tables, 0.0, &mut Vec::new());
        assert!(estimate(&slot, 2).is_some());
        assert!(estimate(&slot, 1).is_none(), "a neighbour beyond the nodes");
        assert!(estimate(&slot[..300], 2).is_none(), "cut short");
        assert_eq!(layout.vector(&slot), bytes);
        slot[256..260].copy_from_slice(&33u32.to_ne_bytes());
        assert!(estimate(&slot, 2).is_none(), "more neighbours than the degree");
    }
}
