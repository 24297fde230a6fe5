//! Buffers of PostgreSQL's shared page cache: pins and content locks.

use super::compat;
use super::fault::{self, Fault};
use super::relation::Relation;
use crate::util::random::GOLDEN;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a page: the block size that PostgreSQL was built with.
pub const PAGE_SIZE: usize = pg_sys::BLCKSZ as usize;

/// A page as it lies in a buffer.
pub type Page = [u8; PAGE_SIZE];

/// Buffers that a backend remembers: at first, and at most.
const FIRST_RECENT: usize = 1 << 12;
const MOST_RECENT: usize = 1 << 22;

thread_local! {
    static PINS: Cell<u64> = const { Cell::new(0) };
    static RECENT: RefCell<Recent> = RefCell::new(Recent { buffers: vec![0; FIRST_RECENT] });
}

/// The buffers where pages were last seen. The table grows with the relations whose pages they are.
struct Recent {
    buffers: Vec<pg_sys::Buffer>,
}

impl Recent {
    fn place(&self, relation: Relation, block: u32) -> usize {
        let first = relation.oid().to_u32().wrapping_mul(GOLDEN);
        first.wrapping_add(block) as usize & (self.buffers.len() - 1)
    }

    fn get(&self, relation: Relation, block: u32) -> pg_sys::Buffer {
        self.buffers[self.place(relation, block)]
    }

    fn set(&mut self, relation: Relation, block: u32, buffer: pg_sys::Buffer) {
        let requested = (2 * (block as usize + 1)).next_power_of_two().min(MOST_RECENT);
        if self.buffers.len() < requested {
            self.buffers = vec![0; requested];
        }
        let place = self.place(relation, block);
        self.buffers[place] = buffer;
    }
}

/// Pages that this backend has pinned to read them.
pub fn pins() -> u64 {
    PINS.get()
}

/// Counts pages that were read without a pin, as PostgreSQL and [`pins`] count pinned ones.
pub fn count_pages(pages: usize) {
    PINS.set(PINS.get() + pages as u64);
    // SAFETY: the counters are this backend's own, and only the main thread calls this.
    unsafe { pg_sys::pgBufferUsage.shared_blks_hit += pages as i64 };
}

/// The greatest usage count that PostgreSQL gives a buffer, as its header has it.
pub(super) const MOST_USED: u32 = pg_sys::BM_MAX_USAGE_COUNT * pg_sys::BUF_USAGECOUNT_ONE;

/// The header of a shared buffer, by its number from 0.
pub(super) fn header(number: usize) -> *const pg_sys::BufferDesc {
    // SAFETY: a plain read of an address that PostgreSQL sets at server start.
    unsafe { pg_sys::BufferDescriptors }.wrapping_add(number).cast()
}

/// Whether no pin raises a buffer's usage count any more. Buffers of temporary tables are the
/// session's own, and their count does not matter.
fn is_most_used(buffer: pg_sys::Buffer) -> bool {
    let Some(number) = usize::try_from(buffer).ok().and_then(|buffer| buffer.checked_sub(1)) else {
        return true;
    };
    // SAFETY: the number is a shared buffer's, so `header` points into the array of descriptors,
    // which is never unmapped. The state is an atomic number.
    let state = unsafe { AtomicU32::from_ptr((&raw const (*header(number)).state.value).cast_mut()) };
    state.load(Ordering::Relaxed) & pg_sys::BUF_USAGECOUNT_MASK >= MOST_USED
}

/// Calls `visit` with pages and the buffers where this backend last saw them; 0 if it did not.
pub(super) fn recent_buffers(
    relation: Relation,
    blocks: impl Iterator<Item = u32>,
    mut visit: impl FnMut(u32, pg_sys::Buffer),
) {
    RECENT.with_borrow(|recent| blocks.for_each(|block| visit(block, recent.get(relation, block))));
}

/// A page's copy, aligned as buffers are.
#[repr(C, align(8))]
pub struct PageCopy(pub Page);

impl PageCopy {
    pub fn blank() -> Box<Self> {
        Box::new(Self([0; PAGE_SIZE]))
    }
}

/// A pinned buffer: the page stays in memory, but other processes may change it.
pub struct Pinned {
    id: pg_sys::Buffer,
}

impl Pinned {
    /// Pins an existing page of the main fork, reading it from disk if need be.
    pub fn read(relation: Relation, block: u32) -> Self {
        fault::point(Fault::read);
        PINS.set(PINS.get() + 1);
        // SAFETY: a [`Relation`] is open; a block beyond its end raises an error.
        Self { id: unsafe { pg_sys::ReadBuffer(relation.raw(), block) } }
    }

    /// Pins an existing page, and tries first the buffer where this backend last saw it.
    ///
    /// That saves the look-up in the shared hash table, the greater part of the cost of a cached
    /// page.
    pub fn read_recent(relation: Relation, block: u32) -> Self {
        let guess = RECENT.with_borrow(|recent| recent.get(relation, block));
        let is_known = guess != pg_sys::InvalidBuffer as pg_sys::Buffer;
        if is_known
            && (compat::RECENT_PINS_RAISE_USAGE || is_most_used(guess))
            && relation.is_in_buffer(block, guess)
        {
            fault::point(Fault::read);
            PINS.set(PINS.get() + 1);
            return Self { id: guess };
        }
        let pinned = Self::read(relation, block);
        RECENT.with_borrow_mut(|recent| recent.set(relation, block, pinned.id));
        pinned
    }

