//! Background workers: how they are started, and how their transactions run.

use super::compat;
use super::relation::Relation;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// What a worker is asked to do.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Request {
    pub database: u32,
    /// An index; 0 for all indexes of the database.
    pub index: u32,
    /// Rows at which the index is flushed, by the requester's settings; 0 if unknown.
    pub flush_rows: u64,
}

/// Copies a C string into a field of fixed length.
fn copy_name(name: &CStr, field: &mut [std::ffi::c_char]) {
    let bytes = name.to_bytes_with_nul();
    debug_assert!(bytes.len() <= field.len());
    field.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as std::ffi::c_char);
}

fn describe(name: &CStr, function: &CStr) -> pg_sys::BackgroundWorker {
    let mut worker = pg_sys::BackgroundWorker::default();
    copy_name(name, &mut worker.bgw_name);
    copy_name(name, &mut worker.bgw_type);
    copy_name(function, &mut worker.bgw_function_name);
    let library = &mut worker.bgw_library_name;
    // An array in PostgreSQL 14 to 16, of another length in later versions.
    copy_name(c"vdb", &mut library[..]);
    worker.bgw_flags = (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    worker
}

/// Starts a worker that will call `function`, an exported function of this library; false if the
/// server has no room for one more.
pub fn start(name: &CStr, function: &CStr, request: Request) -> bool {
    let mut worker = describe(name, function);
    let bytes = bytemuck::bytes_of(&request);
    worker.bgw_extra.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as std::ffi::c_char);
    // SAFETY: the description is complete, and PostgreSQL copies it. A null handle is allowed.
    unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, std::ptr::null_mut()) }
}

/// Has the server start a worker whenever it starts itself. Only valid while
/// `shared_preload_libraries` are loaded.
pub fn start_with_server(name: &CStr, function: &CStr) {
    let mut worker = describe(name, function);
    const SECONDS_TO_RESTART: i32 = 10;
    worker.bgw_restart_time = SECONDS_TO_RESTART;
    // SAFETY: the description is complete, and PostgreSQL copies it. The postmaster calls this
    // while it loads libraries.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

/// Whether the postmaster is loading the library.
pub fn is_preloading() -> bool {
    // SAFETY: a plain read of a variable that only this process's main thread writes.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// What this worker was asked for.
pub fn request() -> Request {
    // SAFETY: PostgreSQL points the variable to the worker's entry before it calls the worker's
    // main function. The bytes are those that `start` wrote.
    let extra = unsafe { (*pg_sys::MyBgworkerEntry).bgw_extra };
    let bytes: Vec<u8> = extra[..size_of::<Request>()].iter().map(|&byte| byte as u8).collect();
    bytemuck::pod_read_unaligned(&bytes)
}

unsafe extern "C-unwind" {
    /// PostgreSQL's handler of SIGTERM. The process ends at its next check for interrupts. The
    /// bindings' wrapper is no C function.
    fn die(signal: i32);
    fn SignalHandlerForConfigReload(signal: i32);
}

/// Begins a worker's life: signals, and a connection to a database. Without a database it sees only
/// the shared catalogs.
pub fn connect(database: Option<u32>) {
    // SAFETY: the handlers are PostgreSQL's own and take a signal's number. A worker's main
    // function calls this once, before anything else, while signals are still blocked.
    unsafe {
        compat::handle_signal(libc::SIGTERM, die);
        compat::handle_signal(libc::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        match database {
            Some(database) => pg_sys::BackgroundWorkerInitializeConnectionByOid(
                pg_sys::Oid::from_u32(database),
                pg_sys::InvalidOid,
                0,
            ),
            None => pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0),
        }
    }
}

/// Why a transaction was aborted.
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
}

/// Runs `work` in a transaction, without a snapshot, so that the transaction holds back no VACUUM;
/// an error aborts it. Reading catalogs takes a snapshot, which [`drop_catalog_snapshot`] gives
/// back.
pub fn transaction<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    // SAFETY: workers call this outside of transactions only, so one can begin. The snapshot is
    // popped right after it was pushed.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // Under any other level the transaction would keep its first snapshot.
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        // Taken and released at once. It lets PostgreSQL see which transactions are over, and so
        // which pages are free.
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::PopActiveSnapshot();
    }
    let mut work = Some(work);
    let result = pgrx::PgTryBuilder::new(AssertUnwindSafe(|| {
        let value = (work.take().expect("called once"))();
        // SAFETY: the current transaction is the one begun above: `work` leaves it open.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(value)
    }))
    .catch_others(|error| Err(failure(&error)))
    .catch_rust_panic(|error| Err(failure(&error)))
    .execute();
    if result.is_err() {
        super::attempt::allow_interrupts();
        // SAFETY: the error left the transaction begun above as the current one, not yet aborted.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    result
}

