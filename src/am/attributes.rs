//! Filter columns: their values become keys, and conditions on them become tests of keys.

use super::opclass;
use crate::filter::key::{self, Collation, Comparison, KeyKind};
use crate::filter::{self, Condition, Test};
use crate::pg::error::Problem;
use crate::pg::interrupts;
use crate::pg::relation::Relation;
use crate::types::{VARLENA_HEADER, Varlena};
use pgrx::PgSqlErrorCode::*;
use pgrx::{pg_extern, pg_sys};

/// Most filter columns of an index: a row of a growing segment keeps its keys on one page with
/// other data.
const MAX_COLUMNS: usize = 15;

/// Support functions of filter operator classes. Each returns the number of its column's kind of
/// key.
macro_rules! support_functions {
    ($($name:ident: $kind:expr;)*) => {
        /// In the order of the numbers that support functions return, from
        /// [`opclass::FIRST_FILTER`] on.
        const KINDS: &[KeyKind] = &[$($kind),*];

        $(
            #[pg_extern(sql = false)]
            fn $name() -> i32 {
                let number = KINDS.iter().position(|&kind| kind == $kind);
                opclass::FIRST_FILTER + number.expect("it is among them") as i32
            }
        )*
    };
}

support_functions! {
    vdb_int2_filter: KeyKind::Int2;
    vdb_int4_filter: KeyKind::Int4;
    vdb_int8_filter: KeyKind::Int8;
    vdb_float4_filter: KeyKind::Float4;
    vdb_float8_filter: KeyKind::Float8;
    vdb_numeric_filter: KeyKind::Numeric;
    vdb_bool_filter: KeyKind::Bool;
    vdb_date_filter: KeyKind::Date;
    vdb_timestamp_filter: KeyKind::Timestamp;
    vdb_uuid_filter: KeyKind::Uuid;
    vdb_text_filter: KeyKind::Text(Collation::Bytes);
    vdb_enum_filter: KeyKind::Enum;
    vdb_array_filter: KeyKind::Array;
}

/// The kinds of an index's filter columns: all columns except the first.
pub fn kinds_of(index: Relation) -> Vec<KeyKind> {
    let columns = index.columns();
    if columns > MAX_COLUMNS + 1 {
        Problem::new(
            ERRCODE_TOO_MANY_COLUMNS,
            format!("a vdb index cannot have more than {MAX_COLUMNS} filter columns"),
        )
        .raise();
    }
    let kind_of = |column: usize| {
        let number = opclass::support_number(index, column);
        let kind = number.checked_sub(opclass::FIRST_FILTER).and_then(|n| KINDS.get(n as usize).copied());
        match kind {
            Some(KeyKind::Text(_)) => KeyKind::Text(collation_of(index.collation(column))),
            Some(kind) => kind,
            None => Problem::new(
                ERRCODE_FEATURE_NOT_SUPPORTED,
                "only the first column of a vdb index can be a vector",
            )
            .hint("Further columns are for filters. Create an index for each vector.")
            .raise(),
        }
    };
    (1..columns).map(kind_of).collect()
}

fn collation_of(collation: pg_sys::Oid) -> Collation {
    if [pg_sys::InvalidOid, pg_sys::C_COLLATION_OID].contains(&collation) {
        return Collation::Bytes;
    }
    // SAFETY: a catalog look-up in the caller's transaction, of a collation that exists, as a
    // column has it.
    match unsafe { pg_sys::get_collation_isdeterministic(collation) } {
        true => Collation::Equality,
        false => Collation::Nothing,
    }
}

/// A row's attributes, from the values of an index's columns, the vector's first.
///
/// # Safety
/// `values` and `nulls` have an entry for each column, at least one more than there are kinds. Each
/// value that is not null is of the type that its column's kind stands for.
pub unsafe fn of_values(
    index: Relation,
    kinds: &[KeyKind],
    values: *const pg_sys::Datum,
    nulls: *const bool,
) -> Vec<u64> {
    if kinds.len() + 1 != index.columns() {
        let detail = format!("Its meta page has {} filter columns.", kinds.len());
        index.corrupt().detail(detail).raise();
    }
    // SAFETY: both arrays have an entry for `column` by this function's contract, as it is at most
    // the number of kinds. The value is of the kind's type, and read only if it is not null.
    let keys = kinds.iter().zip(1..).map(|(&kind, column)| unsafe {
        let value = *values.add(column);
        (!*nulls.add(column)).then(|| key_of(kind, index.collation(column), value))
    });
    filter::attributes(keys)
}

