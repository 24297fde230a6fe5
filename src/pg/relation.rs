//! An open relation.

use super::compat::{self, FileLocator};
use super::error::Problem;
use pgrx::pg_sys;

/// PostgreSQL's InvalidSubTransactionId, which the bindings lack.
const NO_SUBTRANSACTION: pg_sys::SubTransactionId = 0;

/// An index or table that PostgreSQL has opened and locked for the length of a callback.
#[derive(Clone, Copy)]
pub struct Relation {
    raw: pg_sys::Relation,
}

/// The file of a relation's pages; a rewrite gives the relation another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub relation: u32,
    pub file: u32,
}

/// How the tags of buffers name a relation. Any thread may use it.
#[derive(Clone, Copy)]
pub struct FileTag(FileLocator);

impl FileTag {
    /// Whether a buffer's tag is that of a page of the relation's main fork.
    pub(super) fn is_of(self, tag: &pg_sys::BufferTag, block: u32) -> bool {
        compat::is_of_files(tag, self.0)
            && tag.forkNum == pg_sys::ForkNumber::MAIN_FORKNUM
            && tag.blockNum == block
    }
}

impl Relation {
    /// # Safety
    /// `raw` points to an open relation, which stays open and locked while the value and its copies
    /// are used.
    pub unsafe fn from_raw(raw: pg_sys::Relation) -> Self {
        Self { raw }
    }

    pub fn raw(self) -> pg_sys::Relation {
        self.raw
    }

    fn data(&self) -> &pg_sys::RelationData {
        // SAFETY: `from_raw` requires a pointer to a relation that is open while the value is used.
        unsafe { &*self.raw }
    }

    fn form(&self) -> &pg_sys::FormData_pg_class {
        // SAFETY: an open relation has its pg_class row in memory until it is closed.
        unsafe { &*self.data().rd_rel }
    }

    pub fn oid(self) -> pg_sys::Oid {
        self.data().rd_id
    }

    pub fn name(self) -> String {
        // SAFETY: a NameData is 64 bytes within the row above and contains a terminating zero.
        let name = unsafe { std::ffi::CStr::from_ptr(self.form().relname.data.as_ptr()) };
        name.to_string_lossy().into_owned()
    }

    /// An error for content that this extension cannot have written.
    pub fn corrupt(self) -> Problem {
        Problem::corrupt(format!("index \"{}\" is corrupted", self.name()))
    }

    pub fn file_id(self) -> FileId {
        let file = compat::file_number(compat::file_locator(self.data()));
        FileId { relation: self.oid().to_u32(), file }
    }

