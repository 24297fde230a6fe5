//! All differences between PostgreSQL's major versions; other modules have one code for all.
//!
//! `pg_ge_n` is set from version *n* on (`.cargo/build.rs`). So a future version counts as the last
//! known one.

mod explain;
mod read_stream;

pub use explain::register as register_explain;
pub use read_stream::for_each_buffer;

use pgrx::pg_sys;
use std::ffi::{CStr, c_void};

/// PostgreSQL's name of a relation's files.
#[cfg(not(pg_ge_16))]
pub type FileLocator = pg_sys::RelFileNode;
/// PostgreSQL's name of a relation's files.
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

/// The subtransaction that gave a relation its files, if it is part of this transaction.
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
    // SAFETY: the prefix is a C string, which PostgreSQL copies.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr())
    };
}

/// The analyzed query of a raw statement without parameters.
///
/// # Safety
/// The caller is in a transaction with an active snapshot. `statement` points to a valid statement,
/// and `text` is its source.
pub unsafe fn analyze(statement: *mut pg_sys::RawStmt, text: &CStr) -> *mut pg_sys::Query {
    let text = text.as_ptr();
    let (types, environment) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the statement is a valid node by this function's contract. Null types and zero
    // parameters belong together.
    unsafe {
        #[cfg(not(pg_ge_15))]
        return pg_sys::parse_analyze(statement, text, types, 0, environment);
        #[cfg(pg_ge_15)]
        return pg_sys::parse_analyze_fixedparams(statement, text, types, 0, environment);
    }
}

/// The set of a table's columns that a query needs the right to select.
///
/// # Safety
/// `query` is a valid analyzed query, and `entry` one of its tables. Both stay in place while the
/// result is used.
pub unsafe fn selected_columns(
    query: *mut pg_sys::Query,
    entry: *mut pg_sys::RangeTblEntry,
) -> *mut *mut pg_sys::Bitmapset {
    // SAFETY: both nodes are valid by this function's contract. From version 16 on, a table's
    // permissions are in its query, so the look-up finds them.
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
/// `state` points to a valid query that `ExecutorStart` was called for.
pub unsafe fn run_plan(state: *mut pg_sys::QueryDesc) {
    let forward = pg_sys::ScanDirection::ForwardScanDirection;
    // SAFETY: the executor has started the query, by this function's contract, and has not run it.
    unsafe {
        #[cfg(not(pg_ge_18))]
        pg_sys::ExecutorRun(state, forward, 0, true);
        #[cfg(pg_ge_18)]
        pg_sys::ExecutorRun(state, forward, 0);
    }
}

/// Sends a message through a queue and wakes its receiver at once.
///
/// # Safety
/// `queue` is attached, with this process as its sender.
pub unsafe fn send(queue: *mut pg_sys::shm_mq_handle, message: &[u8]) -> pg_sys::shm_mq_result::Type {
    let (bytes, data) = (message.len(), message.as_ptr().cast::<c_void>());
    // SAFETY: the queue is attached by this function's contract. PostgreSQL only reads the message,
    // whose length is `bytes`.
    unsafe {
        #[cfg(not(pg_ge_15))]
        return pg_sys::shm_mq_send(queue, bytes, data, false);
        #[cfg(pg_ge_15)]
        return pg_sys::shm_mq_send(queue, bytes, data, false, true);
    }
}

/// Workers that PostgreSQL would use to build an index. Since version 17 PostgreSQL computes them
/// for indexes of any kind.
///
/// # Safety
/// `table` and `index` are open and locked.
pub unsafe fn build_workers(info: &pg_sys::IndexInfo, table: pg_sys::Oid, index: pg_sys::Oid) -> i32 {
    #[cfg(not(pg_ge_17))]
    // SAFETY: both are open and locked by this function's contract, so the planner can open them
    // without a lock.
    return info.ii_ParallelWorkers.max(unsafe { pg_sys::plan_create_index_workers(table, index) });
    #[cfg(pg_ge_17)]
    {
        let _ = (table, index);
        info.ii_ParallelWorkers
    }
}

/// States that several processes may build an index of this kind.
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
/// The caller is in a transaction, and `function` exists.
pub unsafe fn may_call(function: pg_sys::Oid) -> bool {
    let execute = u64::from(pg_sys::ACL_EXECUTE) as pg_sys::AclMode;
    // SAFETY: the caller is in a transaction, so catalogs can be read; the function exists.
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

/// Sets a search path of PostgreSQL's own names: a caller must not choose what an author's names
/// mean.
///
/// # Safety
/// The caller has begun a nest level of settings, and ends it.
pub unsafe fn restrict_search_path() {
    // SAFETY: the strings are C strings of a valid setting. The caller's nest level ends what is
    // set here.
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

/// Marks a path that no plan takes while there is another, where PostgreSQL counts such paths.
pub fn disable(path: &mut pg_sys::Path) {
    #[cfg(not(pg_ge_18))]
    let _ = path;
    #[cfg(pg_ge_18)]
    {
        path.disabled_nodes = 2;
    }
}

/// Counts a search of an index scan for EXPLAIN, where EXPLAIN shows it.
///
/// # Safety
/// `scan` points to an open scan.
pub unsafe fn count_search(scan: pg_sys::IndexScanDesc) {
    #[cfg(not(pg_ge_18))]
    let _ = scan;
    #[cfg(pg_ge_18)]
    // SAFETY: the scan is open by this function's contract. Its counters are null, or valid as long
    // as the scan.
    if let Some(instrument) = unsafe { (*scan).instrument.as_mut() } {
        instrument.nsearches += 1;
    }
}

/// Counts a scan in `pg_stat_user_indexes`. It replaces PostgreSQL's macro, which the bindings
/// lack.
///
/// # Safety
/// `relation` points to an open relation.
pub unsafe fn count_scan(relation: pg_sys::Relation) {
    // SAFETY: the relation is open by this function's contract. Its counters are null, or valid and
    // this backend's own.
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

/// Whether a pin by the buffer where a page was seen last raises the buffer's usage count, as other
/// pins do.
pub const RECENT_PINS_RAISE_USAGE: bool = cfg!(pg_ge_16);

/// Waits as long as VACUUM's cost settings ask for, if at all.
pub fn vacuum_delay_point() {
    // SAFETY: the call waits, or raises an error if the statement is cancelled. The boundary turns
    // that into a panic.
    unsafe {
        #[cfg(not(pg_ge_18))]
        pg_sys::vacuum_delay_point();
        #[cfg(pg_ge_18)]
        pg_sys::vacuum_delay_point(false);
    }
}

/// Has a signal handled by one of PostgreSQL's handlers, as PostgreSQL sets them. From 17 on that
/// keeps `errno` and ignores the signals of a forked child.
///
/// # Safety
/// `handler` may run at any time in this process.
pub unsafe fn handle_signal(signal: i32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the handler may run at any time by this function's contract.
    unsafe {
        #[cfg(not(pg_ge_18))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(pg_ge_18)]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}
