//! `vector` and `halfvec`: dense vectors of single and of half precision.
//!
//! Layout (pgvector's): length word, `u16` dimensions, `u16` zero, then the elements.

use super::check;
use super::varlena::{VARLENA_HEADER, Varlena, sql_varlena_type};
use crate::distance::Element;
use crate::pg::error::{OrRaise, Problem};
use half::f16;
use pgrx::PgSqlErrorCode::ERRCODE_DATA_CORRUPTED;
use pgrx::{pg_extern, pg_sys};
use std::cmp::Ordering;
use std::marker::PhantomData;

/// Length word, dimensions, unused.
const HEADER: usize = VARLENA_HEADER + 4;

/// Most dimensions of a `vector` or `halfvec`.
pub const MAX_DIMS: usize = 16_000;

/// An element of one of the dense SQL types.
pub trait DenseElement: Element {
    const TYPE_NAME: &'static str;
}

impl DenseElement for f32 {
    const TYPE_NAME: &'static str = "vector";
}

impl DenseElement for f16 {
    const TYPE_NAME: &'static str = "halfvec";
}

/// A value of type `vector` (`E = f32`) or `halfvec` (`E = f16`).
pub struct Dense<E> {
    varlena: Varlena,
    element: PhantomData<E>,
}

pub type Vector = Dense<f32>;
pub type HalfVec = Dense<f16>;

sql_varlena_type!(Vector, "vector");
sql_varlena_type!(HalfVec, "halfvec");

impl<E: DenseElement> Dense<E> {
    /// Takes over a stored value; raises an error if its length and dimensions disagree.
    pub fn wrap(varlena: Varlena) -> Self {
        let bytes = varlena.bytes();
        let dims = bytes.get(4..6).map_or(0, |b| usize::from(u16::from_ne_bytes([b[0], b[1]])));
        if dims == 0 || dims > MAX_DIMS || bytes.len() != HEADER + dims * size_of::<E>() {
            let len = bytes.len();
            Problem::new(
                ERRCODE_DATA_CORRUPTED,
                format!("invalid {} of {dims} dimensions in {len} bytes", E::TYPE_NAME),
            )
            .raise();
        }
        Self { varlena, element: PhantomData }
    }