/// # Safety
/// `value` is not null, and of the type that `kind` stands for.
unsafe fn key_of(kind: KeyKind, collation: pg_sys::Oid, value: pg_sys::Datum) -> u64 {
    // SAFETY: `value` is not null and of the kind's type by this function's contract. Each arm
    // reads it as that type: by value, or through a pointer to such a value. PostgreSQL's functions
    // get arguments of their types.
    unsafe {
        match kind {
            KeyKind::Int2 => key::of_integer((value.value() as i16).into()),
            KeyKind::Int4 | KeyKind::Date => key::of_integer((value.value() as i32).into()),
            KeyKind::Int8 | KeyKind::Timestamp => key::of_integer(value.value() as i64),
            KeyKind::Float4 => key::of_float(f32::from_bits(value.value() as u32).into()),
            KeyKind::Float8 => key::of_float(f64::from_bits(value.value() as u64)),
            KeyKind::Numeric => {
                let float =
                    pgrx::direct_function_call_as_datum(pg_sys::numeric_float8_no_overflow, &[Some(value)]);
                key::of_float(f64::from_bits(float.expect("a number is not null").value() as u64))
            }
            KeyKind::Bool => u64::from(value.value() as u8 != 0),
            KeyKind::Uuid => key::of_first_bytes(&*value.cast_mut_ptr::<[u8; 16]>()),
            KeyKind::Text(_) => {
                let text = Varlena::from_datum(value);
                key::of_text(&text.bytes()[VARLENA_HEADER..])
            }
            KeyKind::Enum => u64::from(value.value() as u32),
            KeyKind::Array => {
                let (elements, element_type) = elements_of(value);
                let hash = hash_of(element_type);
                let element_key = |&element: &pg_sys::Datum| {
                    let hash = pg_sys::FunctionCall2Coll(hash, collation, element, pg_sys::Datum::from(0));
                    key::of_element(hash.value() as u64)
                };
                elements.iter().flatten().map(element_key).fold(0, |bits, bit| bits | bit)
            }
        }
    }
}

/// The elements of an array, `None` for null, and their type.
///
/// # Safety
/// `array` is a non-null array.
unsafe fn elements_of(array: pg_sys::Datum) -> (Vec<Option<pg_sys::Datum>>, pg_sys::Oid) {
    // SAFETY: `array` is a non-null array by this function's contract, so it begins with its header
    // once it is detoasted. `deconstruct_array` sets as many elements and null flags as it counts.
    unsafe {
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let element_type = (*array).elemtype;
        let (mut length, mut by_value, mut align) = (0i16, false, 0);
        pg_sys::get_typlenbyvalalign(element_type, &mut length, &mut by_value, &mut align);
        let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            element_type,
            length.into(),
            by_value,
            align,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        let element = |i: usize| (!*nulls.add(i)).then(|| *elements.add(i));
        ((0..count as usize).map(element).collect(), element_type)
    }
}

/// The function that hashes values of a type.
///
/// # Safety
/// The caller is in a transaction.
unsafe fn hash_of(element_type: pg_sys::Oid) -> *mut pg_sys::FmgrInfo {
    // SAFETY: the caller is in a transaction, so catalogs can be read. An entry of the type cache
    // lives as long as the process, and so does its function.
    unsafe {
        let entry =
            pg_sys::lookup_type_cache(element_type, pg_sys::TYPECACHE_HASH_EXTENDED_PROC_FINFO as i32);
        let hash = &raw mut (*entry).hash_extended_proc_finfo;
        if (*hash).fn_oid == pg_sys::InvalidOid {
            Problem::new(
                ERRCODE_UNDEFINED_FUNCTION,
                "could not identify a hash function for the array's elements",
            )
            .raise();
        }
        hash
    }
}

