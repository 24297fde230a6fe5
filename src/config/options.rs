//! The options of an index: WITH (…).

use crate::codec::encoder;
use crate::codec::multibit;
use crate::distance::Space;
use crate::pg::compat;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::structure::MAX_LISTS;
use crate::structure::{GraphLayout, GraphOptions, ListOptions, Quantizer, Rerank, Structure};
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};
use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::OnceLock;

const DEFAULT_M: i32 = 16;
const DEFAULT_EF_CONSTRUCTION: i32 = 64;
const DEFAULT_BITS: i32 = 1;
/// Most dimensions at which a graph has no codes by default. Such vectors are compared as fast as
/// codes, and their codes are inaccurate: between clusters far apart, walks by estimates fail.
const MOST_UNCODED_DIMS: u32 = 16;
/// Most rows of a growing segment.
pub const MAX_FLUSH_ROWS: i32 = 1_000_000;

/// The quantizer is chosen by the space, the layout by where the vectors are.
const QUANTIZER_UNSET: i32 = -1;
const LAYOUT_UNSET: i32 = -1;

/// The numbers that PostgreSQL gave the kinds of options of vdb_hnsw and of vdb_ivf.
static KINDS: OnceLock<(pg_sys::relopt_kind::Type, pg_sys::relopt_kind::Type)> = OnceLock::new();

/// What every index's options begin with.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct StoredMaintenance {
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
    // SAFETY: the relation is open and ours; its options, if it has any, were parsed below.
    let stored = unsafe { (*index.raw()).rd_options.cast::<StoredMaintenance>().as_ref() };
    let StoredMaintenance { flush_rows, compact_segments, .. } = stored.copied().unwrap_or_default();
    let set = |option: i32| (option > 0).then_some(option as usize);
    Maintenance {
        flush_rows: set(flush_rows).map(|rows| rows as u64),
        compact_segments: set(compact_segments),
    }
}

/// The options of vdb_hnsw as PostgreSQL stores them parsed.
#[repr(C)]
#[derive(Clone, Copy)]
struct StoredGraph {
    maintenance: StoredMaintenance,
    m: i32,
    ef_construction: i32,
    quantizer: i32,
    layout: i32,
    rerank: i32,
}

/// The options of vdb_ivf as PostgreSQL stores them parsed.
#[repr(C)]
#[derive(Clone, Copy)]
struct StoredLists {
    maintenance: StoredMaintenance,
    lists: i32,
    quantizer: i32,
    bits: i32,
    rerank: i32,
}

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
/// Options that are read whenever they matter may be changed while the index is used.
const WEAK_LOCK: pg_sys::LOCKMODE = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;

fn add_int(kind: u32, name: &CStr, description: &CStr, default: i32, range: std::ops::RangeInclusive<i32>) {
    add_int_under(LOCK, kind, name, description, default, range);
}

fn add_int_under(
    lock: pg_sys::LOCKMODE,
    kind: u32,
    name: &CStr,
    description: &CStr,
    default: i32,
    range: std::ops::RangeInclusive<i32>,
) {
    // SAFETY: PostgreSQL copies the strings.
    unsafe {
        pg_sys::add_int_reloption(
            kind,
            name.as_ptr(),
            description.as_ptr(),
            default,
            *range.start(),
            *range.end(),
            lock,
        );
    }
}