    /// Pins a page whose content will be replaced, zeroed and locked exclusively, without reading
    /// it.
    pub fn overwrite(relation: Relation, block: u32) -> Exclusive {
        fault::point(Fault::read);
        // SAFETY: a [`Relation`] is open. In this mode the buffer is returned pinned and locked
        // exclusively, which is what [`Exclusive`] holds.
        let id = unsafe {
            pg_sys::ReadBufferExtended(
                relation.raw(),
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                std::ptr::null_mut(),
            )
        };
        Exclusive { pinned: Self { id } }
    }

    /// Takes over a pin of a stream.
    pub(super) fn of_stream(id: pg_sys::Buffer) -> Self {
        PINS.set(PINS.get() + 1);
        // If a fault is injected, the resource owner releases the pin.
        let pinned = Self { id };
        fault::point(Fault::read);
        pinned
    }

    pub(super) fn from_id(id: pg_sys::Buffer) -> Self {
        Self { id }
    }

    pub fn share(self) -> Shared {
        // SAFETY: this value holds a pin but no lock: it becomes a locked one only by giving itself
        // away.
        unsafe { pg_sys::LockBuffer(self.id, pg_sys::BUFFER_LOCK_SHARE as i32) };
        Shared { pinned: self }
    }

    pub fn exclusive(self) -> Exclusive {
        // SAFETY: as in `share`: the buffer is pinned by this value and not locked by it.
        unsafe { pg_sys::LockBuffer(self.id, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32) };
        Exclusive { pinned: self }
    }

    /// The page without a content lock.
    ///
    /// Only for pages that never change again: parts of a sealed segment, on a primary.
    pub fn frozen(&self) -> &Page {
        self.page()
    }

    fn page(&self) -> &Page {
        // SAFETY: a pinned buffer's page has PAGE_SIZE bytes of valid memory until the pin is
        // released, and the reference lives no longer than `self`. Writers are kept off by a
        // content lock, or by the rule of `frozen`.
        unsafe { &*pg_sys::BufferGetPage(self.id).cast::<Page>() }
    }

    pub(super) fn id(&self) -> pg_sys::Buffer {
        self.id
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value holds the pin and releases it once.
            unsafe { pg_sys::ReleaseBuffer(self.id) };
        }
    }
}

fn unlock(pinned: &Pinned) {
    if !std::thread::panicking() {
        // SAFETY: `Shared` and `Exclusive` call this once, when they are dropped with the lock that
        // they hold.
        unsafe { pg_sys::LockBuffer(pinned.id, pg_sys::BUFFER_LOCK_UNLOCK as i32) };
    }
}

/// A pinned buffer locked against writers.
pub struct Shared {
    pinned: Pinned,
}

impl Deref for Shared {
    type Target = Page;

    fn deref(&self) -> &Page {
        self.pinned.page()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        unlock(&self.pinned);
    }
}

impl Shared {
    pub fn copy(&self) -> Box<PageCopy> {
        let mut copy = PageCopy::blank();
        self.copy_to(&mut copy);
        copy
    }

    pub fn copy_to(&self, copy: &mut PageCopy) {
        copy.0.copy_from_slice(&**self);
    }
}

/// A pinned buffer locked against all others; changed only through [`super::wal::Record`] or
/// [`Self::fill`].
pub struct Exclusive {
    pub(super) pinned: Pinned,
}

impl Deref for Exclusive {
    type Target = Page;

    fn deref(&self) -> &Page {
        self.pinned.page()
    }
}

impl Exclusive {
    /// Fills a page; a full image of it is logged afterwards (see [`super::wal::log_new_pages`]).
    pub fn fill(&mut self, fill: impl FnOnce(&mut Page)) {
        // SAFETY: the exclusive lock keeps other processes off, and `&mut self` other references.
        // The page is valid as long as the pin.
        fill(unsafe { &mut *pg_sys::BufferGetPage(self.pinned.id).cast::<Page>() });
        // SAFETY: the buffer is pinned and locked exclusively, as MarkBufferDirty requires.
        unsafe { pg_sys::MarkBufferDirty(self.pinned.id) };
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        unlock(&self.pinned);
    }
}

/// Appends `count` zeroed pages that follow one another; returns the number of the first.
pub fn extend(relation: Relation, count: u32) -> u32 {
    let temporary = relation.is_temporary();
    if !temporary {
        // SAFETY: a [`Relation`] is open. The lock is released below, or by the transaction's
        // abort.
        unsafe {
            pg_sys::LockRelationForExtension(relation.raw(), pg_sys::ExclusiveLock as pg_sys::LOCKMODE)
        };
    }
    let first = relation.blocks();
    for _ in 0..count {
        fault::point(Fault::extend);
        // SAFETY: the extension lock is held, or no other session sees the relation. So P_NEW
        // appends exactly one page, pinned.
        drop(Pinned::from_id(unsafe { pg_sys::ReadBuffer(relation.raw(), pg_sys::InvalidBlockNumber) }));
    }
    if !temporary {
        // SAFETY: the lock was taken above, on the same relation.
        unsafe {
            pg_sys::UnlockRelationForExtension(relation.raw(), pg_sys::ExclusiveLock as pg_sys::LOCKMODE)
        };
    }
    first
}

/// The blocks of a relation's main fork that are in shared buffers at present.
pub fn resident(relation: Relation) -> HashSet<u32> {
    // SAFETY: a plain read of a variable that PostgreSQL sets at server start.
    let buffers = unsafe { pg_sys::NBuffers } as usize;
    (0..buffers).filter_map(|index| relation.block_in_buffer(index)).collect()
}
