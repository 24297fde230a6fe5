//! Changes of pages, logged: small ones by generic WAL records, whole new pages by full images.

use super::buffer::{Exclusive, PAGE_SIZE, Page};
use super::fault::{self, Fault};
use super::relation::Relation;
use pgrx::pg_sys;

/// Most pages of one generic record.
pub const RECORD_PAGES: usize = pg_sys::MAX_GENERIC_XLOG_PAGES as usize;

/// One generic WAL record: the changes of up to [`RECORD_PAGES`] pages take effect together, also
/// after a crash.
pub struct Record {
    state: *mut pg_sys::GenericXLogState,
}

impl Record {
    pub fn begin(relation: Relation) -> Self {
        fault::point(Fault::log);
        // SAFETY: the relation is open; `commit` or `drop` ends what this begins.
        Self { state: unsafe { pg_sys::GenericXLogStart(relation.raw()) } }
    }

    /// Changes a copy of the page, which `commit` puts in place.
    ///
    /// The content lock must be held until then. A page with `whole` is logged as a full image.
    pub fn edit(&mut self, buffer: &Exclusive, whole: bool, change: impl FnOnce(&mut Page)) {
        let flags = if whole { pg_sys::GENERIC_XLOG_FULL_IMAGE as i32 } else { 0 };
        // SAFETY: the buffer is pinned and locked exclusively; the image returned has PAGE_SIZE
        // bytes and is ours.
        let page = unsafe {
            &mut *pg_sys::GenericXLogRegisterBuffer(self.state, buffer.pinned.id(), flags).cast::<Page>()
        };
        change(page);
    }

    pub fn commit(self) {
        // SAFETY: the buffers registered are still locked: their guards outlive this call by
        // `edit`'s contract.
        unsafe { pg_sys::GenericXLogFinish(self.state) };
        std::mem::forget(self);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: neither finished nor aborted before.
            unsafe { pg_sys::GenericXLogAbort(self.state) };
        }
    }
}

/// Logs full images of pages that were filled without WAL and that nobody can reach before this
/// returns.
pub fn log_new_pages(relation: Relation, first: u32, count: u32) {
    fault::point(Fault::log);
    if relation.needs_wal() {
        // SAFETY: the relation is open and the range exists; every byte of our pages is content,
        // none a hole.
        unsafe {
            pg_sys::log_newpage_range(
                relation.raw(),
                pg_sys::ForkNumber::MAIN_FORKNUM,
                first,
                first + count,
                false,
            )
        };
    }
}

/// Writes `pages` as the whole of an unlogged relation's init fork, from which a restart after a
/// crash copies.
pub fn write_init_fork(relation: Relation, pages: &[Page]) {
    for page in pages {
        fault::point(Fault::extend);
        // SAFETY: the relation is open and its init fork exists and is ours alone while the index
        // is being created.
        let buffer = unsafe {
            pg_sys::ReadBufferExtended(
                relation.raw(),
                pg_sys::ForkNumber::INIT_FORKNUM,
                pg_sys::InvalidBlockNumber,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                std::ptr::null_mut(),
            )
        };
        let mut locked = super::buffer::Pinned::from_id(buffer).exclusive();
        locked.fill(|target| target.copy_from_slice(page));
        // SAFETY: pinned, locked and dirty, within a critical section as logging a page asks. The
        // init fork is logged although the relation is not: a standby needs it as well.
        unsafe {
            pg_sys::CritSectionCount += 1;
            pg_sys::log_newpage_buffer(buffer, false);
            pg_sys::CritSectionCount -= 1;
        }
    }
    debug_assert_eq!(PAGE_SIZE, size_of::<Page>());
}
