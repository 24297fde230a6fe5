//! Rows of every type that are hard for arithmetic or clustering.

use crate::soak::Random;

/// The row that is far from the others in [`Data::Outlier`].
pub const OUTLIER: usize = 7;

#[derive(Clone, Copy, Debug)]
pub enum Data {
    /// A number of random rows.
    Few(usize),
    Equal,
    TwoValues,
    /// Multiples of one vector, which share one direction.
    Multiples,
    /// The greatest numbers, positive and negative: their squares are infinite.
    Huge,
    /// The least numbers, positive and negative: their squares are zero.
    Tiny,
    /// A large mean and a small deviation.
    Offset,
    /// Rows of every magnitude.
    Magnitudes,
    OneHot,
    /// One row that is far from all others.
    Outlier,
    OneDimension,
    HalfEqual,
    /// Zero vectors, which have no direction; empty if sparse.
    Zeros,
    Ones,
}

pub const DATA: [Data; 16] = [
    Data::Few(0),
    Data::Few(1),
    Data::Few(2),
    Data::Equal,
    Data::TwoValues,
    Data::Multiples,
    Data::Huge,
    Data::Tiny,
    Data::Offset,
    Data::Magnitudes,
    Data::OneHot,
    Data::Outlier,
    Data::OneDimension,
    Data::HalfEqual,
    Data::Zeros,
    Data::Ones,
];

impl Data {
    /// Whether a type has such data: bits have no magnitude, and [`Data::Equal`] covers vectors of
    /// ones.
    pub fn is_of(self, column: &str) -> bool {
        use Data::*;
        match self {
            Ones => column == "bit",
            Multiples | Huge | Tiny | Offset | Magnitudes | Outlier => column != "bit",
            Few(_) | Equal | TwoValues | OneHot | OneDimension | HalfEqual | Zeros => true,
        }
    }

    /// Dimensions of the rows. With more than 16, graphs have codes by default.
    pub fn dims(self, column: &str) -> usize {
        match (self, column) {
            (Data::OneDimension, _) => 1,
            (_, "bit") => 64,
            _ => 24,
        }
    }

    /// A row as text.
    pub fn row(self, column: &str, row: usize, random: &mut Random) -> String {
        let dims = 0..self.dims(column);
        if column == "bit" {
            let bits = dims.map(|dim| if self.bit(row, dim, random) { '1' } else { '0' });
            return bits.collect();
        }
        let extremes = if column == "halfvec" { &HALF } else { &SINGLE };
        let numbers = dims.map(|dim| self.number(extremes, row, dim, noise(random)));
        text(column, &numbers.collect::<Vec<_>>())
    }

    /// The zero vector, with the dimensions of the rows.
    pub fn zero(self, column: &str) -> String {
        text(column, &vec![0.0; self.dims(column)])
    }

    /// A random query, with the dimensions of the rows.
    pub fn query(self, column: &str, random: &mut Random) -> String {
        let like = if let Data::OneDimension = self { self } else { Data::Few(1) };
        like.row(column, 0, random)
    }

    fn number(self, extremes: &Extremes, row: usize, dim: usize, noise: f32) -> f32 {
        let pattern = (dim % 5) as f32 - 1.5;
        match self {
            Data::Few(_) | Data::OneDimension => noise,
            Data::Equal | Data::Ones => 0.5,
            Data::TwoValues if row.is_multiple_of(2) => 0.5,
            Data::TwoValues => pattern,
            Data::Multiples => 0.01 * (row + 1) as f32 * pattern,
            Data::Huge => extremes.huge.copysign(noise),
            Data::Tiny => extremes.tiny.copysign(noise),
            Data::Offset => extremes.mean + extremes.deviation * noise,
            Data::Magnitudes => {
                let (least, greatest) = extremes.exponents;
                10f32.powi(least + row as i32 % (greatest - least + 1)) * noise
            }
            Data::OneHot if row % self.dims("vector") == dim => 1.0,
            Data::OneHot => 0.0,
            Data::Outlier if row == OUTLIER => extremes.outlier,
            Data::Outlier => 0.01 * noise,
            Data::HalfEqual if row.is_multiple_of(2) => 0.5,
            Data::HalfEqual => noise,
            Data::Zeros => 0.0,
        }
    }

    fn bit(self, row: usize, dim: usize, random: &mut Random) -> bool {
        let chance = random.below(2) == 1;
        match self {
            Data::Zeros => false,
            Data::Ones => true,
            Data::Equal => dim.is_multiple_of(3),
            Data::TwoValues => (row + dim).is_multiple_of(2),
            Data::OneHot => row % self.dims("bit") == dim,
            Data::HalfEqual if row.is_multiple_of(2) => dim.is_multiple_of(3),
            _ => chance,
        }
    }
}

/// Numbers as a value of a type.
fn text(column: &str, numbers: &[f32]) -> String {
    if column == "sparsevec" {
        let elements = numbers.iter().zip(1..).filter(|(x, _)| **x != 0.0);
        let elements: Vec<String> = elements.map(|(x, index)| format!("{index}:{x:e}")).collect();
        return format!("{{{}}}/{}", elements.join(","), numbers.len());
    }
    let numbers: Vec<String> = numbers.iter().map(|x| format!("{x:e}")).collect();
    format!("[{}]", numbers.join(","))
}

/// A number between -1 and 1.
fn noise(random: &mut Random) -> f32 {
    const STEPS: i32 = 1 << 23;
    (random.below(2 * STEPS) - STEPS) as f32 / STEPS as f32
}

/// The range of the numbers of a type.
struct Extremes {
    huge: f32,
    tiny: f32,
    outlier: f32,
    mean: f32,
    deviation: f32,
    /// Least and greatest power of ten.
    exponents: (i32, i32),
}

const SINGLE: Extremes = Extremes {
    huge: 1e37,
    // Subnormal.
    tiny: 1e-42,
    // Its square is still finite.
    outlier: 1e19,
    mean: 1e6,
    deviation: 0.1,
    exponents: (-30, 29),
};

const HALF: Extremes = Extremes {
    // The greatest number and the least.
    huge: 65504.0,
    tiny: 6e-8,
    outlier: 65504.0,
    mean: 1e3,
    deviation: 0.5,
    exponents: (-7, 4),
};