    /// The type of an index's first column. It is that of the indexed value, also where the index
    /// keeps something else.
    pub fn first_column_type(self) -> pg_sys::Oid {
        // SAFETY: an open relation has a tuple descriptor, which is valid while it is open. The
        // wrapper does not outlive this call.
        let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.data().rd_att) };
        descriptor.get(0).map_or(pg_sys::InvalidOid, |column| column.atttypid)
    }

    /// The modifier with which the first column's type was declared; -1 if it has none.
    pub fn first_column_typmod(self) -> i32 {
        // SAFETY: an open relation has a tuple descriptor, which is valid while it is open. The
        // wrapper does not outlive this call.
        let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.data().rd_att) };
        descriptor.get(0).map_or(-1, |column| column.type_mod())
    }

    /// Key columns of an index.
    pub fn columns(self) -> usize {
        // SAFETY: this is called for indexes only, and an open index has its pg_index row in
        // memory.
        usize::try_from(unsafe { (*self.data().rd_index).indnkeyatts }).unwrap_or_default()
    }

    /// The collation of an index's column, from 0.
    pub fn collation(self, column: usize) -> pg_sys::Oid {
        debug_assert!(column < self.columns());
        // SAFETY: an open index has an array of one collation, or the invalid Oid, per key column.
        // Callers pass a key column.
        unsafe { *self.data().rd_indcollation.add(column) }
    }

    /// Whether `buffer` still holds this page; if so, this pins it.
    pub(super) fn is_in_buffer(self, block: u32, buffer: pg_sys::Buffer) -> bool {
        let file = compat::file_locator(self.data());
        // SAFETY: `buffer` is a number that PostgreSQL returned, so it names a buffer. PostgreSQL
        // compares the buffer's tag after it has pinned it.
        unsafe { pg_sys::ReadRecentBuffer(file, pg_sys::ForkNumber::MAIN_FORKNUM, block, buffer) }
    }

    /// What distinguishes this relation's buffers from others'.
    pub fn file_tag(self) -> FileTag {
        FileTag(compat::file_locator(self.data()))
    }

    /// The block of this relation's main fork that a shared buffer holds, if it holds one; `index`
    /// is below `NBuffers`.
    pub(super) fn block_in_buffer(self, index: usize) -> Option<u32> {
        // SAFETY: the descriptors are an array of `NBuffers` in shared memory, and `index` is below
        // that. A tag that changes while it is read may name no block or another one. Statistics
        // accept that; `BufferGetTag` would need a pin.
        let tag = unsafe {
            let descriptor = pg_sys::BufferDescriptors.add(index);
            (&raw const (*descriptor).bufferdesc.tag).read_volatile()
        };
        self.file_tag().is_of(&tag, tag.blockNum).then_some(tag.blockNum)
    }

    /// Number of pages of the main fork.
    pub fn blocks(self) -> u32 {
        // SAFETY: `from_raw` requires an open relation.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.raw, pg_sys::ForkNumber::MAIN_FORKNUM) }
    }

    /// Whether only one session sees the relation.
    pub fn is_temporary(self) -> bool {
        self.form().relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char
    }

    /// Whether it is a temporary relation of another session, whose pages only that session can
    /// read.
    pub fn is_foreign_temporary(self) -> bool {
        self.is_temporary() && !self.data().rd_islocaltemp
    }

    /// Whether its pages are not in the WAL, so that a standby does not have them.
    pub fn is_unlogged(self) -> bool {
        self.form().relpersistence == pg_sys::RELPERSISTENCE_UNLOGGED as std::ffi::c_char
    }

    /// Whether it is the index of a partitioned table, which has no pages.
    pub fn is_partitioned_index(self) -> bool {
        self.form().relkind == pg_sys::RELKIND_PARTITIONED_INDEX as std::ffi::c_char
    }

    /// Whether an index takes rows: one that is made concurrently does not from its beginning.
    pub fn is_ready(self) -> bool {
        // SAFETY: an open relation's `rd_index` is null, or points to its pg_index row in memory.
        unsafe { self.data().rd_index.as_ref() }.is_some_and(|index| index.indislive && index.indisready)
    }

    /// An index's owner is its table's.
    pub fn owner(self) -> pg_sys::Oid {
        self.form().relowner
    }

    /// Whether this transaction made the relation or its file, so that no other transaction sees it
    /// yet.
    pub fn is_new(self) -> bool {
        let data = self.data();
        let new_file = compat::new_files_subtransaction(data);
        data.rd_createSubid != NO_SUBTRANSACTION || new_file != NO_SUBTRANSACTION
    }

    /// Whether changes must be written to the WAL. It replaces PostgreSQL's macro, which the
    /// bindings lack.
    pub fn needs_wal(self) -> bool {
        // SAFETY: a plain read of a variable that PostgreSQL sets at server start.
        let minimal = unsafe { pg_sys::wal_level < pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 };
        self.form().relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char
            && !(minimal && self.is_new())
    }
}

/// Whether the server replays WAL: pages then change under a reader that holds a pin only.
pub fn in_recovery() -> bool {
    // SAFETY: the function reads shared memory and may be called at any time.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The next transaction id, with its epoch. Once it is old, no snapshot sees the pages that are
/// given up now.
pub fn next_full_transaction_id() -> u64 {
    // SAFETY: the function reads shared memory under its own lock and may be called at any time.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}

/// Whether no snapshot can be as old as transaction `id` any more.
///
/// Uses the horizon of shared relations, as PostgreSQL's indexes did before version 16. That of
/// temporary tables ignores the session's own snapshots, which cursors hold.
pub fn is_before_all_snapshots(id: u64) -> bool {
    let id = pg_sys::FullTransactionId { value: id };
    // SAFETY: PostgreSQL takes a null relation as a request for the horizon of shared relations.
    unsafe { pg_sys::GlobalVisCheckRemovableFullXid(std::ptr::null_mut(), id) }
}
