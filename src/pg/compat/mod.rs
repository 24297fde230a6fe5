//! What differs between PostgreSQL's major versions, all of it: elsewhere there is one code for
//! all.
//!
//! `pg_ge_n` is set from version *n* on (`.cargo/build.rs`), so a version that comes counts as the
//! last one known.

mod explain;
mod read_stream;

pub use explain::register as register_explain;
pub use read_stream::for_each_buffer;

use pgrx::pg_sys;
use std::ffi::{CStr, c_void};

/// How PostgreSQL names a relation's files.
#[cfg(not(pg_ge_16))]
pub type FileLocator = pg_sys::RelFileNode;
/// How PostgreSQL names a relation's files.
#[cfg(pg_ge_16)]
pub type FileLocator = pg_sys::RelFileLocator;

/// The files of an open relation.
pub fn file_locator(data: &pg_sys::RelationData) -> FileLocator {
    #[cfg(not(pg_ge_16))]
    return data.rd_node;
    #[cfg(pg_ge_16)]
    return data.rd_locator;
}

/// The number of a relation's files, unique in its database and tablespace.
pub fn file_number(locator: FileLocator) -> u32 {
    #[cfg(not(pg_ge_16))]
    return locator.relNode.to_u32();
    #[cfg(pg_ge_16)]
    return locator.relNumber.to_u32();
}

/// Whether a buffer's tag names these files.
pub fn is_of_files(tag: &pg_sys::BufferTag, locator: FileLocator) -> bool {
    #[cfg(not(pg_ge_16))]
    return (locator.relNode, locator.dbNode, locator.spcNode)
        == (tag.rnode.relNode, tag.rnode.dbNode, tag.rnode.spcNode);
    #[cfg(pg_ge_16)]
    return (locator.relNumber, locator.dbOid, locator.spcOid) == (tag.relNumber, tag.dbOid, tag.spcOid);
}

/// The subtransaction that gave a relation its files, if this transaction did.
pub fn new_files_subtransaction(data: &pg_sys::RelationData) -> pg_sys::SubTransactionId {
    #[cfg(not(pg_ge_16))]
    return data.rd_firstRelfilenodeSubid;
    #[cfg(pg_ge_16)]
    return data.rd_firstRelfilelocatorSubid;
}

/// An element of the table by which an index's options are parsed.
pub fn option_element(
    name: &'static CStr,
    kind: pg_sys::relopt_type::Type,
    offset: usize,
) -> pg_sys::relopt_parse_elt {
    pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype: kind,
        offset: offset as i32,
        #[cfg(pg_ge_18)]
        isset_offset: 0,
    }
}

/// Refuses settings of this prefix that the library has not declared, where PostgreSQL can.
pub fn reserve_settings(prefix: &CStr) {
    #[cfg(not(pg_ge_15))]
    let _ = prefix;
    #[cfg(pg_ge_15)]
    // SAFETY: PostgreSQL copies the prefix.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr())
    };
}

/// The analyzed query of a raw statement without parameters.
///
/// # Safety
/// In a transaction with an active snapshot; `text` is the statement's source.
pub unsafe fn analyze(statement: *mut pg_sys::RawStmt, text: &CStr) -> *mut pg_sys::Query {
    let text = text.as_ptr();
    let (types, environment) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a node in this memory context, and no parameters.
    unsafe {
        #[cfg(not(pg_ge_15))]
        return pg_sys::parse_analyze(statement, text, types, 0, environment);
        #[cfg(pg_ge_15)]
        return pg_sys::parse_analyze_fixedparams(statement, text, types, 0, environment);
    }
}

/// The columns of a table that a query needs the right to select.
///
/// # Safety
/// `entry` is a table of `query`; both stay where they are while the result is used.
pub unsafe fn selected_columns(
    query: *mut pg_sys::Query,
    entry: *mut pg_sys::RangeTblEntry,
) -> *mut *mut pg_sys::Bitmapset {
    // SAFETY: the nodes are valid, and a table has its permissions in its query.
    unsafe {
        #[cfg(not(pg_ge_16))]
        {
            let _ = query;
            &raw mut (*entry).selectedCols
        }
        #[cfg(pg_ge_16)]
        {
            &raw mut (*pg_sys::getRTEPermissionInfo((*query).rteperminfos, entry)).selectedCols
        }
    }
}

/// Runs a started plan to its end.
///
/// # Safety
/// `ExecutorStart` was called for it.
pub unsafe fn run_plan(state: *mut pg_sys::QueryDesc) {
    let forward = pg_sys::ScanDirection::ForwardScanDirection;
    // SAFETY: the state is a started plan's.
    unsafe {
        #[cfg(not(pg_ge_18))]
        pg_sys::ExecutorRun(state, forward, 0, true);
        #[cfg(pg_ge_18)]
        pg_sys::ExecutorRun(state, forward, 0);
    }
}

