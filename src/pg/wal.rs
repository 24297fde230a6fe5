//! Logged changes of pages: small ones by generic WAL records, whole new pages by full images.

use super::buffer::{Exclusive, PAGE_SIZE, Page};
use super::fault::{self, Fault};
use super::relation::Relation;
use pgrx::pg_sys;

/// Most pages of one generic record.
pub const RECORD_PAGES: usize = pg_sys::MAX_GENERIC_XLOG_PAGES as usize;

/// One generic WAL record. The changes of up to [`RECORD_PAGES`] pages take effect together, also
/// after a crash.
pub struct Record {
    state: *mut pg_sys::GenericXLogState,
}

impl Record {
    pub fn begin(relation: Relation) -> Self {
        fault::point(Fault::log);
        // SAFETY: a [`Relation`] is open. `commit` or `drop` ends the state that this call
        // allocates.
        Self { state: unsafe { pg_sys::GenericXLogStart(relation.raw()) } }
    }

    /// Changes a copy of the page; `commit` puts it in place.
    ///
    /// The caller keeps the content lock until then. With `whole` the page is logged as a full
    /// image.
    pub fn edit(&mut self, buffer: &Exclusive, whole: bool, change: impl FnOnce(&mut Page)) {
        let flags = if whole { pg_sys::GENERIC_XLOG_FULL_IMAGE as i32 } else { 0 };
        // SAFETY: `state` is live until `commit`. The buffer is pinned and locked exclusively. The
        // image returned has PAGE_SIZE bytes, and only this reference points to it during the call.
        let page = unsafe {
            &mut *pg_sys::GenericXLogRegisterBuffer(self.state, buffer.pinned.id(), flags).cast::<Page>()
        };
        change(page);
    }

    pub fn commit(self) {
        // SAFETY: `state` is live, and `forget` prevents a second end. The registered buffers are
        // still pinned and locked, as `edit` requires of its caller.
        unsafe { pg_sys::GenericXLogFinish(self.state) };
        std::mem::forget(self);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: `commit` forgets the value, so the state was neither finished nor aborted
            // before.
            unsafe { pg_sys::GenericXLogAbort(self.state) };
        }
    }
}

/// Logs full images of pages that were filled without WAL. No reader may reach them before this
/// returns.
pub fn log_new_pages(relation: Relation, first: u32, count: u32) {
    fault::point(Fault::log);
    if relation.needs_wal() {
        // SAFETY: the relation is open and the caller has appended these blocks. `page_std` is
        // false, as every byte of our pages is content.
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

/// Writes `pages` as the whole init fork of an unlogged relation. A restart after a crash copies
/// it.
pub fn write_init_fork(relation: Relation, pages: &[Page]) {
    for page in pages {
        fault::point(Fault::extend);
        // SAFETY: the relation is open and has an init fork. No other process extends it while the
        // index is being created, so the call appends a page and pins it.
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
        // SAFETY: `locked` has the buffer pinned, locked and dirty, and the call is within a
        // critical section, as logging a page requires. The init fork is logged although the
        // relation is not: a standby needs it as well.
        unsafe {
            pg_sys::CritSectionCount += 1;
            pg_sys::log_newpage_buffer(buffer, false);
            pg_sys::CritSectionCount -= 1;
        }
    }
    debug_assert_eq!(PAGE_SIZE, size_of::<Page>());
}
