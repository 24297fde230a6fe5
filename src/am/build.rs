//! CREATE INDEX and REINDEX: the table's rows become sealed segments.

use super::table::{Extent, Source, malformed};
use super::{attributes, opclass};
use crate::am::parallel_scan;
use crate::config::options;
use crate::distance::Space;
use crate::maintenance;
use crate::memory;
use crate::pg::buffer::PAGE_SIZE;
use crate::pg::error::OrRaise;
use crate::pg::progress::{self, Phase};
use crate::pg::relation::Relation;
use crate::pg::{threads, wal};
use crate::segment::batch::{Batch, Target};
use crate::segment::lists::assign::CHUNK;
use crate::segment::lists::codebook::Lists;
use crate::segment::lists::train::{self, Sample};
use crate::segment::{Entry, Plan, empty, growing, row_layout};
use crate::storage::draft::Draft;
use crate::storage::edit::Edit;
use crate::storage::meta::Meta;
use crate::structure::{ListOptions, Rerank, Structure};
use crate::util::random::Spread;
use pgrx::{PgBox, PgSqlErrorCode, pg_guard, pg_sys};

/// The segments of an index that is being created.
struct Build {
    edit: Edit,
    plan: Plan,
    target: Target,
    batch: Batch,
    budget: usize,
    indexed: u64,
}

impl Build {
    fn add(&mut self, entry: Entry) {
        memory::check();
        if !self.batch.push(entry) {
            malformed();
        }
        self.indexed += 1;
        self.prepare_pages();
        if self.batch.bytes() >= self.budget {
            self.seal();
            progress::phase(Phase::LoadRows);
        }
    }

    /// Appends pages for the vectors of rows that threads are assigning to lists at present. Those
    /// of a graph are appended while it is built.
    fn prepare_pages(&mut self) {
        let rerank = match self.plan.structure {
            Structure::Lists(options) => options.rerank,
            Structure::Graph(_) => return,
        };
        if let Some(bytes) = self.edit.meta.space.row_bytes()
            && rerank == Rerank::Index
            && self.batch.rows().is_multiple_of(CHUNK)
        {
            let layout = row_layout(self.edit.meta.space);
            self.edit.append(layout.pages(layout.size(CHUNK as u64, bytes)) as u32);
        }
    }

    /// Seals the rows loaded so far.
    fn seal(&mut self) {
        let fresh = Batch::new(self.edit.meta.space, self.plan, &self.target);
        let batch = std::mem::replace(&mut self.batch, fresh);
        if batch.rows() > 0 {
            let sealed = batch.seal(&mut Draft::within(&mut self.edit));
            self.edit.manifest.sealed.push(sealed);
        }
    }
}

/// Blocks that are sampled together. Beginning a scan costs as much as reading a dozen rows, and a
/// block has few large rows. Still larger ones lie out of line, so that a block has many.
fn blocks_of_a_scan(space: Space) -> u32 {
    const ROWS: usize = 16;
    const INLINE: usize = 2000;
    let bytes = space.row_bytes().filter(|&bytes| bytes <= INLINE).unwrap_or_default();
    (ROWS * bytes / PAGE_SIZE).max(1) as u32
}

/// Finds the centroids of an index's lists from a sample of the table's blocks.
fn lists_of(source: Source, edit: &mut Edit, plan: Plan, options: ListOptions, budget: usize) -> Lists {
    const LEAST_BLOCKS: u32 = 64;
    progress::phase(Phase::SampleRows);
    let dims = source.space.dims as usize;
    let mut sample = Sample::new(source.space);
    let (total, run) = (source.table().blocks(), blocks_of_a_scan(source.space));
    let order = Spread::new(total.div_ceil(run));
    let mut lists = train::lists_wanted(options.lists, 0);
    let mut rows = 0;
    for position in 0..total.div_ceil(run) {
        let enough = train::sample_rows(lists, dims, budget / 2);
        if position * run >= LEAST_BLOCKS && sample.rows() >= enough {
            break;
        }
        let first = order.at(position) * run;
        let extent = Extent::Blocks { first, count: run.min(total - first) };
        source.scan(extent, false, &mut |entry| {
            if !sample.push(entry.row) {
                malformed();
            }
        });
        rows = sample.rows() as u64 * u64::from(total) / u64::from(((position + 1) * run).min(total));
        lists = train::lists_wanted(options.lists, rows);
    }
    progress::phase(Phase::FindCentroids);
    sample.into_lists(|| Draft::within(edit), lists, rows, plan)
}

