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

/// Which file a relation's pages are in, over all its rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    relation: u32,
    file: u32,
}

/// How the tags of buffers name a relation. Any thread may have it.
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
    /// `raw` is an open relation that stays open and locked while the value is used.
    pub unsafe fn from_raw(raw: pg_sys::Relation) -> Self {
        Self { raw }
    }

    pub fn raw(self) -> pg_sys::Relation {
        self.raw
    }

    fn data(&self) -> &pg_sys::RelationData {
        // SAFETY: see `from_raw`.
        unsafe { &*self.raw }
    }

    fn form(&self) -> &pg_sys::FormData_pg_class {
        // SAFETY: an open relation has its pg_class row in memory.
        unsafe { &*self.data().rd_rel }
    }

    pub fn oid(self) -> pg_sys::Oid {
        self.data().rd_id
    }

    pub fn name(self) -> String {
        // SAFETY: a name is a C string within its fixed length.
        let name = unsafe { std::ffi::CStr::from_ptr(self.form().relname.data.as_ptr()) };
        name.to_string_lossy().into_owned()
    }

    /// That the index has what this extension cannot have written.
    pub fn corrupt(self) -> Problem {
        Problem::corrupt(format!("index \"{}\" is corrupted", self.name()))
    }

    pub fn file_id(self) -> FileId {
        let file = compat::file_number(compat::file_locator(self.data()));
        FileId { relation: self.oid().to_u32(), file }
    }

    /// The type of an index's first column: of what is indexed, where the index keeps something
    /// else.
    pub fn first_column_type(self) -> pg_sys::Oid {
        // SAFETY: an open relation has a descriptor; its tuple descriptor is valid while it is
        // open.
        let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.data().rd_att) };
        descriptor.get(0).map_or(pg_sys::InvalidOid, |column| column.atttypid)
    }

    /// The modifier that the first column's type was declared with; -1 if it has none.
    pub fn first_column_typmod(self) -> i32 {
        // SAFETY: an open relation has a descriptor; its tuple descriptor is valid while it is
        // open.
        let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.data().rd_att) };
        descriptor.get(0).map_or(-1, |column| column.type_mod())
    }

    /// Columns of an index that are searched by.
    pub fn columns(self) -> usize {
        // SAFETY: an open index has its catalog row.
        usize::try_from(unsafe { (*self.data().rd_index).indnkeyatts }).unwrap_or_default()
    }

    /// The collation of an index's column, from 0.
    pub fn collation(self, column: usize) -> pg_sys::Oid {
        debug_assert!(column < self.columns());
        // SAFETY: an open index has a collation, or the invalid one, for each column.
        unsafe { *self.data().rd_indcollation.add(column) }
    }

    /// Whether `buffer` holds this page still; if so, it is pinned now.
    pub(super) fn is_in_buffer(self, block: u32, buffer: pg_sys::Buffer) -> bool {
        let file = compat::file_locator(self.data());
        // SAFETY: any valid buffer number will do: PostgreSQL compares the buffer's tag after
        // pinning it.
        unsafe { pg_sys::ReadRecentBuffer(file, pg_sys::ForkNumber::MAIN_FORKNUM, block, buffer) }
    }

    /// What tells this relation's buffers from others'.
    pub fn file_tag(self) -> FileTag {
        FileTag(compat::file_locator(self.data()))
    }

    /// The block of this relation's main fork that a shared buffer of an index below `NBuffers`
    /// holds, if it holds one.
    pub(super) fn block_in_buffer(self, index: usize) -> Option<u32> {
        // SAFETY: the descriptors are an array of `NBuffers` in shared memory. A tag that changes
        // while it is read tells of no block or of another, which is all the same to statistics;
        // `BufferGetTag` would ask for a pin.
        let tag = unsafe {
            let descriptor = pg_sys::BufferDescriptors.add(index);
            (&raw const (*descriptor).bufferdesc.tag).read_volatile()
        };
        self.file_tag().is_of(&tag, tag.blockNum).then_some(tag.blockNum)
    }

    /// Number of pages of the main fork.
    pub fn blocks(self) -> u32 {
        // SAFETY: the relation is open.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.raw, pg_sys::ForkNumber::MAIN_FORKNUM) }
    }

    /// Temporary tables are seen by one session only.
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
        // SAFETY: an open index has its catalog row.
        unsafe { self.data().rd_index.as_ref() }.is_some_and(|index| index.indislive && index.indisready)
    }

    /// An index's owner is its table's.
    pub fn owner(self) -> pg_sys::Oid {
        self.form().relowner
    }

    /// Whether it, or its file, was made by this transaction: nobody else can see it yet.
    pub fn is_new(self) -> bool {
        let data = self.data();
        let new_file = compat::new_files_subtransaction(data);
        data.rd_createSubid != NO_SUBTRANSACTION || new_file != NO_SUBTRANSACTION
    }

    /// Whether changes must be written to the WAL; PostgreSQL's macro of the same meaning is not in
    /// the bindings.
    pub fn needs_wal(self) -> bool {
        // SAFETY: plain reads of variables that are set at server start.
        let minimal = unsafe { pg_sys::wal_level < pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 };
        self.form().relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char
            && !(minimal && self.is_new())
    }
}

/// Whether the server replays WAL: pages then change under a reader that holds a pin only.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared state; callable at any time.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The next transaction id, with its epoch: pages given up now are out of everybody's sight once it
/// is old.
pub fn next_full_transaction_id() -> u64 {
    // SAFETY: reads shared state; callable at any time.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}

/// Whether no snapshot can be as old as transaction `id` any more.
///
/// Uses the horizon of shared relations, as PostgreSQL's indexes did before version 16. That of
/// temporary tables ignores the session's own snapshots, which cursors hold.
pub fn is_before_all_snapshots(id: u64) -> bool {
    let id = pg_sys::FullTransactionId { value: id };
    // SAFETY: a null relation asks for the horizon of shared relations.
    unsafe { pg_sys::GlobalVisCheckRemovableFullXid(std::ptr::null_mut(), id) }
}