/// Conditions as tests of keys; `None` if no row can meet them.
///
/// # Safety
/// `keys` are of a scan of the index, whose filter columns are of these kinds.
pub unsafe fn conditions(
    index: Relation,
    kinds: &[KeyKind],
    keys: &[pg_sys::ScanKeyData],
) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for scan_key in keys {
        let column = usize::try_from(scan_key.sk_attno).unwrap_or_default().wrapping_sub(1);
        let Some(filter) = column.checked_sub(1) else {
            // No indexed vector is null, and none is in a sphere that is.
            if has(scan_key, pg_sys::SK_SEARCHNULL | pg_sys::SK_ISNULL)
                && !has(scan_key, pg_sys::SK_SEARCHNOTNULL)
            {
                return None;
            }
            continue;
        };
        // SAFETY: the keys are of a scan of the index with these kinds, by this function's
        // contract, and the key is of a filter column.
        let test = unsafe { test_of(index, kinds, column, scan_key) };
        if test == Test::NEVER {
            return None;
        }
        conditions.push(Condition { column: filter, test });
    }
    Some(conditions)
}

/// Whether a key asks for vectors in a sphere.
pub fn is_sphere(key: &pg_sys::ScanKeyData) -> bool {
    let others = pg_sys::SK_SEARCHNULL | pg_sys::SK_SEARCHNOTNULL | pg_sys::SK_SEARCHARRAY;
    key.sk_attno == 1 && !has(key, others)
}

fn has(key: &pg_sys::ScanKeyData, flags: u32) -> bool {
    key.sk_flags & flags as i32 != 0
}

/// # Safety
/// As [`conditions`], and `scan_key` is on filter column `column`.
unsafe fn test_of(index: Relation, kinds: &[KeyKind], column: usize, scan_key: &pg_sys::ScanKeyData) -> Test {
    if has(scan_key, pg_sys::SK_SEARCHNOTNULL) {
        return Test::NotNull;
    }
    if has(scan_key, pg_sys::SK_SEARCHNULL) {
        return Test::Null;
    }
    if has(scan_key, pg_sys::SK_ISNULL) {
        return Test::NEVER;
    }
    let kind = argument_kind(kinds[column - 1], scan_key.sk_subtype);
    let comparison = comparison_of(scan_key.sk_strategy);
    let collation = index.collation(column);
    // SAFETY: the key's argument is not null, as checked above. It is of the operator's right type,
    // for which `kind` stands. The elements of a searched array are so, too.
    let test = |value| kind.test(comparison, unsafe { key_of(kind, collation, value) });
    if has(scan_key, pg_sys::SK_SEARCHARRAY) {
        // SAFETY: with this flag, the argument is an array, and it is not null, as checked above.
        let (values, _) = unsafe { elements_of(scan_key.sk_argument) };
        const VALUES_PER_LOOK: usize = 1024;
        let tests = values.into_iter().flatten().enumerate().map(|(place, value)| {
            if place % VALUES_PER_LOOK == 0 {
                interrupts::check();
            }
            test(value)
        });
        return Test::any(tests);
    }
    test(scan_key.sk_argument)
}

/// The kind of an operator's right argument: the column's, unless the operator compares two types
/// of a family.
fn argument_kind(column: KeyKind, subtype: pg_sys::Oid) -> KeyKind {
    match (column, subtype) {
        (KeyKind::Int2 | KeyKind::Int4 | KeyKind::Int8, pg_sys::INT2OID) => KeyKind::Int2,
        (KeyKind::Int2 | KeyKind::Int4 | KeyKind::Int8, pg_sys::INT4OID) => KeyKind::Int4,
        (KeyKind::Int2 | KeyKind::Int4 | KeyKind::Int8, pg_sys::INT8OID) => KeyKind::Int8,
        (KeyKind::Float4 | KeyKind::Float8, pg_sys::FLOAT4OID) => KeyKind::Float4,
        (KeyKind::Float4 | KeyKind::Float8, pg_sys::FLOAT8OID) => KeyKind::Float8,
        _ => column,
    }
}

/// The comparison that a strategy number of the filter operator classes stands for.
fn comparison_of(strategy: u16) -> Comparison {
    match strategy {
        1 => Comparison::Less,
        2 => Comparison::LessOrEqual,
        3 => Comparison::Equal,
        4 => Comparison::GreaterOrEqual,
        5 => Comparison::Greater,
        6 => Comparison::Overlaps,
        7 => Comparison::Contains,
        8 => Comparison::IsContained,
        _ => Problem::new(ERRCODE_INTERNAL_ERROR, format!("unknown strategy number {strategy}")).raise(),
    }
}