/// Sends a message through a queue and tells its receiver at once.
///
/// # Safety
/// `queue` is attached, with this process as its sender.
pub unsafe fn send(queue: *mut pg_sys::shm_mq_handle, message: &[u8]) -> pg_sys::shm_mq_result::Type {
    let (bytes, data) = (message.len(), message.as_ptr().cast::<c_void>());
    // SAFETY: the message is as long as said; PostgreSQL only reads it.
    unsafe {
        #[cfg(not(pg_ge_15))]
        return pg_sys::shm_mq_send(queue, bytes, data, false);
        #[cfg(pg_ge_15)]
        return pg_sys::shm_mq_send(queue, bytes, data, false, true);
    }
}

/// Workers that PostgreSQL would use to build an index. From version 17 on it tells for indexes of
/// any kind.
///
/// # Safety
/// `table` and `index` are open.
pub unsafe fn build_workers(info: &pg_sys::IndexInfo, table: pg_sys::Oid, index: pg_sys::Oid) -> i32 {
    #[cfg(not(pg_ge_17))]
    // SAFETY: both are open, so that the planner finds them.
    return info.ii_ParallelWorkers.max(unsafe { pg_sys::plan_create_index_workers(table, index) });
    #[cfg(pg_ge_17)]
    {
        let _ = (table, index);
        info.ii_ParallelWorkers
    }
}

/// Says that indexes of this kind are built by several processes.
pub fn can_build_in_parallel(routine: &mut pg_sys::IndexAmRoutine) {
    #[cfg(not(pg_ge_17))]
    let _ = routine;
    #[cfg(pg_ge_17)]
    {
        routine.amcanbuildparallel = true;
    }
}

/// Whether the current user may call a function.
///
/// # Safety
/// In a transaction; the function exists.
pub unsafe fn may_call(function: pg_sys::Oid) -> bool {
    let execute = u64::from(pg_sys::ACL_EXECUTE) as pg_sys::AclMode;
    // SAFETY: catalogs can be read in a transaction.
    let result = unsafe {
        #[cfg(not(pg_ge_16))]
        {
            pg_sys::pg_proc_aclcheck(function, pg_sys::GetUserId(), execute)
        }
        #[cfg(pg_ge_16)]
        {
            pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, function, pg_sys::GetUserId(), execute)
        }
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// Sets a search path of PostgreSQL's own names. Whoever calls code must not choose what its
/// author's names stand for.
///
/// # Safety
/// Within a nest level of settings that is ended in time.
pub unsafe fn restrict_search_path() {
    // SAFETY: the nest level ends what is set here.
    unsafe {
        #[cfg(pg_ge_17)]
        pg_sys::RestrictSearchPath();
        #[cfg(not(pg_ge_17))]
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            c"pg_catalog, pg_temp".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Marks a path as one that no plan takes while there is another, where PostgreSQL counts such
/// paths.
pub fn disable(path: &mut pg_sys::Path) {
    #[cfg(not(pg_ge_18))]
    let _ = path;
    #[cfg(pg_ge_18)]
    {
        path.disabled_nodes = 2;
    }
}

/// Counts a search of an index scan for EXPLAIN, where that shows it.
///
/// # Safety
/// `scan` has not ended.
pub unsafe fn count_search(scan: pg_sys::IndexScanDesc) {
    #[cfg(not(pg_ge_18))]
    let _ = scan;
    #[cfg(pg_ge_18)]
    // SAFETY: the scan has counters of its own if anybody wants them.
    if let Some(instrument) = unsafe { (*scan).instrument.as_mut() } {
        instrument.nsearches += 1;
    }
}

/// Counts a scan in `pg_stat_user_indexes`, as PostgreSQL's macro does that is not in the bindings.
///
/// # Safety
/// The relation is open.
pub unsafe fn count_scan(relation: pg_sys::Relation) {
    // SAFETY: the counters are this backend's own.
    unsafe {
        #[cfg(pg_ge_15)]
        if (*relation).pgstat_info.is_null() && (*relation).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(relation);
        }
        if let Some(statistics) = (*relation).pgstat_info.as_mut() {
            #[cfg(not(pg_ge_16))]
            let scans = &mut statistics.t_counts.t_numscans;
            #[cfg(pg_ge_16)]
            let scans = &mut statistics.counts.numscans;
            *scans += 1;
        }
    }
}
