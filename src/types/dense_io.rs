//! Text and binary forms and type modifiers of `vector` and `halfvec`.

use super::check;
use super::dense::{Dense, DenseElement, HalfVec, MAX_DIMS, Vector};
use super::text::{Scanner, push_float};
use super::wire::{Message, Reader};
use crate::pg::error::{OrRaise, Problem};
use half::f16;
use pgrx::PgSqlErrorCode::ERRCODE_DATA_EXCEPTION;
use pgrx::datum::Internal;
use pgrx::{Array, pg_extern, pg_sys};
use std::ffi::{CStr, CString};

/// Reads `[x, y, …]`.
fn parse<E: DenseElement>(text: &[u8]) -> Result<Vec<E>, Problem> {
    let mut scanner = Scanner::new(E::TYPE_NAME, text);
    scanner.open(b'[')?;
    let mut elements = Vec::new();
    if !scanner.accept(b']') {
        loop {
            let x = scanner.float()?;
            let element = E::from_f32(x);
            if element.to_f32().is_infinite() {
                return Err(scanner.out_of_range(&x.to_string()));
            }
            elements.push(element);
            if elements.len() > MAX_DIMS {
                break;
            }
            scanner.skip_space();
            if scanner.accept(b']') {
                break;
            }
            if !scanner.accept(b',') {
                return Err(scanner.syntax_error());
            }
        }
    }
    check::dims(E::TYPE_NAME, elements.len(), MAX_DIMS)?;
    scanner.end()?;
    Ok(elements)
}

fn input<E: DenseElement>(text: &CStr, typmod: i32) -> Dense<E> {
    let elements = parse::<E>(text.to_bytes()).or_raise();
    check::expected_dims(typmod, elements.len()).or_raise();
    Dense::collect(elements.into_iter())
}

fn output<E: DenseElement>(value: &Dense<E>) -> CString {
    let mut text = Vec::with_capacity(16 * value.dims() + 2);
    text.push(b'[');
    for (i, x) in value.elements().iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        push_float(&mut text, x.to_f32());
    }
    text.push(b']');
    CString::new(text).expect("numbers contain no zero byte")
}

/// Reads the header of the binary form: `u16` dimensions, `u16` zero.
fn receive_header<E: DenseElement>(reader: &mut Reader, typmod: i32) -> usize {
    let dims = usize::from(reader.u16());
    let unused = reader.u16();
    check::dims(E::TYPE_NAME, dims, MAX_DIMS).or_raise();
    check::expected_dims(typmod, dims).or_raise();
    if unused != 0 {
        Problem::new(ERRCODE_DATA_EXCEPTION, format!("expected unused to be 0, not {unused}")).raise();
    }
    dims
}

/// Casts a value to a column's declared dimensions, which only checks them.
fn coerce<E: DenseElement>(value: Dense<E>, typmod: i32) -> Dense<E> {
    check::expected_dims(typmod, value.dims()).or_raise();
    value
}

macro_rules! dense_io {
    ($type:ty, $element:ty, $bits:ident, $in:ident, $out:ident, $typmod_in:ident, $recv:ident, $send:ident, $coerce:ident) => {
        #[pg_extern(sql = false)]
        fn $in(text: &CStr, _type: pg_sys::Oid, typmod: i32) -> $type {
            input::<$element>(text, typmod)
        }

        #[pg_extern(sql = false)]
        fn $out(value: $type) -> CString {
            output(&value)
        }

        #[pg_extern(sql = false)]
        fn $typmod_in(modifiers: Array<&CStr>) -> i32 {
            let modifiers: Vec<_> = modifiers.iter().collect();
            check::typmod(<$element>::TYPE_NAME, &modifiers, MAX_DIMS).or_raise()
        }

        #[pg_extern(sql = false)]
        fn $recv(buffer: Internal, _type: pg_sys::Oid, typmod: i32) -> $type {
            let mut reader = Reader::new(buffer);
            let dims = receive_header::<$element>(&mut reader, typmod);
            let elements: Vec<$element> = (0..dims)
                .map(|_| {
                    let element = <$element>::from_bits(reader.$bits());
                    check::finite(<$element>::TYPE_NAME, crate::distance::Element::to_f32(element))
                        .or_raise();
                    element
                })
                .collect();
            Dense::collect(elements.into_iter())
        }

        #[pg_extern(sql = false)]
        fn $send(value: $type) -> Vec<u8> {
            let mut message = Message::with_capacity(4 + size_of_val(value.elements()));
            message.u16(value.dims() as u16);
            message.u16(0);
            for x in value.elements() {
                message.$bits(x.to_bits());
            }
            message.finish()
        }

        #[pg_extern(sql = false)]
        fn $coerce(value: $type, typmod: i32, _explicit: bool) -> $type {
            coerce(value, typmod)
        }
    };
}

dense_io!(Vector, f32, u32, vector_in, vector_out, vector_typmod_in, vector_recv, vector_send, vector);
dense_io!(HalfVec, f16, u16, halfvec_in, halfvec_out, halfvec_typmod_in, halfvec_recv, halfvec_send, halfvec);
