//! Settings (`vdb.…`) and options of an index (`WITH (…)`).

use crate::distance::Space;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::segment::coded;
use crate::storage::meta::{GraphOptions, Quantizer};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PgSqlErrorCode, pg_guard, pg_sys};
use std::sync::OnceLock;

static EF_SEARCH: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_EF_SEARCH);
static GROWING_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000);

const DEFAULT_EF_SEARCH: i32 = 100;
const DEFAULT_M: i32 = 16;
const DEFAULT_EF_CONSTRUCTION: i32 = 64;

/// The quantizer is chosen by the space.
const QUANTIZER_UNSET: i32 = -1;

/// The kind of options that PostgreSQL gave us a number for.
static KIND: OnceLock<pg_sys::relopt_kind::Type> = OnceLock::new();

/// Candidates that a search of one graph looks at before it returns its first row.
pub fn ef_search() -> usize {
    EF_SEARCH.get().max(1) as usize
}

/// Rows at which a growing segment is sealed.
pub fn growing_rows() -> u64 {
    GROWING_ROWS.get().max(1) as u64
}

/// An index's options as PostgreSQL stores them parsed.
#[repr(C)]
struct Stored {
    varlena_header: i32,
    m: i32,
    ef_construction: i32,
    quantizer: i32,
}

/// Declares settings and options; called once when the library is loaded.
pub fn register() {
    GucRegistry::define_int_guc(
        c"vdb.ef_search",
        c"Candidates that a search of an HNSW graph looks at.",
        c"Higher values find more of the true neighbours and take longer.",
        &EF_SEARCH,
        1,
        10_000,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vdb.growing_rows",
        c"Rows at which a growing segment is sealed with a graph.",
        c"Until then its rows are searched one by one.",
        &GROWING_ROWS,
        100,
        1_000_000,
        GucContext::Userset,
        GucFlags::default(),
    );
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a plain call while the library is loaded.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(c"vdb".as_ptr())
    };
    KIND.get_or_init(|| {
        let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: the strings are constants; PostgreSQL copies what it keeps of them, the members array aside.
        unsafe {
            let kind = pg_sys::add_reloption_kind();
            let int = |name: &std::ffi::CStr, description: &std::ffi::CStr, default, min, max| {
                pg_sys::add_int_reloption(kind, name.as_ptr(), description.as_ptr(), default, min, max, lock);
            };
            int(c"m", c"Neighbours of a node", DEFAULT_M, 2, 100);
            int(
                c"ef_construction",
                c"Candidates looked at for each new node",
                DEFAULT_EF_CONSTRUCTION,
                4,
                1000,
            );
            let member = |name: &'static std::ffi::CStr, value: Quantizer| pg_sys::relopt_enum_elt_def {
                string_val: name.as_ptr(),
                symbol_val: value as i32,
            };
            let end = pg_sys::relopt_enum_elt_def { string_val: std::ptr::null(), symbol_val: 0 };
            let members = [member(c"none", Quantizer::None), member(c"rabitq", Quantizer::Rabitq), end];
            let members = Box::leak(Box::new(members));
            pg_sys::add_enum_reloption(
                kind,
                c"quantizer".as_ptr(),
                c"How vectors are encoded for search".as_ptr(),
                members.as_mut_ptr(),
                QUANTIZER_UNSET,
                c"Valid values are \"none\" and \"rabitq\".".as_ptr(),
                lock,
            );
            kind
        }
    });
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amoptions(options: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let element = |name: &'static std::ffi::CStr, kind, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype: kind,
        offset: offset as i32,
        #[cfg(feature = "pg18")]
        isset_offset: 0,
    };
    let elements = [
        element(c"m", pg_sys::relopt_type::RELOPT_TYPE_INT, std::mem::offset_of!(Stored, m)),
        element(
            c"ef_construction",
            pg_sys::relopt_type::RELOPT_TYPE_INT,
            std::mem::offset_of!(Stored, ef_construction),
        ),
        element(c"quantizer", pg_sys::relopt_type::RELOPT_TYPE_ENUM, std::mem::offset_of!(Stored, quantizer)),
    ];
    let kind = *KIND.get().expect("registered when the library was loaded");
    // SAFETY: the elements describe the fields of `Stored`, which begins with a varlena header.
    unsafe {
        pg_sys::build_reloptions(
            options,
            validate,
            kind,
            size_of::<Stored>(),
            elements.as_ptr(),
            elements.len() as i32,
        )
        .cast()
    }
}

/// The options of an index over `space`, checked against one another.
pub fn of(index: Relation, space: Space) -> (GraphOptions, Quantizer) {
    // SAFETY: the relation is open; its options, if it has any, were parsed by `amoptions`.
    let stored = unsafe { (*index.raw()).rd_options.cast::<Stored>().as_ref() };
    let (m, ef_construction, quantizer) = stored
        .map_or((DEFAULT_M, DEFAULT_EF_CONSTRUCTION, QUANTIZER_UNSET), |stored| {
            (stored.m, stored.ef_construction, stored.quantizer)
        });
    let invalid = |message: &str| Problem::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
    if ef_construction < 2 * m {
        invalid("ef_construction must be greater than or equal to 2 * m")
            .detail(format!("ef_construction is {ef_construction}, m is {m}."))
            .raise();
    }
    let quantizer = if quantizer == Quantizer::None as i32 {
        Quantizer::None
    } else if coded::is_supported(space) {
        Quantizer::Rabitq
    } else if quantizer == QUANTIZER_UNSET {
        Quantizer::None
    } else {
        invalid("quantizer \"rabitq\" cannot encode this column under this operator class")
            .detail("It encodes vector and halfvec, under L2, inner product and cosine.")
            .raise()
    };
    (GraphOptions { m: m as u16, ef_construction: ef_construction as u16 }, quantizer)
}
