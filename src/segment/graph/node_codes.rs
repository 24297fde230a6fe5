//! A compact graph: each node's code is stored once, against the origin, apart from its neighbours'
//! numbers.
//!
//! A node's code: its numbers (see [`crate::codec::layout::row`]), then four bits a dimension.

use crate::codec::encoder::{CodedQuery, Encoder, is_near};
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::Centre;
use crate::codec::layout::row::{self, CODE};
use crate::codec::rabitq::Factors;
use crate::codec::rabitq4::{self, Query};
use crate::codec::rotation::rotated_dims;
use crate::distance::Space;
use crate::segment::row_layout;
use crate::storage::page::PAYLOAD;
use crate::storage::part::Layout;

/// Where things are in a node's code.
#[derive(Clone, Copy, Debug)]
pub struct NodeCodes {
    code_bytes: usize,
}

/// A query as nodes' codes are estimated against it.
#[derive(Clone)]
pub struct NodeQuery {
    query: Query,
}

impl NodeQuery {
    pub fn new(space: Space, coded: &CodedQuery) -> Self {
        let Centre { score, distance } = Centre::origin(space.metric, &coded.vector);
        Self { query: Query::new(&coded.rotated, (score, distance)) }
    }
}

impl NodeCodes {
    pub fn new(space: Space) -> Self {
        Self { code_bytes: rabitq4::code_bytes(rotated_dims(space.dims as usize)) }
    }

    /// Writes the code of a rotated vector.
    pub fn encode(self, encoder: &Encoder, vector: &[f32], bytes: &mut [u8]) {
        let factors = encoder.encode_four_bits(vector, &mut bytes[CODE..]);
        row::put_factors(bytes, factors);
    }

    fn parts(self, bytes: &[u8]) -> Option<(Factors, &[u8])> {
        row::split(bytes, self.bytes())
    }

    /// The row that a code stands for.
    pub fn decode(self, encoder: &Encoder, bytes: &[u8]) -> Option<Vec<u8>> {
        let (factors, code) = self.parts(bytes)?;
        Some(encoder.decode_four_bits(code, factors))
    }

    /// Whether a code equals one that was just computed, up to rounding of sums, which differs
    /// between processors.
    pub fn equals_up_to_rounding(self, bytes: &[u8], encoded: &[u8]) -> bool {
        self.parts(bytes).zip(self.parts(encoded)).is_some_and(|((a, code), (b, again))| {
            code == again
                && is_near(a.add, b.add)
                && is_near(a.rescale, b.rescale)
                && is_near(a.error, b.error)
        })
    }
}

impl CodeLayout for NodeCodes {
    type Query = NodeQuery;
    type Centre = ();
    type Estimate<'a> = (f32, f32);

    fn bytes(self) -> usize {
        CODE + self.code_bytes
    }

    /// The estimated score of a node and how far it may be off; `None` if the bytes are no code.
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        (): Self::Centre,
    ) -> Option<Self::Estimate<'a>> {
        let (factors, code) = self.parts(bytes)?;
        Some(query.query.estimate(code, factors))
    }
}

/// How vectors lie: on a tape across pages where slots would waste more than a tenth of each page.
pub fn vector_layout(space: Space) -> Layout {
    let layout = row_layout(space);
    match layout {
        Layout::Slots { bytes } if PAYLOAD % bytes as usize * 10 > PAYLOAD => Layout::Tape,
        layout => layout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::{ElementKind, Metric, PreparedQuery};

    #[test]
    fn a_code_tells_its_row_and_its_distance_and_nothing_shorter_is_one() {
        let row = |phase: f32| -> Vec<f32> { (0..300).map(|i| (i as f32 * 0.7 + phase).sin()).collect() };
        let (stored, asked_for) = (row(0.0), row(0.4));
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let space = Space { kind: ElementKind::F32, metric, dims: 300 };
            let encoder = Encoder::new(space, 3).expect("an encoder");
            let (layout, bytes) = (NodeCodes::new(space), bytemuck::cast_slice(&stored));
            let mut code = vec![0; layout.bytes()];
            layout.encode(&encoder, &encoder.rotate(bytes), &mut code);
            assert!(layout.equals_up_to_rounding(&code, &code.clone()));

            let query = bytemuck::cast_slice(&asked_for);
            let exact = |row: &[u8]| PreparedQuery::new(space, query).and_then(|query| query.score(row));
            let node_query = NodeQuery::new(space, &CodedQuery::new(space, 3, query));
            let (estimate, error) = layout.estimate(&code, &node_query, ()).expect("a code");
            let score = exact(bytes).expect("a row");
            assert!(
                (f64::from(estimate) - score).abs() <= f64::from(error),
                "{metric:?}: {estimate}, {score}"
            );
            let decoded = layout.decode(&encoder, &code).expect("a code");
            let off = exact(&decoded).expect("a row") - score;
            assert!(off.abs() <= 2.0 * f64::from(error), "{metric:?}: off by {off}");

            assert!(layout.estimate(&code[1..], &node_query, ()).is_none());
            assert!(layout.decode(&encoder, &code[..40]).is_none());
            code[CODE] ^= 1;
            let mut again = vec![0; layout.bytes()];
            layout.encode(&encoder, &encoder.rotate(bytes), &mut again);
            assert!(!layout.equals_up_to_rounding(&code, &again));
        }
    }

    #[test]
    fn vectors_that_waste_pages_lie_on_a_tape() {
        let layout = |dims| vector_layout(Space { kind: ElementKind::F32, metric: Metric::L2, dims });
        assert_eq!(layout(384), Layout::Slots { bytes: 1536 });
        assert_eq!(layout(768), Layout::Tape);
        assert_eq!(layout(2000), Layout::Slots { bytes: 8000 });
    }
}
