//! Rows on their way to codes: widened, rotated, encoded.

use crate::codec::rabitq::{self, Estimand, Factors, Query};
use crate::codec::rabitq_multibit;
use crate::codec::rabitq4;
use crate::codec::rotation::Rotation;
use crate::distance::{Element, ElementKind, Geometry, Space, subtract};
use half::f16;

/// A code of one bit a dimension and the numbers that go with it.
pub struct Code {
    pub factors: Factors,
    pub bits: Vec<u8>,
}

/// A row's numbers: of unit length under cosine, bits as zeros and ones. Bytes that are misaligned
/// or no whole number of elements give an empty vector. Missing bits are zeros.
///
/// Not for sparse rows.
pub fn widen(space: Space, row: &[u8]) -> Vec<f32> {
    let mut vector: Vec<f32> = match space.kind {
        ElementKind::F16 => {
            let half: &[f16] = bytemuck::try_cast_slice(row).unwrap_or_default();
            half.iter().map(|&x| Element::to_f32(x)).collect()
        }
        ElementKind::Bit => {
            let bit = |i: usize| row.get(i / 8).map_or(0, |byte| byte >> (7 - i % 8) & 1);
            (0..space.dims as usize).map(|i| f32::from(bit(i))).collect()
        }
        ElementKind::F32 | ElementKind::Sparse => bytemuck::try_cast_slice(row).unwrap_or_default().to_vec(),
    };
    if space.metric.geometry() == Geometry::Angle {
        normalize(&mut vector);
    }
    vector
}

/// Scales a vector to unit length. A squared norm outside [`rabitq::ORDINARY`] makes it NaN: no
/// code can estimate the operators' distances, which are in single precision.
fn normalize(vector: &mut [f32]) {
    let squared = f32::dot(vector, vector) as f32;
    let norm = if rabitq::ORDINARY.contains(&squared) { squared.sqrt() } else { f32::NAN };
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// A query prepared for estimates by codes.
#[derive(Clone)]
pub struct CodedQuery {
    /// The query's numbers (see [`widen`]), less the shift if they are for codes of lists.
    pub vector: Vec<f32>,
    pub rotated: Vec<f32>,
    pub tables: Query,
}

impl CodedQuery {
    /// `row` is the stored form of a query, `seed` the index's.
    pub fn new(space: Space, seed: u64, row: &[u8]) -> Self {
        Self::of_vector(seed, widen(space, row))
    }

    /// The query for codes of vectors less `shift`, in an index with this seed; `None` if the shift
    /// is zero.
    pub fn shifted(&self, shift: &[f32], seed: u64) -> Option<Self> {
        let is_shifted = shift.iter().any(|&x| x != 0.0);
        is_shifted.then(|| Self::of_vector(seed, subtract(&self.vector, shift)))
    }

    fn of_vector(seed: u64, vector: Vec<f32>) -> Self {
        let rotated = Rotation::new(seed, vector.len()).rotate(&vector);
        let tables = Query::new(&rotated);
        Self { vector, rotated, tables }
    }
}

/// Whether two numbers beside codes are equal up to rounding, which differs between processors.
/// Numbers of huge or tiny vectors may be infinite or NaN.
pub fn is_near(a: f32, b: f32) -> bool {
    let is_near = (a - b).abs() <= 1e-3 * (a.abs() + b.abs()) + 1e-6;
    is_near || a == b || a.is_nan() && b.is_nan()
}

/// How vectors of a space are rotated and encoded.
pub struct Encoder {
    space: Space,
    rotation: Rotation,
    estimand: Estimand,
}

/// What codes of this space estimate; `None` if its vectors cannot be encoded.
pub fn estimand(space: Space) -> Option<Estimand> {
    let is_dense = match space.kind {
        ElementKind::F32 | ElementKind::F16 => true,
        ElementKind::Sparse | ElementKind::Bit => false,
    };
    (is_dense && space.metric.has_codes()).then(|| match space.metric.geometry() {
        Geometry::Euclidean => Estimand::L2Squared,
        Geometry::Product | Geometry::Angle => Estimand::NegativeInnerProduct,
    })
}

/// Whether there are codes for vectors of this kind under this metric.
pub fn is_supported(space: Space) -> bool {
    estimand(space).is_some()
}

impl Encoder {
    /// `None` if there are no codes for this space.
    pub fn new(space: Space, seed: u64) -> Option<Self> {
        let estimand = estimand(space)?;
        Some(Self { space, rotation: Rotation::new(seed, space.dims as usize), estimand })
    }

    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Dimensions of a rotated vector; a code has as many bits.
    pub fn dims(&self) -> usize {
        self.rotation.dims()
    }

    /// A row's rotated vector (see [`widen`]).
    pub fn rotate(&self, row: &[u8]) -> Vec<f32> {
        self.rotation.rotate(&widen(self.space, row))
    }

    /// Encodes a rotated vector against a rotated centre (see [`rabitq::encode`]).
    pub fn encode(&self, vector: &[f32], centre: &[f32], code: &mut [u8]) -> Factors {
        rabitq::encode(vector, centre, self.estimand, code)
    }

    /// Encodes with several bits a dimension (see [`rabitq_multibit::encode`]).
    pub fn encode_fine(&self, vector: &[f32], centre: &[f32], bits: usize, code: &mut [u8]) -> Factors {
        rabitq_multibit::encode(vector, centre, self.estimand, bits, code)
    }

    /// Encodes with four bits a dimension against the origin (see [`rabitq4::encode`]).
    pub fn encode_four_bits(&self, vector: &[f32], code: &mut [u8]) -> Factors {
        rabitq4::encode(vector, self.estimand, code)
    }

    /// The row that a code of four bits a dimension stands for; under cosine its length is
    /// arbitrary.
    pub fn decode_four_bits(&self, code: &[u8], factors: Factors) -> Vec<u8> {
        let mut vector = rabitq4::decode(code, factors, self.estimand);
        self.rotation.undo(&mut vector);
        vector.truncate(self.space.dims as usize);
        match self.space.kind {
            ElementKind::F16 => {
                let halves: Vec<f16> = vector.into_iter().map(f16::from_f32).collect();
                bytemuck::cast_slice(&halves).to_vec()
            }
            ElementKind::F32 | ElementKind::Sparse | ElementKind::Bit => {
                bytemuck::cast_slice(&vector).to_vec()
            }
        }
    }

    /// A rotated vector's code against the origin.
    pub fn encode_vector(&self, vector: &[f32]) -> Code {
        let mut bits = vec![0; self.dims() / 8];
        let factors = self.encode(vector, &vec![0.0; self.dims()], &mut bits);
        Code { factors, bits }
    }

    /// A row's code against the origin.
    pub fn encode_row(&self, row: &[u8]) -> Code {
        self.encode_vector(&self.rotate(row))
    }
}
