//! PostgreSQL's arrays of numbers, converted to and from vectors.

use super::varlena::Varlena;
use crate::pg::error::Problem;
use pgrx::PgSqlErrorCode::*;
use pgrx::pg_sys;

/// Any one-dimensional array of `int4`, `float4`, `float8` or `numeric`, as single-precision
/// numbers.
pub struct NumberArray(Vec<f32>);

pgrx::impl_sql_translatable!(NumberArray, "real[]");

// SAFETY: the SQL functions are declared with arrays, so PostgreSQL passes one. `read` checks the
// element type.
unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for NumberArray {
    unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
        // SAFETY: the functions are STRICT, so the datum is a non-null array, which lives during
        // the call.
        unsafe {
            let datum = arg.unbox_arg_using_from_datum::<pg_sys::Datum>();
            let array = Varlena::from_datum(datum.expect("the argument of a STRICT function is not null"));
            Self(read(array))
        }
    }
}

impl NumberArray {
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }
}

fn read(array: Varlena) -> Vec<f32> {
    let header = array.bytes().as_ptr().cast_mut().cast::<pg_sys::ArrayType>();
    // SAFETY: a detoasted array begins with its header, and `array` lives until the end of this
    // function.
    let (ndim, element_type) = unsafe { ((*header).ndim, (*header).elemtype) };
    if ndim > 1 {
        Problem::new(ERRCODE_DATA_EXCEPTION, "array must be 1-D").raise();
    }
    let (mut len, mut by_value, mut align) = (0i16, false, 0);
    let (mut datums, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: the out-parameters are local variables. The array is detoasted, and its header states
    // `element_type`.
    unsafe {
        pg_sys::get_typlenbyvalalign(element_type, &mut len, &mut by_value, &mut align);
        pg_sys::deconstruct_array(
            header,
            element_type,
            i32::from(len),
            by_value,
            align,
            &mut datums,
            &mut nulls,
            &mut count,
        );
    }
    (0..count as usize)
        .map(|i| {
            // SAFETY: `deconstruct_array` has returned `count` datums and null flags, and `i` is
            // below `count`.
            let (datum, null) = unsafe { (*datums.add(i), *nulls.add(i)) };
            if null {
                Problem::new(ERRCODE_NULL_VALUE_NOT_ALLOWED, "array must not contain nulls").raise();
            }
            number(element_type, datum)
        })
        .collect()
}

fn number(element_type: pg_sys::Oid, datum: pg_sys::Datum) -> f32 {
    match element_type {
        pg_sys::INT4OID => datum.value() as i32 as f32,
        pg_sys::FLOAT4OID => f32::from_bits(datum.value() as u32),
        pg_sys::FLOAT8OID => f64::from_bits(datum.value() as u64) as f32,
        pg_sys::NUMERICOID => {
            // SAFETY: the datum is a numeric, as the element type says. `numeric_float4` returns a
            // float4 or raises an error.
            let real = unsafe { pgrx::direct_function_call::<f32>(pg_sys::numeric_float4, &[Some(datum)]) };
            real.expect("a numeric that is not null has a value")
        }
        _ => Problem::new(ERRCODE_DATA_EXCEPTION, "unsupported array type").raise(),
    }
}

/// A one-dimensional array without nulls that PostgreSQL gets.
pub struct NewArray(Varlena);

pgrx::impl_sql_translatable!(NewArray, "double precision[]");

// SAFETY: `build` makes a complete array in the caller's memory context, of the declared element
// type.
unsafe impl pgrx::callconv::BoxRet for NewArray {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut pgrx::callconv::FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: the datum points to the complete array, which nothing else frees.
        unsafe { fcinfo.return_raw_datum(self.0.into_datum()) }
    }
}

impl NewArray {
    pub fn of_f32(numbers: &[f32]) -> Self {
        Self::build(pg_sys::FLOAT4OID, numbers.len(), bytemuck::cast_slice(numbers))
    }

    pub fn of_f64(numbers: &[f64]) -> Self {
        Self::build(pg_sys::FLOAT8OID, numbers.len(), bytemuck::cast_slice(numbers))
    }

    fn build(element_type: pg_sys::Oid, count: usize, data: &[u8]) -> Self {
        // Header, then length and lower bound of the one dimension, aligned for eight-byte
        // elements.
        const OVERHEAD: usize = (size_of::<pg_sys::ArrayType>() + 8).next_multiple_of(8);
        let mut varlena = Varlena::alloc(OVERHEAD + data.len());
        let bytes = varlena.bytes_mut();
        let mut put = |at: usize, n: u32| bytes[at..at + 4].copy_from_slice(&n.to_ne_bytes());
        put(std::mem::offset_of!(pg_sys::ArrayType, ndim), 1);
        put(std::mem::offset_of!(pg_sys::ArrayType, dataoffset), 0);
        put(std::mem::offset_of!(pg_sys::ArrayType, elemtype), element_type.to_u32());
        put(size_of::<pg_sys::ArrayType>(), count as u32);
        put(size_of::<pg_sys::ArrayType>() + 4, 1);
        bytes[OVERHEAD..].copy_from_slice(data);
        Self(varlena)
    }
}

/// The transition state of `avg`: an array of `float8` without nulls.
pub struct StateArray(Varlena);

super::varlena::sql_varlena_type!(StateArray, "double precision[]");

impl StateArray {
    fn wrap(array: Varlena) -> Self {
        let header = array.bytes().as_ptr().cast::<pg_sys::ArrayType>();
        // SAFETY: the argument is declared an array, and a detoasted array begins with its header.
        // Its alignment is PostgreSQL's for arrays.
        let header = unsafe { &*header };
        if header.ndim != 1 || header.dataoffset != 0 || header.elemtype != pg_sys::FLOAT8OID {
            Problem::new(ERRCODE_DATA_EXCEPTION, "expected an array of double precision as aggregate state")
                .raise();
        }
        Self(array)
    }

    fn into_datum(self) -> pg_sys::Datum {
        self.0.into_datum()
    }

    pub fn numbers(&self) -> &[f64] {
        const OVERHEAD: usize = (size_of::<pg_sys::ArrayType>() + 8).next_multiple_of(8);
        let data = self.0.bytes().get(OVERHEAD..).unwrap_or_default();
        bytemuck::try_cast_slice(data).unwrap_or_default()
    }
}
