//! CREATE INDEX and REINDEX: the table's rows become sealed segments.

use super::table::{TableExtent, TableRows, malformed};
use super::{attributes, opclass};
use crate::am::parallel_scan;
use crate::distance::Space;
use crate::maintenance;
use crate::memory;
use crate::pg::buffer::PAGE_SIZE;
use crate::pg::error::OrRaise;
use crate::pg::progress::{self, Phase};
use crate::pg::relation::Relation;
use crate::pg::{threads, wal};
use crate::segment::structures::{Batch, Target, TrainingRows};
use crate::segment::{Entry, empty, growing, structure_of};
use crate::storage::draft::Draft;
use crate::storage::edit::Edit;
use crate::storage::meta::Meta;
use crate::structure::{Quantizer, Structure};
use crate::util::random::Spread;
use pgrx::{PgBox, PgSqlErrorCode, pg_sys};

/// The segments of an index that is being created.
struct Build {
    edit: Edit,
    target: Box<dyn Target>,
    batch: Box<dyn Batch>,
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

    /// Appends pages that the batch is going to need, while threads work on its rows.
    fn prepare_pages(&mut self) {
        let pages = self.batch.pages_ahead();
        if pages > 0 {
            self.edit.append(pages as u32);
        }
    }

    /// Seals the rows loaded so far.
    fn seal(&mut self) {
        let fresh = self.target.batch();
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

/// A sample of the table's blocks.
struct TableSample<'a> {
    source: TableRows<'a>,
    /// Memory of the build.
    budget: usize,
}

impl TrainingRows for TableSample<'_> {
    fn sample(&mut self, sample: &mut dyn FnMut(&[u8]) -> bool, enough: &dyn Fn(u64) -> usize) -> u64 {
        const LEAST_BLOCKS: u32 = 64;
        progress::phase(Phase::SampleRows);
        let (total, run) = (self.source.table().blocks(), blocks_of_a_scan(self.source.space));
        let order = Spread::new(total.div_ceil(run));
        let (mut sampled, mut rows) = (0, 0);
        for position in 0..total.div_ceil(run) {
            if position * run >= LEAST_BLOCKS && sampled >= enough(rows) {
                break;
            }
            let first = order.at(position) * run;
            let extent = TableExtent::Blocks { first, count: run.min(total - first) };
            self.source.scan(extent, false, &mut |entry| {
                if !sample(entry.row) {
                    malformed();
                }
                sampled += 1;
            });
            rows = sampled as u64 * u64::from(total) / u64::from(((position + 1) * run).min(total));
        }
        progress::phase(Phase::FindCentroids);
        rows
    }

    fn memory(&self) -> usize {
        self.budget / 2
    }
}

/// Begins a draft within an edit when it is asked for.
fn draft_within<'e>(edit: &'e mut Edit) -> Box<dyn FnOnce() -> Draft<'e> + 'e> {
    Box::new(move || Draft::within(edit))
}

/// What an index of an access method is made of, as its options and its space say.
pub type ReadOptions = fn(Relation, Space) -> (Structure, Quantizer);

fn new_meta(index: Relation, read_options: ReadOptions) -> Meta {
    let space = opclass::space_of(index);
    let (structure, quantizer) = read_options(index, space);
    Meta::new(space, structure, quantizer, attributes::kinds_of(index), rand_seed())
}

/// A number that differs from build to build.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Builds an index.
///
/// # Safety
/// The arguments are those that PostgreSQL passes to `ambuild`.
pub unsafe fn build(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    read_options: ReadOptions,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the arguments are `ambuild`'s by this function's contract, so the relation is open
    // and locked.
    let relation = unsafe { Relation::from_raw(index) };
    let meta = new_meta(relation, read_options);
    // SAFETY: a plain read of a setting, on the main thread, which alone writes it.
    let budget = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
    let space = meta.space;
    let plan = maintenance::plan(&meta, threads::maintenance_threads(), budget, true);
    let kinds = meta.filters.clone();
    // SAFETY: the arguments are `ambuild`'s by this function's contract. Both relations are open
    // and locked, and `info` is valid, until this function returns.
    let source = unsafe { TableRows::new(heap, index, info, space, &kinds) };
    let mut edit = Edit::create(relation, meta);
    let mut training = TableSample { source, budget };
    let structure = structure_of(&plan.structure);
    let target = structure.target(space, plan, None, &mut training, draft_within(&mut edit));
    let batch = target.batch();
    let mut build = Build { edit, target, batch, budget, indexed: 0 };
    progress::phase(Phase::LoadRows);
    let heap_tuples = parallel_scan::scan(source, plan.threads - 1, &mut |entry| build.add(entry));
    if !build.edit.manifest.sealed.is_empty() {
        let segments = build.edit.manifest.sealed.len() + 1;
        pgrx::ereport!(
            NOTICE,
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!(
                "the table does not fit into maintenance_work_mem: the index gets {segments} segments; \
                 searches are faster over fewer"
            )
        );
    }
    build.seal();
    build.edit.manifest.codebooks.extend(build.target.take_codebook());
    let fresh = growing::open(&mut build.edit, &[]);
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
pub unsafe fn build_empty(index: pg_sys::Relation, read_options: ReadOptions) {
    // SAFETY: the argument is `ambuildempty`'s by this function's contract: an open index whose
    // init fork was just created.
    let relation = unsafe { Relation::from_raw(index) };
    wal::write_init_fork(relation, &empty::pages(new_meta(relation, read_options)).or_raise());
}