fn add_enum(
    kind: u32,
    name: &CStr,
    description: &CStr,
    members: &[(&'static CStr, i32)],
    default: i32,
    valid: &CStr,
) {
    let member = |(name, value): &(&'static CStr, i32)| pg_sys::relopt_enum_elt_def {
        string_val: name.as_ptr(),
        symbol_val: *value,
    };
    let end = pg_sys::relopt_enum_elt_def { string_val: std::ptr::null(), symbol_val: 0 };
    let members: Vec<_> = members.iter().map(member).chain([end]).collect();
    // SAFETY: PostgreSQL copies the strings and keeps the members, which live as long as the
    // process.
    unsafe {
        pg_sys::add_enum_reloption(
            kind,
            name.as_ptr(),
            description.as_ptr(),
            members.leak().as_mut_ptr(),
            default,
            valid.as_ptr(),
            LOCK,
        );
    }
}

/// Declares the options; called once when the library is loaded.
pub fn register() {
    KINDS.get_or_init(|| {
        // SAFETY: plain calls while the library is loaded.
        let (graph, lists) = unsafe { (pg_sys::add_reloption_kind(), pg_sys::add_reloption_kind()) };
        add_int(graph, c"m", c"Neighbours of a node", DEFAULT_M, 2..=100);
        add_int(
            graph,
            c"ef_construction",
            c"Candidates looked at for each new node",
            DEFAULT_EF_CONSTRUCTION,
            4..=1000,
        );
        add_int(lists, c"lists", c"Posting lists; 0 for as many as suit the rows", 0, 0..=MAX_LISTS as i32);
        add_int(lists, c"bits", c"Bits a dimension of a code", DEFAULT_BITS, 1..=multibit::MAX_BITS as i32);
        add_enum(
            graph,
            c"layout",
            c"Whether a node has its neighbours' codes, or only its own",
            &[(c"wide", GraphLayout::Wide as i32), (c"compact", GraphLayout::Compact as i32)],
            LAYOUT_UNSET,
            c"Valid values are \"wide\" and \"compact\".",
        );
        for kind in [graph, lists] {
            add_enum(
                kind,
                c"rerank",
                c"Where the exact vectors are that decide the order",
                &[(c"index", Rerank::Index as i32), (c"heap", Rerank::Heap as i32)],
                Rerank::Index as i32,
                c"Valid values are \"index\" and \"heap\".",
            );
            let description = c"Rows at which a growing segment is sealed; 0 for vdb.flush_rows";
            add_int_under(WEAK_LOCK, kind, c"flush_rows", description, 0, 0..=MAX_FLUSH_ROWS);
            let description = c"Segments of about one size that are merged; 0 for vdb.compact_segments";
            add_int_under(WEAK_LOCK, kind, c"compact_segments", description, 0, 0..=100);
        }
        let none = (c"none", Quantizer::None as i32);
        let rabitq = (c"rabitq", Quantizer::Rabitq as i32);
        let sq8 = (c"sq8", Quantizer::Sq8 as i32);
        let add_quantizer = |kind, members: &[_], valid| {
            let description = c"How vectors are encoded for search";
            add_enum(kind, c"quantizer", description, members, QUANTIZER_UNSET, valid);
        };
        add_quantizer(graph, &[none, rabitq], c"Valid values are \"none\" and \"rabitq\".");
        add_quantizer(lists, &[none, rabitq, sq8], c"Valid values are \"none\", \"rabitq\" and \"sq8\".");
        (graph, lists)
    });
}

/// # Safety
/// `options` is what PostgreSQL passes to `amoptions`; the elements describe the fields of
/// `Stored`, which begins with [`StoredMaintenance`].
unsafe fn parse<Stored>(
    options: pg_sys::Datum,
    validate: bool,
    kind: u32,
    elements: &[(&'static CStr, pg_sys::relopt_type::Type, usize)],
) -> *mut pg_sys::bytea {
    let maintenance = [
        (c"flush_rows", INT, offset_of!(StoredMaintenance, flush_rows)),
        (c"compact_segments", INT, offset_of!(StoredMaintenance, compact_segments)),
    ];
    let elements: Vec<_> = elements
        .iter()
        .chain(&maintenance)
        .map(|(name, kind, offset)| compat::option_element(name, *kind, *offset))
        .collect();
    // SAFETY: the caller's promise.
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

use pg_sys::relopt_type::{RELOPT_TYPE_ENUM as ENUM, RELOPT_TYPE_INT as INT};

#[pg_guard]
pub unsafe extern "C-unwind" fn graph_amoptions(
    options: pg_sys::Datum,
    validate: bool,
) -> *mut pg_sys::bytea {
    let (kind, _) = *KINDS.get().expect("registered when the library was loaded");
    let elements = [
        (c"m", INT, offset_of!(StoredGraph, m)),
        (c"ef_construction", INT, offset_of!(StoredGraph, ef_construction)),
        (c"quantizer", ENUM, offset_of!(StoredGraph, quantizer)),
        (c"layout", ENUM, offset_of!(StoredGraph, layout)),
        (c"rerank", ENUM, offset_of!(StoredGraph, rerank)),
    ];
    // SAFETY: called by PostgreSQL; the elements are those of the struct.
    unsafe { parse::<StoredGraph>(options, validate, kind, &elements) }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn list_amoptions(options: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let (_, kind) = *KINDS.get().expect("registered when the library was loaded");
    let elements = [
        (c"lists", INT, offset_of!(StoredLists, lists)),
        (c"quantizer", ENUM, offset_of!(StoredLists, quantizer)),
        (c"bits", INT, offset_of!(StoredLists, bits)),
        (c"rerank", ENUM, offset_of!(StoredLists, rerank)),
    ];
    // SAFETY: called by PostgreSQL; the elements are those of the struct.
    unsafe { parse::<StoredLists>(options, validate, kind, &elements) }
}

fn invalid(message: &str) -> Problem {
    Problem::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

/// The options of a vdb_hnsw index over `space`, checked against one another.
pub fn of_graph(index: Relation, space: Space) -> (Structure, Quantizer) {
    // SAFETY: the relation is open; its options, if it has any, were parsed by `graph_amoptions`.
    let stored = unsafe { (*index.raw()).rd_options.cast::<StoredGraph>().as_ref() };
    let stored = stored.copied().unwrap_or(StoredGraph {
        maintenance: StoredMaintenance::default(),
        m: DEFAULT_M,
        ef_construction: DEFAULT_EF_CONSTRUCTION,
        quantizer: QUANTIZER_UNSET,
        layout: LAYOUT_UNSET,
        rerank: Rerank::Index as i32,
    });
    let StoredGraph { m, ef_construction, quantizer, layout, rerank, .. } = stored;
    if ef_construction < 2 * m {
        invalid("ef_construction must be greater than or equal to 2 * m")
            .detail(format!("ef_construction is {ef_construction}, m is {m}."))
            .raise();
    }
    let rerank = rerank_of(rerank);
    let asked_for =
        [GraphLayout::Wide, GraphLayout::Compact].into_iter().find(|&known| known as i32 == layout);
    let wants_codes = rerank == Rerank::Heap || asked_for == Some(GraphLayout::Compact);
    let quantizer = match quantizer {
        QUANTIZER_UNSET if space.dims <= MOST_UNCODED_DIMS && !wants_codes => Quantizer::None,
        quantizer => quantizer_of(quantizer, space),
    };
    check_rerank(rerank, quantizer, "every node on the way");
    if asked_for == Some(GraphLayout::Compact) && quantizer == Quantizer::None {
        invalid("layout \"compact\" needs a quantizer")
            .detail("It says where the codes lie: codes are for vector and halfvec, under L2, inner product and cosine.")
            .raise();
    }
    if asked_for == Some(GraphLayout::Wide) && rerank == Rerank::Heap {
        invalid("layout \"wide\" has the vectors in the index")
            .hint("Leave out rerank = heap, or take layout = compact.")
            .raise();
    }
    let layout = asked_for.unwrap_or(match rerank {
        Rerank::Index => GraphLayout::Wide,
        Rerank::Heap => GraphLayout::Compact,
    });
    let options = GraphOptions { m: m as u16, ef_construction: ef_construction as u16, layout, rerank };
    (Structure::Graph(options), quantizer)
}

/// The options of a vdb_ivf index over `space`, checked against one another.
pub fn of_lists(index: Relation, space: Space) -> (Structure, Quantizer) {
    // SAFETY: the relation is open; its options, if it has any, were parsed by `list_amoptions`.
    let stored = unsafe { (*index.raw()).rd_options.cast::<StoredLists>().as_ref() };
    let StoredLists { lists, quantizer, bits, rerank, .. } = stored.copied().unwrap_or(StoredLists {
        maintenance: StoredMaintenance::default(),
        lists: 0,
        quantizer: QUANTIZER_UNSET,
        bits: DEFAULT_BITS,
        rerank: Rerank::Index as i32,
    });
    let quantizer = quantizer_of(quantizer, space);
    let rerank = rerank_of(rerank);
    check_rerank(rerank, quantizer, "every row of a list");
    if bits != DEFAULT_BITS && quantizer != Quantizer::Rabitq {
        invalid("bits are for quantizer \"rabitq\"").detail(format!("bits is {bits}.")).raise();
    }
    let options = ListOptions { lists: lists as u32, bits: bits as u8, rerank };
    (Structure::Lists(options), quantizer)
}

fn rerank_of(option: i32) -> Rerank {
    if option == Rerank::Heap as i32 { Rerank::Heap } else { Rerank::Index }
}

fn check_rerank(rerank: Rerank, quantizer: Quantizer, what: &str) {
    if rerank == Rerank::Heap && quantizer == Quantizer::None {
        invalid("rerank \"heap\" needs a quantizer")
            .detail(format!("Without codes {what} would be fetched from the table."))
            .raise();
    }
}

fn quantizer_of(option: i32, space: Space) -> Quantizer {
    let asked_for =
        [Quantizer::None, Quantizer::Rabitq, Quantizer::Sq8].into_iter().find(|&q| q as i32 == option);
    match asked_for {
        Some(Quantizer::None) => Quantizer::None,
        None if !encoder::is_supported(space) => Quantizer::None,
        Some(quantizer) if encoder::is_supported(space) => quantizer,
        None => Quantizer::Rabitq,
        Some(_) => invalid("this quantizer cannot encode this column under this operator class")
            .detail("Codes are for vector and halfvec, under L2, inner product and cosine.")
            .raise(),
    }
}
