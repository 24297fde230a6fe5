//! `sparsevec`: vectors of which most dimensions are zero.
//!
//! Layout (pgvector's): length word, `i32` dimensions, `i32` non-zero elements, `i32` zero, then
//! the ascending zero-based indices and the values.

use super::check;
use super::varlena::{VARLENA_HEADER, Varlena, sql_varlena_type};
use crate::distance::sparse::SparseSlice;
use crate::pg::error::{OrRaise, Problem};
use pgrx::PgSqlErrorCode::*;
use pgrx::{pg_extern, pg_sys};
use std::cmp::Ordering;

const HEADER: usize = VARLENA_HEADER + 12;

/// Most dimensions of a `sparsevec`.
pub const MAX_DIMS: usize = 1_000_000_000;
/// Most elements of a `sparsevec` that are not zero.
pub const MAX_NON_ZEROS: usize = 16_000;

/// A value of type `sparsevec`.
pub struct SparseVec(Varlena);

sql_varlena_type!(SparseVec, "sparsevec");

impl SparseVec {
    fn wrap(varlena: Varlena) -> Self {
        let value = Self(varlena);
        let len = value.0.bytes().len();
        let non_zeros = if len < HEADER { usize::MAX } else { value.field(8) as usize };
        if non_zeros > MAX_NON_ZEROS
            || len != HEADER + 8 * non_zeros
            || !(1..=MAX_DIMS).contains(&value.dims())
        {
            Problem::new(ERRCODE_DATA_CORRUPTED, format!("invalid sparsevec in {len} bytes")).raise();
        }
        value
    }

    /// # Safety
    /// `datum` is a non-null value of this SQL type that outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        // SAFETY: `datum` is a non-null sparsevec that outlives the result, by this function's
        // contract, and a sparsevec is a varlena.
        Self::wrap(unsafe { Varlena::from_datum(datum) })
    }

    pub fn into_datum(self) -> pg_sys::Datum {
        self.0.into_datum()
    }

    /// A vector of `dims` dimensions with `values`, none of them zero, at ascending zero-based
    /// `indices`.
    pub fn new(dims: usize, indices: &[i32], values: &[f32]) -> Result<Self, Problem> {
        check::dims("sparsevec", dims, MAX_DIMS)?;
        if indices.len() > MAX_NON_ZEROS {
            return Err(Problem::new(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("sparsevec cannot have more than {MAX_NON_ZEROS} non-zero elements"),
            ));
        }
        let mut varlena = Varlena::alloc(HEADER + 8 * indices.len());
        let bytes = varlena.bytes_mut();
        bytes[4..8].copy_from_slice(&(dims as i32).to_ne_bytes());
        bytes[8..12].copy_from_slice(&(indices.len() as i32).to_ne_bytes());
        let (index_bytes, value_bytes) = bytes[HEADER..].split_at_mut(4 * indices.len());
        index_bytes.copy_from_slice(bytemuck::cast_slice(indices));
        value_bytes.copy_from_slice(bytemuck::cast_slice(values));
        Ok(Self(varlena))
    }

    fn field(&self, at: usize) -> i32 {
        let bytes = self.0.bytes();
        i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    pub fn dims(&self) -> usize {
        self.field(4).max(0) as usize
    }

    pub fn slice(&self) -> SparseSlice<'_> {
        let (indices, values) = self.0.bytes()[HEADER..].split_at(4 * self.field(8) as usize);
        SparseSlice { indices: bytemuck::cast_slice(indices), values: bytemuck::cast_slice(values) }
    }

    fn pair<'a>(&'a self, other: &'a Self) -> (SparseSlice<'a>, SparseSlice<'a>) {
        check::same_dims("sparsevec", self.dims(), other.dims()).or_raise();
        (self.slice(), other.slice())
    }

    fn norm(&self) -> f64 {
        // From zero: the sum of no numbers would be negative zero.
        self.slice().values.iter().map(|&x| f64::from(x).powi(2)).fold(0.0, |sum, x| sum + x).sqrt()
    }

    fn normalize(&self) -> Self {
        let norm = self.norm();
        let (indices, values): (Vec<i32>, Vec<f32>) = self
            .slice()
            .indices
            .iter()
            .zip(self.slice().values)
            .map(|(&i, &x)| (i, (f64::from(x) / norm) as f32))
            .inspect(|(_, x)| check::overflow(*x).or_raise())
            .filter(|(_, x)| *x != 0.0)
            .unzip();
        Self::new(self.dims(), &indices, &values).or_raise()
    }

    /// Compares as dense vectors do: element by element, then by dimensions.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (self.slice(), other.slice());
        let (mut i, mut j) = (0, 0);
        let common = self.dims().min(other.dims()) as i32;
        loop {
            let a_index = a.indices.get(i).copied().unwrap_or(common).min(common);
            let b_index = b.indices.get(j).copied().unwrap_or(common).min(common);
            let at = a_index.min(b_index);
            if at == common {
                return self.dims().cmp(&other.dims());
            }
            let x = if a_index == at { a.values[i] } else { 0.0 };
            let y = if b_index == at { b.values[j] } else { 0.0 };
            match x.partial_cmp(&y).expect("stored elements are numbers") {
                Ordering::Equal => {}
                order => return order,
            }
            i += usize::from(a_index == at);
            j += usize::from(b_index == at);
        }
    }
}

#[pg_extern(sql = false)]
pub(super) fn sparsevec_l2_distance(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    a.l2_squared(b).sqrt()
}

#[pg_extern(sql = false)]
fn sparsevec_l2_squared_distance(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    a.l2_squared(b)
}

#[pg_extern(sql = false)]
fn sparsevec_inner_product(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    a.dot(b)
}

#[pg_extern(sql = false)]
pub(super) fn sparsevec_negative_inner_product(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    -a.dot(b)
}

#[pg_extern(sql = false)]
pub(super) fn sparsevec_cosine_distance(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    a.cosine(b)
}

#[pg_extern(sql = false)]
pub(super) fn sparsevec_l1_distance(a: SparseVec, b: SparseVec) -> f64 {
    let (a, b) = a.pair(&b);
    a.l1(b)
}

#[pg_extern(sql = false)]
fn sparsevec_l2_norm(a: SparseVec) -> f64 {
    a.norm()
}

#[pg_extern(sql = false)]
fn sparsevec_l2_normalize(a: SparseVec) -> SparseVec {
    a.normalize()
}

super::dense::comparison_functions!(
    SparseVec,
    sparsevec_lt,
    sparsevec_le,
    sparsevec_eq,
    sparsevec_ne,
    sparsevec_ge,
    sparsevec_gt,
    sparsevec_cmp
);
