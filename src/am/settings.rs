//! The settings `vdb.…`.

use crate::segment::search::Effort;
use crate::storage::manifest::Snapshot;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static EF_SEARCH: GucSetting<i32> = GucSetting::<i32>::new(100);
static PROBES: GucSetting<i32> = GucSetting::<i32>::new(0);
static GROWING_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000);

/// How hard a search of this index tries.
pub fn effort(snapshot: &Snapshot) -> Effort {
    let lists = snapshot.manifest.codebook.as_ref().map_or(1, |codebook| codebook.lists);
    let probes = match PROBES.get().max(0) as u32 {
        0 => automatic_probes(lists),
        probes => probes,
    };
    Effort { ef: EF_SEARCH.get().max(1) as usize, probes: probes.min(lists) as usize }
}

/// Lists probed of so many, if the user does not say: recall@10 is then at least 0.95 on the project's data sets.
fn automatic_probes(lists: u32) -> u32 {
    (4.0 * f64::from(lists).sqrt()) as u32
}

/// Rows at which a growing segment is sealed.
pub fn growing_rows() -> u64 {
    GROWING_ROWS.get().max(1) as u64
}

/// Declares the settings; called once when the library is loaded.
pub fn register() {
    let define = |name, short, long, setting, min, max| {
        GucRegistry::define_int_guc(
            name,
            short,
            long,
            setting,
            min,
            max,
            GucContext::Userset,
            GucFlags::default(),
        );
    };
    define(
        c"vdb.ef_search",
        c"Candidates that a search of an HNSW graph looks at.",
        c"Higher values find more of the true neighbours and take longer.",
        &EF_SEARCH,
        1,
        10_000,
    );
    define(
        c"vdb.probes",
        c"Lists that a search of an IVF index looks at.",
        c"Higher values find more of the true neighbours and take longer; 0 chooses by the number of lists.",
        &PROBES,
        0,
        crate::segment::lists::train::MAX_LISTS as i32,
    );
    define(
        c"vdb.growing_rows",
        c"Rows at which a growing segment is sealed.",
        c"Until then its rows are searched one by one.",
        &GROWING_ROWS,
        100,
        1_000_000,
    );
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a plain call while the library is loaded.
    unsafe {
        pgrx::pg_sys::MarkGUCPrefixReserved(c"vdb".as_ptr())
    };
}