    /// # Safety
    /// `datum` is a non-null value of this SQL type that outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        // SAFETY: `datum` is a non-null value of this type that outlives the result, by this
        // function's contract, and the type is a varlena.
        Self::wrap(unsafe { Varlena::from_datum(datum) })
    }

    pub fn into_datum(self) -> pg_sys::Datum {
        self.varlena.into_datum()
    }

    /// A new value with the dimensions of `elements`; raises an error if the type does not allow
    /// their number.
    pub fn collect(elements: impl ExactSizeIterator<Item = E>) -> Self {
        let dims = elements.len();
        check::dims(E::TYPE_NAME, dims, MAX_DIMS).or_raise();
        let mut varlena = Varlena::alloc(HEADER + dims * size_of::<E>());
        let bytes = varlena.bytes_mut();
        bytes[4..6].copy_from_slice(&(dims as u16).to_ne_bytes());
        for (slot, element) in bytemuck::cast_slice_mut(&mut bytes[HEADER..]).iter_mut().zip(elements) {
            *slot = element;
        }
        Self { varlena, element: PhantomData }
    }

    /// Rounds numbers to the element type; raises an error if one is not finite then.
    pub fn from_f32(numbers: &[f32]) -> Self {
        check::dims(E::TYPE_NAME, numbers.len(), MAX_DIMS).or_raise();
        Self::collect(numbers.iter().map(|&x| {
            let element = E::from_f32(x);
            check::finite(E::TYPE_NAME, x).or_raise();
            if element.to_f32().is_infinite() {
                Problem::new(
                    pgrx::PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("\"{x}\" is out of range for type {}", E::TYPE_NAME),
                )
                .raise();
            }
            element
        }))
    }

    pub fn elements(&self) -> &[E] {
        bytemuck::cast_slice(&self.varlena.bytes()[HEADER..])
    }

    pub fn dims(&self) -> usize {
        self.elements().len()
    }

    /// The elements of two vectors, which must have equally many dimensions.
    fn pair<'a>(&'a self, other: &'a Self) -> (&'a [E], &'a [E]) {
        check::same_dims(E::TYPE_NAME, self.dims(), other.dims()).or_raise();
        (self.elements(), other.elements())
    }

    fn zip_with(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let (a, b) = self.pair(other);
        Self::collect(a.iter().zip(b).map(|(x, y)| {
            let element = E::from_f32(f(x.to_f32(), y.to_f32()));
            check::overflow(element.to_f32()).or_raise();
            element
        }))
    }

    fn multiply(&self, other: &Self) -> Self {
        let (a, b) = self.pair(other);
        Self::collect(a.iter().zip(b).map(|(x, y)| {
            let (x, y) = (x.to_f32(), y.to_f32());
            let element = E::from_f32(x * y);
            check::overflow(element.to_f32()).or_raise();
            check::underflow(element.to_f32(), x, y).or_raise();
            element
        }))
    }

    /// Euclidean norm, accumulated in double precision.
    fn norm(&self) -> f64 {
        self.elements().iter().map(|x| f64::from(x.to_f32()).powi(2)).sum::<f64>().sqrt()
    }

    /// The vector of length one in the same direction; a zero vector stays as it is.
    fn normalize(&self) -> Self {
        let norm = self.norm();
        Self::collect(self.elements().iter().map(|x| {
            let scaled = if norm > 0.0 { (f64::from(x.to_f32()) / norm) as f32 } else { 0.0 };
            let element = E::from_f32(scaled);
            check::overflow(element.to_f32()).or_raise();
            element
        }))
    }

    /// At most `count` dimensions from `start` (one-based) on, cut to those that exist.
    fn subvector(&self, start: i32, count: i32) -> Self {
        let dims = self.dims() as i64;
        let end = (i64::from(start) + i64::from(count.max(0))).min(dims + 1);
        let start = i64::from(start).max(1);
        let len = if count < 1 || start > dims { 0 } else { (end - start).max(0) };
        check::dims(E::TYPE_NAME, len as usize, MAX_DIMS).or_raise();
        let from = (start - 1) as usize;
        Self::collect(self.elements()[from..from + len as usize].iter().copied())
    }

    /// Compares element by element; if one vector begins with the other, the shorter comes first.
    pub fn compare(&self, other: &Self) -> Ordering {
        let pairs = self.elements().iter().zip(other.elements());
        pairs
            .map(|(x, y)| x.to_f32().partial_cmp(&y.to_f32()).expect("stored elements are numbers"))
            .find(|order| order.is_ne())
            .unwrap_or(self.dims().cmp(&other.dims()))
    }
}

