//! A score and a number in one word.

use crate::util::cpu::vectorized;

/// The score of a node, in single precision, and its number. A comparison takes one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scored(u64);

impl Scored {
    /// Nothing comes after it.
    pub const FARTHEST: Self = Self(u64::MAX);

    #[inline(always)]
    pub fn new(score: f32, node: u32) -> Self {
        // NaN sorts last, whatever its sign.
        let score = if score.is_nan() { f32::NAN } else { score };
        // The bits of floats are in order once the sign bit is flipped, and all bits of negative
        // ones.
        let bits = score.to_bits();
        let mask = (bits.cast_signed() >> 31).cast_unsigned() | 1 << 31;
        Self(u64::from(bits ^ mask) << 32 | u64::from(node))
    }

    pub fn node(self) -> u32 {
        self.0 as u32
    }

    #[cfg(test)]
    pub fn score(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(ordered ^ if ordered >> 31 == 1 { 1 << 31 } else { u32::MAX })
    }

    /// Appends the first `nodes.len()` of 32 scores, with their nodes, to `ahead`.
    pub fn append(scores: &[f32; 32], nodes: &[u32], ahead: &mut Vec<Self>) {
        match nodes.first_chunk() {
            Some(all) => ahead.extend_from_slice(&pack(scores, all)),
            None => ahead.extend(scores.iter().zip(nodes).map(|(&score, &node)| Self::new(score, node))),
        }
    }
}

vectorized! {
    fn pack(scores: &[f32; 32], nodes: &[u32; 32]) -> [Scored; 32] {
        std::array::from_fn(|i| Scored::new(scores[i], nodes[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_ordered_by_score() {
        assert!(Scored::new(-f32::NAN, 0) > Scored::new(f32::INFINITY, 1));
        let scores = [f32::NEG_INFINITY, -7.5, -0.25, 0.0, 1e-20, 0.5, 3.0, f32::INFINITY];
        let ahead: Vec<Scored> =
            scores.iter().zip((0..8).rev()).map(|(&score, node)| Scored::new(score, node)).collect();
        assert!(ahead.is_sorted_by(|a, b| a < b) && ahead.iter().all(|&ahead| ahead < Scored::FARTHEST));
        assert!(Scored::new(1.0, 3) < Scored::new(1.0, 4));
        assert!(ahead.iter().zip((0..8).rev()).all(|(ahead, node)| ahead.node() == node));
        assert!(ahead.iter().zip(scores).all(|(ahead, score)| ahead.score() == score));
    }

    #[test]
    fn scores_are_packed_with_their_nodes() {
        let scores: [f32; 32] = std::array::from_fn(|i| (i as f32 * 0.7).sin());
        let nodes: Vec<u32> = (0..32).map(|i| i * 1000).collect();
        for count in [0, 1, 31, 32] {
            let mut ahead = vec![Scored::FARTHEST];
            Scored::append(&scores, &nodes[..count], &mut ahead);
            let expected = scores.iter().zip(&nodes[..count]).map(|(&score, &node)| Scored::new(score, node));
            assert!(ahead[1..].iter().copied().eq(expected));
        }
    }
}
