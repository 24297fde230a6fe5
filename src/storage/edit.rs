//! A change of the manifest: new pages are written first, then one WAL record makes them current.

use super::extent::{self, Extent, Extents, Freed};
use super::manifest::{self, Creating, Manifest, ReleasedExtent};
use super::meta::{self, ManifestRoot, Meta};
use super::page::{self, PAYLOAD, Stamp};
use super::tasks::{Priority, TaskKind};
use crate::memory;
use crate::pg::buffer::{self, Pinned};
use crate::pg::error::{OrRaise, Problem};
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::process::{now, process_id};
use crate::pg::relation::{Relation, is_before_all_snapshots, next_full_transaction_id};
use crate::pg::wal::{Record, log_new_pages};
use crate::storage::snapshot::Snapshot;
use crate::structure::PageKind;

/// Whether pages may be given to a new owner: no snapshot reads what was on them.
pub fn may_be_reused(freed: &Freed) -> bool {
    freed.is_usable() || is_before_all_snapshots(freed.since)
}

/// The next generation of an index, in the making.
///
/// If it is dropped without being published, the index stays as it was. Pages it took from the free
/// list are free again; the next sweep finds pages it appended to the relation (see
/// [`crate::segment::pages`]).
pub struct Edit {
    relation: Relation,
    pub meta: Meta,
    pub manifest: Manifest,
    /// Pages for which a reader of an older generation may still look.
    freed: Vec<ReleasedExtent>,
    lock: Option<IndexLock>,
}

impl Edit {
    /// Begins a change of an existing index. Waits for the manifest's lock.
    pub fn open(relation: Relation) -> Self {
        Self::under(relation, IndexLock::wait(relation, Purpose::Manifest))
    }

    /// Begins a change of an existing index if the manifest's lock is free.
    pub fn try_open(relation: Relation) -> Option<Self> {
        let lock = IndexLock::try_take(relation, Purpose::Manifest)?;
        Some(Self::under(relation, lock))
    }

    fn under(relation: Relation, lock: IndexLock) -> Self {
        let snapshot = Snapshot::read(relation);
        let meta = Meta::clone(&snapshot.meta);
        let mut manifest = Manifest::clone(&snapshot.manifest);
        let since = meta.published_at;
        manifest.free.extend(manifest.freed_now.drain(..).map(|given| given.since(since)));
        for freed in &mut manifest.free {
            if !freed.is_usable() && is_before_all_snapshots(freed.since) {
                *freed = Freed::unused(freed.extent);
            }
        }
        extent::coalesce(&mut manifest.free);
        Self { relation, meta, manifest, freed: Vec::new(), lock: Some(lock) }
    }

    /// Begins the first generation of an index that is being created and that no other session can
    /// see.
    pub fn create(relation: Relation, meta: Meta) -> Self {
        memory::arm();
        let block = buffer::extend(relation, 1);
        debug_assert_eq!(block, meta::BLOCK);
        Self { relation, meta, manifest: Manifest::default(), freed: Vec::new(), lock: None }
    }

    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// The generation that `publish` will make current.
    pub fn generation(&self) -> u64 {
        self.meta.generation + 1
    }

    /// A number for a new segment or codebook; raises an error if all are used up.
    pub fn new_segment(&mut self) -> u32 {
        let id = self.meta.next_segment;
        self.meta.next_segment = id.checked_add(1).unwrap_or_else(|| {
            Problem::new(
                pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("index \"{}\" has used up its segment numbers", self.relation.name()),
            )
            .hint("Rebuild the index with REINDEX.")
            .raise()
        });
        id
    }

    /// `pages` pages, from the free list as far as it goes, else appended to the relation. Raises
    /// an error if a `u32` cannot count them.
    pub fn allocate(&mut self, pages: u64) -> Extents {
        let requested = u32::try_from(pages).unwrap_or_else(|_| {
            Problem::new(
                pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("index \"{}\" would need {pages} more pages", self.relation.name()),
            )
            .raise()
        });
        let relation = self.relation;
        let mut extents = extent::take(&mut self.manifest.free, requested);
        let missing = requested - extents.iter().map(|extent| extent.pages).sum::<u32>();
        if missing > 0 {
            extents.push(Extent { start: buffer::extend(relation, missing), pages: missing });
        }
        Extents::from(extents)
    }

