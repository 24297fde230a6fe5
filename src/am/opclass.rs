//! Operator classes: the space of an index, and how a column's value becomes a row of it.

use crate::distance::{ElementKind, Metric, Space};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::types::{Bits, HalfVec, SparseVec, Vector};
use pgrx::PgSqlErrorCode::*;
use pgrx::{pg_extern, pg_sys};

/// Most dimensions of an indexed `bit` column.
const MAX_BITS: u32 = 64_000;

const METRICS: [Metric; 6] =
    [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1, Metric::Hamming, Metric::Jaccard];
const KINDS: [ElementKind; 4] = [ElementKind::F32, ElementKind::F16, ElementKind::Bit, ElementKind::Sparse];

// A support function returns the places of its metric and its kind in these lists.
const _: () = {
    let mut place = 0;
    while place < METRICS.len() {
        assert!(METRICS[place] as usize == place);
        place += 1;
    }
    place = 0;
    while place < KINDS.len() {
        assert!(KINDS[place] as usize == place);
        place += 1;
    }
};

/// Support functions of operator classes. Each encodes an element kind and a metric in one number.
macro_rules! support_functions {
    ($($name:ident: $kind:ident, $metric:ident;)*) => {$(
        #[pg_extern(sql = false)]
        fn $name() -> i32 {
            ElementKind::$kind as i32 * METRICS.len() as i32 + Metric::$metric as i32
        }
    )*};
}

support_functions! {
    vdb_vector_l2_support: F32, L2;
    vdb_vector_ip_support: F32, InnerProduct;
    vdb_vector_cosine_support: F32, Cosine;
    vdb_vector_l1_support: F32, L1;
    vdb_halfvec_l2_support: F16, L2;
    vdb_halfvec_ip_support: F16, InnerProduct;
    vdb_halfvec_cosine_support: F16, Cosine;
    vdb_halfvec_l1_support: F16, L1;
    vdb_bit_hamming_support: Bit, Hamming;
    vdb_bit_jaccard_support: Bit, Jaccard;
    vdb_sparsevec_l2_support: Sparse, L2;
    vdb_sparsevec_ip_support: Sparse, InnerProduct;
    vdb_sparsevec_cosine_support: Sparse, Cosine;
    vdb_sparsevec_l1_support: Sparse, L1;
}

/// The least number that a support function of a filter column returns.
pub const FIRST_FILTER: i32 = 100;

/// The result of the support function of a column, from 0.
pub fn support_number(index: Relation, column: usize) -> i32 {
    const SUPPORT_FUNCTION: u16 = 1;
    // SAFETY: the index is open, and callers pass one of its columns. Its operator class has
    // support function 1, which takes no argument and returns an integer (see `amvalidate`).
    unsafe {
        let function = pg_sys::index_getprocinfo(index.raw(), column as i16 + 1, SUPPORT_FUNCTION);
        pg_sys::FunctionCall0Coll(function, pg_sys::InvalidOid).value() as i32
    }
}

/// The metric of an operator family for vectors of a type; `None` if it is for filter columns, or
/// lacks a function.
///
/// # Safety
/// The caller is in a transaction, and `family` is of one of our access methods.
pub unsafe fn metric_of(family: pg_sys::Oid, of: pg_sys::Oid) -> Option<Metric> {
    // SAFETY: the caller is in a transaction. The function is support function 1 of a family of
    // ours by this function's contract, so it takes no argument.
    let number = unsafe {
        let function = pg_sys::get_opfamily_proc(family, of, of, 1);
        if function == pg_sys::InvalidOid {
            return None;
        }
        pg_sys::OidFunctionCall0Coll(function, pg_sys::InvalidOid).value() as i32
    };
    let code = usize::try_from(number).ok().filter(|_| number < FIRST_FILTER)?;
    METRICS.get(code % METRICS.len()).copied()
}

/// The space of an index, from its operator class and its column's declaration.
pub fn space_of(index: Relation) -> Space {
    let number = support_number(index, 0);
    if number >= FIRST_FILTER {
        Problem::new(ERRCODE_FEATURE_NOT_SUPPORTED, "the first column of a vdb index must be a vector")
            .hint("Name the vector first, then the columns to filter by.")
            .raise();
    }
    let code = number as usize;
    let (Some(&kind), Some(&metric)) = (KINDS.get(code / METRICS.len()), METRICS.get(code % METRICS.len()))
    else {
        Problem::new(ERRCODE_INVALID_OBJECT_DEFINITION, format!("unknown operator class number {code}"))
            .raise()
    };
    if index.first_column_type() == pg_sys::VARBITOID {
        Problem::new(ERRCODE_WRONG_OBJECT_TYPE, "a column of type bit varying cannot be indexed as a vector")
            .detail("Its values differ in length.")
            .hint("Index an expression such as (column::bit(64)).")
            .raise();
    }
    let typmod = index.first_column_typmod();
    let Some(dims) = u32::try_from(typmod).ok().filter(|&dims| dims > 0) else {
        Problem::new(ERRCODE_INVALID_PARAMETER_VALUE, "column does not have dimensions")
            .hint("Declare them, as in vector(768), or index an expression, as in (embedding::vector(768)).")
            .raise()
    };
    if kind == ElementKind::Bit && dims > MAX_BITS {
        Problem::new(
            ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("column cannot have more than {MAX_BITS} dimensions for a vdb index"),
        )
        .raise();
    }
    Space { kind, metric, dims }
}

/// Calls `use_row` with the value's bytes as the index stores them.
///
/// # Safety
/// `datum` is a non-null value of the SQL type that `space.kind` stands for, which outlives the
/// call.
pub unsafe fn with_row<R>(space: Space, datum: pg_sys::Datum, use_row: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: `datum` is a value of the kind's SQL type by this function's contract, so each arm
    // reads it as the right type. It outlives the wrapper, which ends with the call.
    unsafe {
        match space.kind {
            ElementKind::F32 => {
                let vector = Vector::from_datum(datum);
                check_dims("vector", space, vector.dims());
                use_row(bytemuck::cast_slice(vector.elements()))
            }
            ElementKind::F16 => {
                let vector = HalfVec::from_datum(datum);
                check_dims("halfvec", space, vector.dims());
                use_row(bytemuck::cast_slice(vector.elements()))
            }
            ElementKind::Bit => {
                let bits = Bits::from_datum(datum);
                check_dims("bit", space, bits.len());
                use_row(bits.bytes())
            }
            ElementKind::Sparse => {
                let vector = SparseVec::from_datum(datum);
                check_dims("sparsevec", space, vector.dims());
                use_row(&vector.slice().to_row())
            }
        }
    }
}

fn check_dims(type_name: &str, space: Space, dims: usize) {
    if dims != space.dims as usize {
        let message = format!("different {type_name} dimensions {} and {dims}", space.dims);
        Problem::new(ERRCODE_DATA_EXCEPTION, message).raise();
    }
}

/// Whether an index of this space has a place for the row: a zero vector has no direction.
pub fn is_indexed(space: Space, row: &[u8]) -> bool {
    if space.metric != Metric::Cosine {
        return true;
    }
    match space.kind {
        ElementKind::Sparse => row.len() > 4,
        // Elements of dense vectors: zero is all zero bits except its sign.
        ElementKind::F32 => row.chunks_exact(4).any(|x| f32::from_ne_bytes([x[0], x[1], x[2], x[3]]) != 0.0),
        ElementKind::F16 => row.chunks_exact(2).any(|x| u16::from_ne_bytes([x[0], x[1]]) & 0x7FFF != 0),
        ElementKind::Bit => true,
    }
}
