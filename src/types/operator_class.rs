//! What operator classes have of their own: spheres and support functions.
//!
//! A sphere is a centre and a radius, which an index can search within. `vector <<->> sphere` means
//! `vector <-> centre < radius`. An index can only be asked with an operator of its own.

use super::dense::{
    halfvec_cosine_distance, halfvec_l1_distance, halfvec_l2_distance, halfvec_negative_inner_product,
    vector_cosine_distance, vector_l1_distance, vector_l2_distance, vector_negative_inner_product,
};
use super::sparse::{
    sparsevec_cosine_distance, sparsevec_l1_distance, sparsevec_l2_distance, sparsevec_negative_inner_product,
};
use super::{Bits, HalfVec, SparseVec, Vector};
use crate::distance::{ElementKind, Metric};
use crate::types::bit::{bit_hamming_distance, bit_jaccard_distance};
use pgrx::{pg_extern, pg_sys};

/// A value of one of the composite types `vdb_sphere_…`.
pub struct Sphere {
    /// A value of the type that the sphere is in.
    pub centre: pg_sys::Datum,
    pub radius: f64,
}

impl Sphere {
    /// # Safety
    /// `datum` is a non-null value of one of the composite types, and outlives the result.
    ///
    /// `None` if the centre or the radius is null.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Option<Self> {
        // SAFETY: `datum` is a value of one of the composite types by this function's contract: a
        // tuple of two columns, the second a double. Its header describes the type, so both can be
        // read by number.
        unsafe {
            let tuple = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
            let field = |number| {
                let mut is_null = false;
                let value = pg_sys::GetAttributeByNum(tuple, number, &mut is_null);
                (!is_null).then_some(value)
            };
            Some(Self { centre: field(1)?, radius: f64::from_bits(field(2)?.value() as u64) })
        }
    }
}

/// A sphere as a function's argument, whose fields may be null.
struct Within(Option<Sphere>);

pgrx::impl_sql_translatable!(Within, "record");

// SAFETY: the SQL functions are declared with one of the composite types, so PostgreSQL passes a
// value of one.
unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for Within {
    unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
        // SAFETY: the functions are STRICT, so the datum is a non-null tuple, which lives during
        // the call.
        unsafe {
            let datum = arg.unbox_arg_using_from_datum::<pg_sys::Datum>();
            Self(Sphere::from_datum(datum.expect("the argument of a STRICT function is not null")))
        }
    }
}

/// The least radius of a sphere that contains a value at this distance.
#[pg_extern(sql = false)]
fn vdb_radius_to(distance: f64) -> f64 {
    if distance == f64::INFINITY { f64::NAN } else { distance.next_up() }
}

/// Compares as PostgreSQL does: NaN is greater than all other numbers.
fn is_less(distance: f64, radius: f64) -> bool {
    distance < radius || radius.is_nan() && !distance.is_nan()
}

/// The functions of an operator class. The one behind the sphere's operator says whether a value is
/// nearer to the centre than the radius. The support function returns the class's element kind and
/// metric in one number.
macro_rules! operator_classes {
    ($($within:ident, $support:ident: $type:ty, $distance:ident, $kind:ident, $metric:ident;)*) => {$(
        #[pg_extern(sql = false)]
        fn $within(value: $type, sphere: Within) -> Option<bool> {
            let Sphere { centre, radius } = sphere.0?;
            // SAFETY: the operator is declared with the sphere of this type, so the centre is a
            // value of it, not null. The argument that it lies in outlives the call.
            let centre = unsafe { <$type>::from_datum(centre) };
            Some(is_less($distance(value, centre), radius))
        }

        #[pg_extern(sql = false)]
        fn $support() -> i32 {
            ElementKind::$kind as i32 * Metric::ALL.len() as i32 + Metric::$metric as i32
        }
    )*};
}

operator_classes! {
    vector_l2_within, vdb_vector_l2_support: Vector, vector_l2_distance, F32, L2;
    vector_ip_within, vdb_vector_ip_support: Vector, vector_negative_inner_product, F32, InnerProduct;
    vector_cosine_within, vdb_vector_cosine_support: Vector, vector_cosine_distance, F32, Cosine;
    vector_l1_within, vdb_vector_l1_support: Vector, vector_l1_distance, F32, L1;
    halfvec_l2_within, vdb_halfvec_l2_support: HalfVec, halfvec_l2_distance, F16, L2;
    halfvec_ip_within, vdb_halfvec_ip_support: HalfVec, halfvec_negative_inner_product, F16, InnerProduct;
    halfvec_cosine_within, vdb_halfvec_cosine_support: HalfVec, halfvec_cosine_distance, F16, Cosine;
    halfvec_l1_within, vdb_halfvec_l1_support: HalfVec, halfvec_l1_distance, F16, L1;
    sparsevec_l2_within, vdb_sparsevec_l2_support: SparseVec, sparsevec_l2_distance, Sparse, L2;
    sparsevec_ip_within, vdb_sparsevec_ip_support: SparseVec, sparsevec_negative_inner_product, Sparse, InnerProduct;
    sparsevec_cosine_within, vdb_sparsevec_cosine_support: SparseVec, sparsevec_cosine_distance, Sparse, Cosine;
    sparsevec_l1_within, vdb_sparsevec_l1_support: SparseVec, sparsevec_l1_distance, Sparse, L1;
    bit_hamming_within, vdb_bit_hamming_support: Bits, bit_hamming_distance, Bit, Hamming;
    bit_jaccard_within, vdb_bit_jaccard_support: Bits, bit_jaccard_distance, Bit, Jaccard;
}
