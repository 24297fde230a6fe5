//! Operator classes: the space of an index, and how a column's value becomes a row of it.

use crate::distance::{ElementKind, Metric, Space};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::types::{Bits, HalfVec, SparseVec, Vector};
use pgrx::PgSqlErrorCode::*;
use pgrx::pg_sys;

/// Most dimensions of an indexed `bit` column.
const MAX_BITS: u32 = 64_000;

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
    Metric::ALL.get(code % Metric::ALL.len()).copied()
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
    let (Some(&kind), Some(&metric)) =
        (ElementKind::ALL.get(code / Metric::ALL.len()), Metric::ALL.get(code % Metric::ALL.len()))
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
