//! The access methods: their options, checked against one another, and their handlers.

use super::build::{build, build_empty};
use super::handler::routine;
use crate::codec::encoder;
use crate::codec::rabitq_multibit;
use crate::config::options::{Field, OptionKind, StoredMaintenance};
use crate::distance::Space;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::structure::{GraphLayout, GraphOptions, ListOptions, MAX_LISTS, Quantizer, Rerank, Structure};
use pgrx::{PgBox, PgSqlErrorCode, pg_extern, pg_guard, pg_sys};
use std::mem::offset_of;
use std::sync::OnceLock;

/// The options of each access method.
static GRAPH_OPTIONS: OnceLock<OptionKind> = OnceLock::new();
static LIST_OPTIONS: OnceLock<OptionKind> = OnceLock::new();

/// By default the space determines the quantizer, and the place of the vectors the layout.
const UNSET: i32 = -1;

const DEFAULT_M: i32 = 16;
const DEFAULT_EF_CONSTRUCTION: i32 = 64;
const DEFAULT_BITS: i32 = 1;

/// A graph's vectors of so few dimensions are compared as fast as codes, and codes of few
/// dimensions have great errors: where clusters lie far apart, walks by estimates lose their way.
const MOST_UNCODED_DIMS: u32 = 16;

/// Declares the options; called once when the library is loaded.
pub fn register() {
    let graph = *GRAPH_OPTIONS.get_or_init(OptionKind::register);
    let lists = *LIST_OPTIONS.get_or_init(OptionKind::register);
    graph.add_int(c"m", c"Neighbours of a node", DEFAULT_M, 2..=100);
    let description = c"Candidates considered for each new node";
    graph.add_int(c"ef_construction", description, DEFAULT_EF_CONSTRUCTION, 4..=1000);
    let layouts = [GraphLayout::Wide, GraphLayout::Compact].map(|layout| (layout.name(), layout as i32));
    let description = c"Whether a node has its neighbours' codes, or only its own";
    graph.add_choice(c"layout", description, &layouts, UNSET);
    let description = c"Posting lists; 0 chooses by the number of rows";
    lists.add_int(c"lists", description, 0, 0..=MAX_LISTS as i32);
    lists.add_int(c"bits", c"Bits a dimension of a code", DEFAULT_BITS, 1..=rabitq_multibit::MAX_BITS as i32);
    for (kind, quantizers) in [(graph, Quantizer::OF_GRAPHS), (lists, Quantizer::OF_LISTS)] {
        let quantizers: Vec<_> =
            quantizers.iter().map(|quantizer| (quantizer.name(), *quantizer as i32)).collect();
        kind.add_choice(c"quantizer", c"How vectors are encoded for search", &quantizers, UNSET);
        let places = [("index", Rerank::Index as i32), ("heap", Rerank::Heap as i32)];
        let description = c"Where the exact vectors for the final order are stored";
        kind.add_choice(c"rerank", description, &places, Rerank::Index as i32);
    }
}

/// The options of vdb_hnsw, as PostgreSQL stores them parsed.
#[repr(C)]
#[derive(Clone, Copy)]
struct GraphFields {
    maintenance: StoredMaintenance,
    m: i32,
    ef_construction: i32,
    quantizer: i32,
    layout: i32,
    rerank: i32,
}

#[pg_guard]
unsafe extern "C-unwind" fn graph_amoptions(options: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let kind = *GRAPH_OPTIONS.get().expect("registered when the library was loaded");
    let fields = [
        Field::int(c"m", offset_of!(GraphFields, m)),
        Field::int(c"ef_construction", offset_of!(GraphFields, ef_construction)),
        Field::choice(c"quantizer", offset_of!(GraphFields, quantizer)),
        Field::choice(c"layout", offset_of!(GraphFields, layout)),
        Field::choice(c"rerank", offset_of!(GraphFields, rerank)),
    ];
    // SAFETY: PostgreSQL passes these arguments to `amoptions`. The fields are those of
    // GraphFields with their types.
    unsafe { kind.parse::<GraphFields>(options, validate, &fields) }
}

/// The structure and the quantizer of a vdb_hnsw index over `space`.
fn graph_of(index: Relation, space: Space) -> (Structure, Quantizer) {
    // SAFETY: the relation is open. Its options are null, or a GraphFields that `graph_amoptions`
    // has parsed.
    let stored = unsafe { (*index.raw()).rd_options.cast::<GraphFields>().as_ref() };
    let stored = stored.copied().unwrap_or(GraphFields {
        maintenance: StoredMaintenance::default(),
        m: DEFAULT_M,
        ef_construction: DEFAULT_EF_CONSTRUCTION,
        quantizer: UNSET,
        layout: UNSET,
        rerank: Rerank::Index as i32,
    });
    let GraphFields { m, ef_construction, quantizer, layout, rerank, .. } = stored;
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
        UNSET if space.dims <= MOST_UNCODED_DIMS && !wants_codes => Quantizer::None,
        quantizer => quantizer_of(quantizer, Quantizer::OF_GRAPHS, space),
    };
    check_rerank(rerank, quantizer, "every node on the way");
    if asked_for == Some(GraphLayout::Compact) && !quantizer.has_codes() {
        invalid("layout \"compact\" needs a quantizer")
            .detail(format!("The layout places the codes. {CODED}"))
            .raise();
    }
    if asked_for == Some(GraphLayout::Wide) && rerank == Rerank::Heap {
        invalid("layout \"wide\" has the vectors in the index")
            .hint("Remove rerank = heap, or use layout = compact.")
            .raise();
    }
    let layout = asked_for.unwrap_or(match rerank {
        Rerank::Index => GraphLayout::Wide,
        Rerank::Heap => GraphLayout::Compact,
    });
    let options = GraphOptions { m: m as u16, ef_construction: ef_construction as u16, layout, rerank };
    (Structure::Graph(options), quantizer)
}