    /// Appends free pages to the relation.
    pub fn append(&mut self, pages: u32) {
        let start = buffer::extend(self.relation, pages);
        self.free_at_once([Extent { start, pages }]);
    }

    /// `pages` free pages that follow one another, if there are any: the relation is not extended.
    pub fn allocate_run(&mut self, pages: u32) -> Option<u32> {
        let usable = self.manifest.free.iter().any(|freed| freed.is_usable() && freed.extent.pages >= pages);
        let run = usable.then(|| extent::take(&mut self.manifest.free, pages));
        run.and_then(|run| run.first().map(|extent| extent.start))
    }

    /// Gives up the pages of a segment as of the next generation.
    pub fn free(&mut self, segment: u32, extents: impl IntoIterator<Item = Extent>) {
        self.freed.extend(extents.into_iter().map(|extent| ReleasedExtent { extent, segment }));
    }

    /// Frees pages that no reader has ever been able to see.
    pub fn free_at_once(&mut self, extents: impl IntoIterator<Item = Extent>) {
        self.manifest.free.extend(extents.into_iter().map(Freed::unused));
        extent::coalesce(&mut self.manifest.free);
    }

    /// Notes that a task has begun, and frees what an interrupted one has left. The caller holds
    /// the task's lock.
    pub fn begin_task(&mut self, kind: TaskKind, priority: Priority) {
        self.manifest.tasks.begin(kind, priority, process_id(), now());
        let is_left = |creating: &mut Creating| creating.task == kind;
        let left: Vec<Creating> = self.manifest.creating.extract_if(.., is_left).collect();
        self.free_at_once(left.into_iter().flat_map(|creating| creating.pages));
    }

    /// Notes that a task is done; the segments that it has created are in the manifest by now.
    pub fn end_task(&mut self, kind: TaskKind, rows: u64) {
        self.manifest.tasks.complete(kind, rows, now());
        self.manifest.creating.retain(|creating| creating.task != kind);
    }

    /// Makes this the current generation.
    pub fn publish(&mut self) {
        let old_root = std::mem::take(&mut self.meta.manifest);
        self.freed.extend(old_root.pages.iter().map(|extent| ReleasedExtent { extent, segment: 0 }));
        self.meta.generation += 1;
        let root = self.write_manifest();
        self.meta.manifest = root;

        let mut buffer = Pinned::read(self.relation, meta::BLOCK).exclusive();
        // Under the lock: a reader of the previous generation has taken its snapshot by now.
        self.meta.published_at = next_full_transaction_id();
        let page = self.meta.to_page().or_raise();
        if self.lock.is_some() {
            let mut record = Record::begin(self.relation);
            record.edit(&buffer, true, |target| target.copy_from_slice(&page));
            record.commit();
        } else {
            buffer.fill(|target| target.copy_from_slice(&page));
            drop(buffer);
            log_new_pages(self.relation, meta::BLOCK, 1);
        }
        let since = self.meta.published_at;
        self.manifest.free.extend(self.manifest.freed_now.drain(..).map(|given| given.since(since)));
    }

    /// Writes the manifest to fresh pages.
    fn write_manifest(&mut self) -> ManifestRoot {
        // Taking pages for the manifest changes the free list that it records. Whole runs vanish
        // from it, and the start of one run moves. Its variable-length encoding may grow by a few
        // bytes.
        const SLACK: usize = 16;
        self.manifest.freed_now = std::mem::take(&mut self.freed);
        let bytes = manifest::encode(&self.manifest).len() + SLACK;
        let pages = self.allocate(bytes.div_ceil(PAYLOAD) as u64);
        let content = manifest::encode(&self.manifest);
        let stamp = Stamp { kind: PageKind::Manifest, segment: 0, generation: self.meta.generation as u32 };
        let mut chunks = content.chunks(PAYLOAD);
        for block in pages.blocks() {
            Pinned::overwrite(self.relation, block).fill(|page| {
                page::format(page, stamp);
                let chunk = chunks.next().unwrap_or_default();
                page::payload_mut(page)[..chunk.len()].copy_from_slice(chunk);
            });
        }
        for extent in pages.iter() {
            log_new_pages(self.relation, extent.start, extent.pages);
        }
        ManifestRoot { pages, bytes: content.len() as u32, crc: crc32fast::hash(&content) }
    }
}