/// Drops the snapshot with which PostgreSQL read catalogs, which would hold back VACUUM during long
/// work. The next read of a catalog takes another.
pub fn drop_catalog_snapshot() {
    // SAFETY: callers read no catalog at the moment, so nothing uses the snapshot.
    unsafe { pg_sys::InvalidateCatalogSnapshot() };
}

/// Whether an error is a request to end the work, by a cancel or a shutdown, and not its failure.
pub fn is_request_to_end(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    matches!(code, ERRCODE_QUERY_CANCELED | ERRCODE_ADMIN_SHUTDOWN | ERRCODE_CRASH_SHUTDOWN)
}

fn failure(error: &CaughtError) -> Failure {
    match error {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => {
            Failure { code: report.sql_error_code(), message: report.message().into() }
        }
    }
}

/// Sleeps, and handles signals meanwhile.
pub fn sleep(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        // SAFETY: `MyLatch` is this process's own latch, valid as long as the process; the process
        // is attached to the postmaster.
        unsafe {
            pg_sys::WaitLatch(
                pg_sys::MyLatch,
                (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
                left.as_millis() as i64 + 1,
                pg_sys::PG_WAIT_EXTENSION,
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        pgrx::check_for_interrupts!();
        // SAFETY: a worker has no transaction open while it sleeps. PostgreSQL's own processes read
        // the configuration at such points, after they have cleared the flag.
        unsafe {
            if pg_sys::ConfigReloadPending != 0 {
                pg_sys::ConfigReloadPending = 0;
                pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            }
        }
    }
}

/// Shows what a worker does in `pg_stat_activity`.
pub fn report_activity(what: &str) {
    let what = std::ffi::CString::new(what).unwrap_or_default();
    // SAFETY: the string is a C string, which PostgreSQL copies.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, what.as_ptr()) };
}

/// Shows the progress of this process as that of an index's creation.
pub fn report_progress_of(relation: Relation) {
    // SAFETY: PostgreSQL writes only this backend's own slot of shared memory.
    unsafe {
        pg_sys::pgstat_progress_start_command(
            pg_sys::ProgressCommandType::PROGRESS_COMMAND_CREATE_INDEX,
            relation.oid(),
        );
    }
}

/// Takes one of `count` places for workers, for the rest of this process's life; false if all are
/// taken.
pub fn take_place(count: u32) -> bool {
    (0..count).any(lock_place)
}

/// A lock that no user can request: users' advisory locks contain their database.
fn lock_place(place: u32) -> bool {
    const OURS: u32 = 0x0076_6462;
    const CLASS: u16 = 76;
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: OURS,
        locktag_field3: place,
        locktag_field4: CLASS,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    // SAFETY: the tag is a complete local variable. A session lock needs no transaction, and this
    // one does not wait.
    let taken = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, true, true) };
    taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// This process's database.
pub fn database() -> u32 {
    // SAFETY: a plain read of a variable that PostgreSQL sets when the process connects.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}