/// The options of vdb_ivf, as PostgreSQL stores them parsed.
#[repr(C)]
#[derive(Clone, Copy)]
struct ListFields {
    maintenance: StoredMaintenance,
    lists: i32,
    quantizer: i32,
    bits: i32,
    rerank: i32,
}

#[pg_guard]
unsafe extern "C-unwind" fn list_amoptions(options: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let kind = *LIST_OPTIONS.get().expect("registered when the library was loaded");
    let fields = [
        Field::int(c"lists", offset_of!(ListFields, lists)),
        Field::choice(c"quantizer", offset_of!(ListFields, quantizer)),
        Field::int(c"bits", offset_of!(ListFields, bits)),
        Field::choice(c"rerank", offset_of!(ListFields, rerank)),
    ];
    // SAFETY: PostgreSQL passes these arguments to `amoptions`. The fields are those of
    // ListFields with their types.
    unsafe { kind.parse::<ListFields>(options, validate, &fields) }
}

/// The structure and the quantizer of a vdb_ivf index over `space`.
fn lists_of(index: Relation, space: Space) -> (Structure, Quantizer) {
    // SAFETY: the relation is open. Its options are null, or a ListFields that `list_amoptions`
    // has parsed.
    let stored = unsafe { (*index.raw()).rd_options.cast::<ListFields>().as_ref() };
    let ListFields { lists, quantizer, bits, rerank, .. } = stored.copied().unwrap_or(ListFields {
        maintenance: StoredMaintenance::default(),
        lists: 0,
        quantizer: UNSET,
        bits: DEFAULT_BITS,
        rerank: Rerank::Index as i32,
    });
    let quantizer = quantizer_of(quantizer, Quantizer::OF_LISTS, space);
    let rerank = rerank_of(rerank);
    check_rerank(rerank, quantizer, "every row of a list");
    if bits != DEFAULT_BITS && quantizer != Quantizer::Rabitq {
        invalid("bits are for quantizer \"rabitq\"").detail(format!("bits is {bits}.")).raise();
    }
    let options = ListOptions { lists: lists as u32, bits: bits as u8, rerank };
    (Structure::Lists(options), quantizer)
}

fn invalid(message: &str) -> Problem {
    Problem::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

/// What has codes.
const CODED: &str = "Codes are for vector and halfvec, under L2, inner product and cosine.";

fn rerank_of(option: i32) -> Rerank {
    if option == Rerank::Heap as i32 { Rerank::Heap } else { Rerank::Index }
}

fn check_rerank(rerank: Rerank, quantizer: Quantizer, what: &str) {
    if rerank == Rerank::Heap && !quantizer.has_codes() {
        invalid("rerank \"heap\" needs a quantizer")
            .detail(format!("Without codes {what} would be fetched from the table."))
            .raise();
    }
}

/// The quantizer that an option names, or the one that the space has by default.
fn quantizer_of(option: i32, quantizers: &[Quantizer], space: Space) -> Quantizer {
    match quantizers.iter().find(|&&quantizer| quantizer as i32 == option) {
        Some(Quantizer::None) => Quantizer::None,
        None if !encoder::is_supported(space) => Quantizer::None,
        Some(quantizer) if encoder::is_supported(space) => *quantizer,
        None => Quantizer::Rabitq,
        Some(_) => invalid("this quantizer cannot encode this column under this operator class")
            .detail(CODED)
            .raise(),
    }
}

/// The functions of an access method that depend on its structure.
macro_rules! access_method {
    ($handler:ident, $build:ident, $build_empty:ident, $options:ident, $structure:ident) => {
        #[pg_extern(sql = false)]
        fn $handler(_fcinfo: pg_sys::FunctionCallInfo) -> PgBox<pg_sys::IndexAmRoutine> {
            let mut routine = routine();
            routine.ambuild = Some($build);
            routine.ambuildempty = Some($build_empty);
            routine.amoptions = Some($options);
            routine.into_pg_boxed()
        }

        #[pg_guard]
        unsafe extern "C-unwind" fn $build(
            heap: pg_sys::Relation,
            index: pg_sys::Relation,
            info: *mut pg_sys::IndexInfo,
        ) -> *mut pg_sys::IndexBuildResult {
            // SAFETY: these are the arguments that PostgreSQL passes to `ambuild`.
            unsafe { build(heap, index, info, $structure) }
        }

        #[pg_guard]
        unsafe extern "C-unwind" fn $build_empty(index: pg_sys::Relation) {
            // SAFETY: this is the argument that PostgreSQL passes to `ambuildempty`.
            unsafe { build_empty(index, $structure) };
        }
    };
}

access_method!(vdb_hnsw_handler, hnsw_ambuild, hnsw_ambuildempty, graph_amoptions, graph_of);
access_method!(vdb_ivf_handler, ivf_ambuild, ivf_ambuildempty, list_amoptions, lists_of);