/// The functions of one dense type; the names are the C symbols that `sql/` binds.
macro_rules! dense_functions {
    ($type:ty, $element:ty, {
        $l2:ident, $l2_squared:ident, $inner:ident, $negative_inner:ident, $cosine:ident, $spherical:ident, $l1:ident,
        $dims:ident, $norm:ident, $normalize:ident, $add:ident, $sub:ident, $mul:ident, $concat:ident,
        $quantize:ident, $subvector:ident,
        $lt:ident, $le:ident, $eq:ident, $ne:ident, $ge:ident, $gt:ident, $cmp:ident
    }) => {
        #[pg_extern(sql = false)]
        pub(super) fn $l2(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::l2_squared(a, b).sqrt()
        }

        #[pg_extern(sql = false)]
        fn $l2_squared(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::l2_squared(a, b)
        }

        #[pg_extern(sql = false)]
        fn $inner(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::dot(a, b)
        }

        #[pg_extern(sql = false)]
        pub(super) fn $negative_inner(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            -<$element>::dot(a, b)
        }

        #[pg_extern(sql = false)]
        pub(super) fn $cosine(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::cosine(a, b)
        }

        /// The angle between two vectors of unit length, as a share of half a turn.
        #[pg_extern(sql = false)]
        fn $spherical(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::dot(a, b).clamp(-1.0, 1.0).acos() / std::f64::consts::PI
        }

        #[pg_extern(sql = false)]
        pub(super) fn $l1(a: $type, b: $type) -> f64 {
            let (a, b) = a.pair(&b);
            <$element>::l1(a, b)
        }

        #[pg_extern(sql = false)]
        fn $dims(a: $type) -> i32 {
            a.dims() as i32
        }

        #[pg_extern(sql = false)]
        fn $norm(a: $type) -> f64 {
            a.norm()
        }

        #[pg_extern(sql = false)]
        fn $normalize(a: $type) -> $type {
            a.normalize()
        }

        #[pg_extern(sql = false)]
        fn $add(a: $type, b: $type) -> $type {
            a.zip_with(&b, |x, y| x + y)
        }

        #[pg_extern(sql = false)]
        fn $sub(a: $type, b: $type) -> $type {
            a.zip_with(&b, |x, y| x - y)
        }

        #[pg_extern(sql = false)]
        fn $mul(a: $type, b: $type) -> $type {
            a.multiply(&b)
        }

        #[pg_extern(sql = false)]
        fn $concat(a: $type, b: $type) -> $type {
            let elements: Vec<_> = a.elements().iter().chain(b.elements()).copied().collect();
            <$type>::collect(elements.into_iter())
        }

        #[pg_extern(sql = false)]
        fn $quantize(a: $type) -> super::Bits {
            super::Bits::collect(a.elements().iter().map(|x| x.to_f32() > 0.0))
        }

        #[pg_extern(sql = false)]
        fn $subvector(a: $type, start: i32, count: i32) -> $type {
            a.subvector(start, count)
        }

        super::dense::comparison_functions!($type, $lt, $le, $eq, $ne, $ge, $gt, $cmp);
    };
}

/// The comparison operators of a type with a `compare` method.
macro_rules! comparison_functions {
    ($type:ty, $lt:ident, $le:ident, $eq:ident, $ne:ident, $ge:ident, $gt:ident, $cmp:ident) => {
        #[pgrx::pg_extern(sql = false)]
        fn $lt(a: $type, b: $type) -> bool {
            a.compare(&b).is_lt()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $le(a: $type, b: $type) -> bool {
            a.compare(&b).is_le()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $eq(a: $type, b: $type) -> bool {
            a.compare(&b).is_eq()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $ne(a: $type, b: $type) -> bool {
            a.compare(&b).is_ne()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $ge(a: $type, b: $type) -> bool {
            a.compare(&b).is_ge()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $gt(a: $type, b: $type) -> bool {
            a.compare(&b).is_gt()
        }

        #[pgrx::pg_extern(sql = false)]
        fn $cmp(a: $type, b: $type) -> i32 {
            a.compare(&b) as i32
        }
    };
}
pub(super) use comparison_functions;

dense_functions!(Vector, f32, {
    vector_l2_distance, vector_l2_squared_distance, vector_inner_product, vector_negative_inner_product,
    vector_cosine_distance, vector_spherical_distance, vector_l1_distance,
    vector_dims, vector_norm, vector_l2_normalize, vector_add, vector_sub, vector_mul, vector_concat,
    vector_binary_quantize, vector_subvector,
    vector_lt, vector_le, vector_eq, vector_ne, vector_ge, vector_gt, vector_cmp
});

dense_functions!(HalfVec, f16, {
    halfvec_l2_distance, halfvec_l2_squared_distance, halfvec_inner_product, halfvec_negative_inner_product,
    halfvec_cosine_distance, halfvec_spherical_distance, halfvec_l1_distance,
    halfvec_dims, halfvec_norm, halfvec_l2_normalize, halfvec_add, halfvec_sub, halfvec_mul, halfvec_concat,
    halfvec_binary_quantize, halfvec_subvector,
    halfvec_lt, halfvec_le, halfvec_eq, halfvec_ne, halfvec_ge, halfvec_gt, halfvec_cmp
});
