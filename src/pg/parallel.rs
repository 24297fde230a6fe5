//! PostgreSQL's parallel workers: processes that scan a table together with the backend, and send
//! it messages.

use super::compat;
use super::error::Problem;
use super::relation::Relation;
use bytemuck::Pod;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::CStr;

/// The contents of the memory that leader and workers share.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Key {
    Task = 1,
    Scan = 2,
    /// One queue for each worker, one after another.
    Queues = 3,
}

/// Bytes of a queue: room for some dozens of the largest rows. So neither side waits for the
/// other's next time slice.
const QUEUE_BYTES: usize = 1 << 18;

/// Which rows of a table are scanned.
pub enum Rows {
    /// All that any transaction may see.
    Any,
    /// Those that a new snapshot sees.
    Visible,
}

/// Workers that scan a table with the backend, which leads them.
pub struct Team {
    context: *mut pg_sys::ParallelContext,
    table: Relation,
    scan: pg_sys::ParallelTableScanDesc,
    /// The snapshot that was registered here, if there is one.
    snapshot: Option<pg_sys::Snapshot>,
    /// Queues of workers that may still send something.
    queues: Vec<*mut pg_sys::shm_mq_handle>,
}

impl Team {
    /// Starts up to `workers` workers, each of which calls `function`, an exported function of this
    /// library; `None` if there is no room for any.
    pub fn start(
        function: &CStr,
        workers: usize,
        task: &impl Pod,
        table: Relation,
        rows: Rows,
    ) -> Option<Self> {
        if workers == 0 {
            return None;
        }
        let task = bytemuck::bytes_of(task);
        // SAFETY: the calls come in PostgreSQL's order. Every allocation was estimated before, and
        // workers start only once the memory is initialized. `worker` has an entry for each
        // launched worker. The table is open and locked.
        unsafe {
            pg_sys::EnterParallelMode();
            let context = pg_sys::CreateParallelContext(c"vdb".as_ptr(), function.as_ptr(), workers as i32);
            let snapshot = match rows {
                Rows::Any => None,
                Rows::Visible => Some(pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot())),
            };
            let seen = snapshot.unwrap_or(&raw mut pg_sys::SnapshotAnyData);
            let scan_bytes = pg_sys::table_parallelscan_estimate(table.raw(), seen);
            let queues_bytes = QUEUE_BYTES * workers;
            for bytes in [task.len(), scan_bytes, queues_bytes] {
                let estimator = &mut (*context).estimator;
                estimator.space_for_chunks += bytes.next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
                estimator.number_of_keys += 1;
            }
            pg_sys::InitializeParallelDSM(context);
            let mut team = Self { context, table, scan: std::ptr::null_mut(), snapshot, queues: Vec::new() };
            if (*context).seg.is_null() {
                return None;
            }
            let toc = (*context).toc;
            let allocate = |key: Key, bytes: usize| {
                let memory = pg_sys::shm_toc_allocate(toc, bytes);
                pg_sys::shm_toc_insert(toc, key as u64, memory);
                memory
            };
            let task_memory = allocate(Key::Task, task.len()).cast::<u8>();
            task_memory.copy_from_nonoverlapping(task.as_ptr(), task.len());
            team.scan = allocate(Key::Scan, scan_bytes).cast();
            pg_sys::table_parallelscan_initialize(table.raw(), team.scan, seen);
            let queues = allocate(Key::Queues, queues_bytes).cast::<u8>();
            let queues: Vec<_> = (0..workers)
                .map(|worker| {
                    let memory = queues.add(worker * QUEUE_BYTES);
                    let queue = pg_sys::shm_mq_create(memory.cast(), QUEUE_BYTES);
                    pg_sys::shm_mq_set_receiver(queue, pg_sys::MyProc);
                    queue
                })
                .collect();
            pg_sys::LaunchParallelWorkers(context);
            let launched = (*context).nworkers_launched.max(0) as usize;
            for (worker, queue) in queues.into_iter().take(launched).enumerate() {
                let handle = (*(*context).worker.add(worker)).bgwhandle;
                team.queues.push(pg_sys::shm_mq_attach(queue, (*context).seg, handle));
            }
            (launched > 0).then_some(team)
        }
    }

    /// Begins the backend's own share of the scan. The callee ends it.
    pub fn begin_scan(&self) -> pg_sys::TableScanDesc {
        // SAFETY: the table is open, and `start` initialized the scan for it.
        unsafe { pg_sys::table_beginscan_parallel(self.table.raw(), self.scan) }
    }

    /// Calls `visit` with the messages that have arrived; returns whether there were any.
    pub fn receive(&mut self, mut visit: impl FnMut(&[u8])) -> bool {
        let mut any = false;
        self.queues.retain(|&queue| {
            loop {
                let (mut bytes, mut data) = (0, std::ptr::null_mut());
                // SAFETY: `start` attached the queue, and it is dropped from the list once it is
                // detached.
                match unsafe { pg_sys::shm_mq_receive(queue, &mut bytes, &mut data, true) } {
                    pg_sys::shm_mq_result::SHM_MQ_SUCCESS => {
                        any = true;
                        // SAFETY: on success `data` points to `bytes` bytes, which stay valid until
                        // the queue is read again.
                        visit(unsafe { std::slice::from_raw_parts(data.cast(), bytes) });
                    }
                    result => return result == pg_sys::shm_mq_result::SHM_MQ_WOULD_BLOCK,
                }
            }
        });
        any
    }

    /// Calls `visit` with all remaining messages.
    pub fn receive_all(&mut self, mut visit: impl FnMut(&[u8])) {
        while !self.queues.is_empty() {
            if !self.receive(&mut visit) && !self.queues.is_empty() {
                // SAFETY: `MyLatch` is this backend's own latch. A sender sets it, as does the end
                // of a worker.
                unsafe {
                    pg_sys::WaitLatch(
                        pg_sys::MyLatch,
                        (pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
                        0,
                        pg_sys::PG_WAIT_EXTENSION,
                    );
                    pg_sys::ResetLatch(pg_sys::MyLatch);
                }
            }
            super::interrupts::check();
        }
    }
}