fn new_meta(index: Relation, kind: IndexKind) -> Meta {
    let space = opclass::space_of(index);
    let (structure, quantizer) = match kind {
        IndexKind::Hnsw => options::of_graph(index, space),
        IndexKind::Ivf => options::of_lists(index, space),
    };
    Meta::new(space, structure, quantizer, attributes::kinds_of(index), rand_seed())
}

#[derive(Clone, Copy)]
enum IndexKind {
    Hnsw,
    Ivf,
}

/// A number that differs from build to build.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[pg_guard]
pub unsafe extern "C-unwind" fn hnsw_ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the arguments are those that PostgreSQL passes to `ambuild`.
    unsafe { build(heap, index, info, IndexKind::Hnsw) }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn ivf_ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the arguments are those that PostgreSQL passes to `ambuild`.
    unsafe { build(heap, index, info, IndexKind::Ivf) }
}

/// # Safety
/// The arguments are those that PostgreSQL passes to `ambuild`.
unsafe fn build(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    kind: IndexKind,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the arguments are `ambuild`'s by this function's contract, so the relation is open
    // and locked.
    let relation = unsafe { Relation::from_raw(index) };
    let meta = new_meta(relation, kind);
    // SAFETY: a plain read of a setting, on the main thread, which alone writes it.
    let budget = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
    let space = meta.space;
    let plan = maintenance::plan(&meta, threads::maintenance_threads(), budget, true);
    let kinds = meta.filters.clone();
    // SAFETY: the arguments are `ambuild`'s by this function's contract. Both relations are open
    // and locked, and `info` is valid, until this function returns.
    let source = unsafe { Source::new(heap, index, info, space, &kinds) };
    let mut edit = Edit::create(relation, meta);
    let target = match plan.structure {
        Structure::Graph(options) => Target::Graph(options),
        Structure::Lists(options) => {
            Target::Lists(options, lists_of(source, &mut edit, plan, options, budget))
        }
    };
    let batch = Batch::new(space, plan, &target);
    let mut build = Build { edit, plan, target, batch, budget, indexed: 0 };
    progress::phase(Phase::LoadRows);
    let heap_tuples = parallel_scan::scan(source, plan.threads - 1, &mut |entry| build.add(entry));
    if !build.edit.manifest.sealed.is_empty() {
        let segments = build.edit.manifest.sealed.len() + 1;
        pgrx::ereport!(
            NOTICE,
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!(
                "the table does not fit into maintenance_work_mem: the index gets {segments} segments; \
                 a search is faster over fewer"
            )
        );
    }
    build.seal();
    if let Target::Lists(_, lists) = &mut build.target {
        build.edit.manifest.codebooks.extend(lists.new.take());
    }
    let fresh = growing::open(&mut build.edit, 0);
    build.edit.meta.growing = fresh;
    build.edit.publish();

    if build.edit.manifest.sealed.len() > 1 {
        maintenance::look_after_soon(relation);
    }

    // SAFETY: zeros are a valid IndexBuildResult. It is allocated in the current context, as
    // PostgreSQL requires.
    let mut result = unsafe { PgBox::<pg_sys::IndexBuildResult>::alloc0() };
    result.heap_tuples = heap_tuples;
    result.index_tuples = build.indexed as f64;
    result.into_pg()
}

/// An unlogged index after a crash: its init fork has a meta page, a manifest page and empty lanes.
///
/// # Safety
/// The argument is the one that PostgreSQL passes to `ambuildempty`.
unsafe fn build_empty(index: pg_sys::Relation, kind: IndexKind) {
    // SAFETY: the argument is `ambuildempty`'s by this function's contract: an open index whose
    // init fork was just created.
    let relation = unsafe { Relation::from_raw(index) };
    wal::write_init_fork(relation, &empty::pages(new_meta(relation, kind)).or_raise());
}

#[pg_guard]
pub unsafe extern "C-unwind" fn hnsw_ambuildempty(index: pg_sys::Relation) {
    // SAFETY: the argument is the one that PostgreSQL passes to `ambuildempty`.
    unsafe { build_empty(index, IndexKind::Hnsw) };
}

#[pg_guard]
pub unsafe extern "C-unwind" fn ivf_ambuildempty(index: pg_sys::Relation) {
    // SAFETY: the argument is the one that PostgreSQL passes to `ambuildempty`.
    unsafe { build_empty(index, IndexKind::Ivf) };
}
