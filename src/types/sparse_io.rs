//! Text form `{index:value,…}/dimensions` (indices from one), binary form and type modifier of
//! `sparsevec`.

use super::check;
use super::sparse::{MAX_DIMS, MAX_NON_ZEROS, SparseVec};
use super::text::{Scanner, push_float, push_integer};
use super::wire::{Message, Reader};
use crate::pg::error::{OrRaise, Problem};
use pgrx::PgSqlErrorCode::*;
use pgrx::datum::Internal;
use pgrx::{Array, pg_extern, pg_sys};
use std::ffi::{CStr, CString};

const NAME: &str = "sparsevec";

/// Dimensions, zero-based indices in ascending order, values.
type Parts = (usize, Vec<i32>, Vec<f32>);

fn parse(text: &[u8]) -> Result<Parts, Problem> {
    let mut scanner = Scanner::new(NAME, text);
    scanner.open(b'{')?;
    let mut elements: Vec<(i64, f32)> = Vec::new();
    let mut last = !scanner.accept(b'}');
    while last {
        let index = scanner.integer()?;
        if index < 1 || index > MAX_DIMS as i64 {
            return Err(scanner.out_of_range(&index.to_string()));
        }
        scanner.skip_space();
        if !scanner.accept(b':') {
            return Err(scanner.syntax_error());
        }
        let value = scanner.float_in_range()?;
        if value != 0.0 {
            elements.push((index - 1, value));
        }
        if elements.len() > MAX_NON_ZEROS {
            return Err(too_many_non_zeros());
        }
        scanner.skip_space();
        last = scanner.accept(b',');
        if !last && !scanner.accept(b'}') {
            return Err(scanner.syntax_error());
        }
    }
    scanner.skip_space();
    if !scanner.accept(b'/') {
        return Err(scanner.syntax_error().detail("The number of dimensions must follow, as in {1:2.5}/3."));
    }
    let dims = scanner.integer()?;
    check::dims(NAME, dims.max(0) as usize, MAX_DIMS)?;
    scanner.end()?;
    elements.sort_by_key(|(index, _)| *index);
    let (indices, values): (Vec<i32>, Vec<f32>) = elements.into_iter().map(|(i, x)| (i as i32, x)).unzip();
    check_indices(dims as usize, &indices)?;
    Ok((dims as usize, indices, values))
}

fn too_many_non_zeros() -> Problem {
    Problem::new(
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("sparsevec cannot have more than {MAX_NON_ZEROS} non-zero elements"),
    )
}

fn check_indices(dims: usize, indices: &[i32]) -> Result<(), Problem> {
    let invalid = |message: &str| Err(Problem::new(ERRCODE_DATA_EXCEPTION, message));
    if indices.iter().any(|&i| i < 0 || i as usize >= dims) {
        return invalid("sparsevec index out of range");
    }
    for pair in indices.windows(2) {
        if pair[0] > pair[1] {
            return invalid("sparsevec indices must be in ascending order");
        }
        if pair[0] == pair[1] {
            return invalid("sparsevec indices must not contain duplicates");
        }
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn sparsevec_in(text: &CStr, _type: pg_sys::Oid, typmod: i32) -> SparseVec {
    let (dims, indices, values) = parse(text.to_bytes()).or_raise();
    check::expected_dims(typmod, dims).or_raise();
    SparseVec::new(dims, &indices, &values).or_raise()
}

#[pg_extern(sql = false)]
fn sparsevec_out(value: SparseVec) -> CString {
    let slice = value.slice();
    let mut text = Vec::with_capacity(24 * slice.indices.len() + 16);
    text.push(b'{');
    for (i, (&index, &x)) in slice.indices.iter().zip(slice.values).enumerate() {
        if i > 0 {
            text.push(b',');
        }
        push_integer(&mut text, i64::from(index) + 1);
        text.push(b':');
        push_float(&mut text, x);
    }
    text.extend_from_slice(b"}/");
    push_integer(&mut text, value.dims() as i64);
    CString::new(text).expect("numbers contain no zero byte")
}

#[pg_extern(sql = false)]
fn sparsevec_typmod_in(modifiers: Array<&CStr>) -> i32 {
    let modifiers: Vec<_> = modifiers.iter().collect();
    check::typmod(NAME, &modifiers, MAX_DIMS).or_raise()
}

#[pg_extern(sql = false)]
fn sparsevec_recv(buffer: Internal, _type: pg_sys::Oid, typmod: i32) -> SparseVec {
    let mut reader = Reader::new(buffer);
    let (dims, non_zeros, unused) = (reader.i32(), reader.i32(), reader.i32());
    check::dims(NAME, dims.max(0) as usize, MAX_DIMS).or_raise();
    check::expected_dims(typmod, dims as usize).or_raise();
    if non_zeros < 0 {
        Problem::new(ERRCODE_DATA_EXCEPTION, "sparsevec cannot have a negative number of elements").raise();
    }
    if non_zeros as usize > MAX_NON_ZEROS {
        too_many_non_zeros().raise();
    }
    if non_zeros > dims {
        Problem::new(ERRCODE_DATA_EXCEPTION, "sparsevec cannot have more elements than dimensions").raise();
    }
    if unused != 0 {
        Problem::new(ERRCODE_DATA_EXCEPTION, format!("expected unused to be 0, not {unused}")).raise();
    }
    let indices: Vec<i32> = (0..non_zeros).map(|_| reader.i32()).collect();
    check_indices(dims as usize, &indices).or_raise();
    let values: Vec<f32> = (0..non_zeros).map(|_| f32::from_bits(reader.u32())).collect();
    for &x in &values {
        check::finite(NAME, x).or_raise();
        if x == 0.0 {
            Problem::new(
                ERRCODE_DATA_EXCEPTION,
                "binary representation of sparsevec cannot contain zero values",
            )
            .raise();
        }
    }
    SparseVec::new(dims as usize, &indices, &values).or_raise()
}

#[pg_extern(sql = false)]
fn sparsevec_send(value: SparseVec) -> Vec<u8> {
    let slice = value.slice();
    let mut message = Message::with_capacity(12 + 8 * slice.indices.len());
    message.i32(value.dims() as i32);
    message.i32(slice.indices.len() as i32);
    message.i32(0);
    for &index in slice.indices {
        message.i32(index);
    }
    for x in slice.values {
        message.u32(x.to_bits());
    }
    message.finish()
}

#[pg_extern(sql = false)]
fn sparsevec(value: SparseVec, typmod: i32, _explicit: bool) -> SparseVec {
    check::expected_dims(typmod, value.dims()).or_raise();
    value
}