impl Drop for Team {
    /// Waits for the workers; an error of theirs is raised here, unless it was before.
    fn drop(&mut self) {
        // After an error the end of the transaction does all this.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: `start` made all of this, in the reverse order, and nothing else ends it.
        unsafe {
            if !(*self.context).seg.is_null() {
                pg_sys::WaitForParallelWorkersToFinish(self.context);
            }
            if let Some(snapshot) = self.snapshot {
                pg_sys::UnregisterSnapshot(snapshot);
            }
            pg_sys::DestroyParallelContext(self.context);
            pg_sys::ExitParallelMode();
        }
    }
}

/// A worker's part of its [`Team`].
pub struct Member {
    toc: *mut pg_sys::shm_toc,
    queue: *mut pg_sys::shm_mq_handle,
}

impl Member {
    /// # Safety
    /// The arguments are those that PostgreSQL passes to a function given to [`Team::start`].
    pub unsafe fn new(segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) -> Self {
        // SAFETY: PostgreSQL passes the leader's segment and its table of contents. The leader put
        // a queue there for each worker, and workers are numbered from 0. Only this worker is the
        // sender of its queue.
        let queue = unsafe {
            let queues = pg_sys::shm_toc_lookup(toc, Key::Queues as u64, false).cast::<u8>();
            let worker = pg_sys::ParallelWorkerNumber.max(0) as usize;
            let queue = queues.add(worker * QUEUE_BYTES).cast::<pg_sys::shm_mq>();
            pg_sys::shm_mq_set_sender(queue, pg_sys::MyProc);
            pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut())
        };
        Self { toc, queue }
    }

    /// The task. `T` must be the type that the leader has passed.
    pub fn task<T: Pod>(&self) -> T {
        // SAFETY: the leader put a `T` there, as this function requires. Any bytes are a valid `T`,
        // and the read needs no alignment.
        unsafe { pg_sys::shm_toc_lookup(self.toc, Key::Task as u64, false).cast::<T>().read_unaligned() }
    }

    /// Begins the worker's share of the scan. The callee ends it.
    pub fn begin_scan(&self, table: Relation) -> pg_sys::TableScanDesc {
        // SAFETY: the leader initialized the scan there, for this table, which is open.
        unsafe {
            let scan = pg_sys::shm_toc_lookup(self.toc, Key::Scan as u64, false);
            pg_sys::table_beginscan_parallel(table.raw(), scan.cast())
        }
    }

    /// Sends a message to the leader, once there is room for it.
    pub fn send(&mut self, message: &[u8]) {
        // SAFETY: `new` attached the queue, with this process as its sender.
        let result = unsafe { compat::send(self.queue, message) };
        if result != pg_sys::shm_mq_result::SHM_MQ_SUCCESS {
            Problem::new(
                PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
                "the backend that a worker scans a table for has ended",
            )
            .raise();
        }
    }
}

/// Workers that PostgreSQL would use to make an index. It considers the table's size,
/// `maintenance_work_mem`, `max_parallel_maintenance_workers`, and whether workers may compute the
/// index's expressions.
pub fn workers_for(table: Relation, index: Relation, info: &pg_sys::IndexInfo) -> usize {
    // SAFETY: a [`Relation`] is open and locked while it is used.
    let workers = unsafe { compat::build_workers(info, table.oid(), index.oid()) };
    usize::try_from(workers).unwrap_or_default()
}
