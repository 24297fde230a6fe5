//! Options of an index, WITH (…): how an access method declares its own, and those of all.

use crate::pg::compat;
use crate::pg::relation::Relation;
use pgrx::pg_sys;
use pgrx::pg_sys::relopt_type::{RELOPT_TYPE_ENUM as ENUM, RELOPT_TYPE_INT as INT};
use std::ffi::{CStr, CString};
use std::mem::offset_of;
use std::ops::RangeInclusive;

/// Most rows of a growing segment.
pub const MAX_FLUSH_ROWS: i32 = 1_000_000;

/// The first fields of every index's options.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StoredMaintenance {
    varlena_header: i32,
    flush_rows: i32,
    compact_segments: i32,
}

/// Options about an index's maintenance, where they are set; otherwise the settings of the same
/// names apply.
pub struct Maintenance {
    pub flush_rows: Option<u64>,
    pub compact_segments: Option<usize>,
}

/// An index's options about its maintenance.
pub fn maintenance(index: Relation) -> Maintenance {
    // SAFETY: the relation is open, and an index of ours. So its options are null, or a struct of
    // `parse`, which begins with these fields.
    let stored = unsafe { (*index.raw()).rd_options.cast::<StoredMaintenance>().as_ref() };
    let StoredMaintenance { flush_rows, compact_segments, .. } = stored.copied().unwrap_or_default();
    let set = |option: i32| (option > 0).then_some(option as usize);
    Maintenance {
        flush_rows: set(flush_rows).map(|rows| rows as u64),
        compact_segments: set(compact_segments),
    }
}

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
/// Options that are read at each use may be changed while the index is used.
const WEAK_LOCK: pg_sys::LOCKMODE = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;

/// The options of one access method: PostgreSQL's number for them.
#[derive(Clone, Copy)]
pub struct OptionKind(pg_sys::relopt_kind::Type);

/// A field of the struct that options are parsed into.
#[derive(Clone, Copy)]
pub struct Field {
    name: &'static CStr,
    kind: pg_sys::relopt_type::Type,
    offset: usize,
}

impl Field {
    /// A number, at an offset in the struct.
    pub const fn int(name: &'static CStr, offset: usize) -> Self {
        Self { name, kind: INT, offset }
    }

    /// One of several names, at an offset in the struct.
    pub const fn choice(name: &'static CStr, offset: usize) -> Self {
        Self { name, kind: ENUM, offset }
    }
}

const MAINTENANCE: [Field; 2] = [
    Field::int(c"flush_rows", offset_of!(StoredMaintenance, flush_rows)),
    Field::int(c"compact_segments", offset_of!(StoredMaintenance, compact_segments)),
];

impl OptionKind {
    /// Declares the options of maintenance for an access method; its own are to follow. To be
    /// called while the library is loaded, as are the methods that add options.
    pub fn register() -> Self {
        // SAFETY: the call only takes a new number for a kind, while the library is loaded.
        let kind = Self(unsafe { pg_sys::add_reloption_kind() });
        let description = c"Rows at which a growing segment is sealed; 0 for vdb.flush_rows";
        kind.add_int_under(WEAK_LOCK, c"flush_rows", description, 0, 0..=MAX_FLUSH_ROWS);
        let description = c"Segments of about one size that are merged; 0 for vdb.compact_segments";
        kind.add_int_under(WEAK_LOCK, c"compact_segments", description, 0, 0..=100);
        kind
    }

    /// Adds an option that is a number.
    pub fn add_int(self, name: &CStr, description: &CStr, default: i32, range: RangeInclusive<i32>) {
        self.add_int_under(LOCK, name, description, default, range);
    }

    fn add_int_under(
        self,
        lock: pg_sys::LOCKMODE,
        name: &CStr,
        description: &CStr,
        default: i32,
        range: RangeInclusive<i32>,
    ) {
        // SAFETY: PostgreSQL copies both strings. The caller adds options only while the library is
        // loaded.
        unsafe {
            pg_sys::add_int_reloption(
                self.0,
                name.as_ptr(),
                description.as_ptr(),
                default,
                *range.start(),
                *range.end(),
                lock,
            );
        }
    }

    /// Adds an option that is one of several names, stored as a number.
    pub fn add_choice(self, name: &CStr, description: &CStr, members: &[(&str, i32)], default: i32) {
        let text = |text: String| CString::new(text).expect("names have no null character");
        let member = |&(name, value): &(&str, i32)| pg_sys::relopt_enum_elt_def {
            string_val: text(name.into()).into_raw(),
            symbol_val: value,
        };
        let end = pg_sys::relopt_enum_elt_def { string_val: std::ptr::null(), symbol_val: 0 };
        let values: Vec<_> = members.iter().map(member).chain([end]).collect();
        let names: Vec<String> = members.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let (last, others) = names.split_last().expect("a choice of several");
        let valid = text(format!("Valid values are {} and {last}.", others.join(", ")));
        // SAFETY: PostgreSQL copies `name` and `description`, and keeps the rest, which is leaked:
        // the list of names with a null name at the end, and the text. The caller adds options only
        // while the library is loaded.
        unsafe {
            pg_sys::add_enum_reloption(
                self.0,
                name.as_ptr(),
                description.as_ptr(),
                values.leak().as_mut_ptr(),
                default,
                valid.into_raw(),
                LOCK,
            );
        }
    }

    /// Parses options into a `Stored`.
    ///
    /// # Safety
    /// `options` is what PostgreSQL passes to `amoptions`. The fields are those of `Stored`, a
    /// `repr(C)` struct that begins with [`StoredMaintenance`].
    pub unsafe fn parse<Stored>(
        self,
        options: pg_sys::Datum,
        validate: bool,
        fields: &[Field],
    ) -> *mut pg_sys::bytea {
        let fields = fields.iter().chain(&MAINTENANCE);
        let elements: Vec<_> =
            fields.map(|field| compat::option_element(field.name, field.kind, field.offset)).collect();
        // SAFETY: the options are `amoptions`' by this function's contract. The elements outlive
        // the call, and their offsets and types are those of fields within `Stored`, whose size is
        // passed.
        unsafe {
            pg_sys::build_reloptions(
                options,
                validate,
                self.0,
                size_of::<Stored>(),
                elements.as_ptr(),
                elements.len() as i32,
            )
            .cast()
        }
    }
}
