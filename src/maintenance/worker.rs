//! Background workers. A process that finds work due starts one, which ends when no work is left.
//! With `shared_preload_libraries = 'vdb'`, a launcher regularly starts one for every database.

use super::{Limits, flush, limits, note_failure, run_next};
use crate::config::settings;
use crate::pg::catalog;
use crate::pg::interrupts;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::open::{NotOpen, OpenIndex};
use crate::pg::owner::AsOwner;
use crate::pg::relation::Relation;
use crate::pg::threads;
use crate::pg::worker::{self, Failure, Request};
use crate::storage::meta::Meta;
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::{Priority, TaskKind};
use pgrx::{pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The least time between two requests of a backend for a worker for one index.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(500);
/// How long a worker waits for an index that another process has locked, and how many times it
/// tries.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);
const LOCKED_ATTEMPTS: u32 = 30;
/// How long a worker stays although nothing is due, and how often it looks. It stays longer than
/// [`BETWEEN_REQUESTS`], so that it also does what becomes due just after its last look.
const IDLE_TIME: Duration = Duration::from_secs(1);
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// How long a worker waits for a place among the [`settings::max_workers`].
const PLACE_TIME: Duration = Duration::from_secs(2);
/// Failures in a row after which a worker leaves the task to others.
const ATTEMPTS: u32 = 5;

thread_local! {
    static REQUESTED: RefCell<HashMap<u32, Instant>> = RefCell::default();
}

/// Declares the launcher; called once when the library is loaded.
pub fn register() {
    if worker::is_preloading() {
        worker::start_with_server(c"vdb launcher", c"vdb_launcher_main");
    }
}

/// Has an index flushed whose growing segment has `rows` rows: by a worker, or here and now if
/// there can be none.
pub fn flush_is_due(relation: Relation, rows: u64, limits: Limits) {
    let is_started = can_be_left(relation) && ask_for_worker(relation, limits);
    // If no worker has come although one was requested, the rows must not become too many.
    let is_urgent = rows >= 4 * limits.flush_rows;
    if (!is_started || is_urgent)
        && let Some(lock) = IndexLock::try_take(relation, Purpose::Flush)
    {
        flush(relation, &lock, limits.flush_rows, Priority::Medium);
        drop(lock);
        if !is_started {
            do_all(relation, limits);
        }
    }
}

/// Has everything done that is due in an index.
pub fn look_after(relation: Relation) {
    let limits = limits(relation, &Meta::read(relation));
    let (_, due) = super::survey(relation, limits);
    if due.is_anything() && !(can_be_left(relation) && ask_for_worker(relation, limits)) {
        do_all(relation, limits);
    }
}

/// As [`look_after`], for an index that only its own transaction can see: a worker waits for its
/// commit.
pub fn look_after_soon(relation: Relation) {
    if !relation.is_temporary() && settings::max_workers() > 0 {
        ask_for_worker(relation, limits(relation, &Meta::read(relation)));
    }
}

fn do_all(relation: Relation, limits: Limits) {
    while run_next(relation, limits, threads::maintenance_threads(), |_| ()) {}
}

/// Whether a worker can see the index, and may be started.
fn can_be_left(relation: Relation) -> bool {
    !relation.is_temporary() && !relation.is_new() && settings::max_workers() > 0
}

/// False if the server has no room for a worker.
fn ask_for_worker(relation: Relation, limits: Limits) -> bool {
    let index = relation.oid().to_u32();
    let recently = |asked: &Instant| asked.elapsed() < BETWEEN_REQUESTS;
    if REQUESTED.with_borrow(|requested| requested.get(&index).is_some_and(recently)) {
        return true;
    }
    REQUESTED.with_borrow_mut(|requested| {
        requested.retain(|_, asked| recently(asked));
        requested.insert(index, Instant::now());
    });
    let request = Request { database: worker::database(), index, flush_rows: limits.flush_rows };
    worker::start(c"vdb worker", c"vdb_worker_main", request)
}

/// The outcome of a look at an index.
enum Outcome {
    Worked,
    /// Nothing is due, or another process does it.
    Idle,
    /// Another process has a lock on the index, or waits for one.
    Locked,
    /// The task failed, for the n-th time in a row.
    Failed(u32),
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn vdb_worker_main(_argument: pg_sys::Datum) {
    let request = worker::request();
    worker::connect(Some(request.database));
    // A worker that has a place will look at this index too. If it has looked already, its place is
    // free soon.
    let begin = Instant::now();
    while !worker::take_place(settings::max_workers()) {
        if begin.elapsed() >= PLACE_TIME {
            return;
        }
        worker::sleep(IDLE_PAUSE);
    }
    if request.index != 0 {
        work_on(request.index, request.flush_rows, IDLE_TIME);
    }
    // The indexes for which other workers were refused a place.
    for index in worker::transaction(own_indexes).unwrap_or_default() {
        work_on(index, 0, Duration::ZERO);
    }
}

/// Does what is due in an index until nothing has been due for some time.
fn work_on(index: u32, flush_rows: u64, idle_time: Duration) {
    let mut locked = 0;
    let mut last_work = Instant::now();
    loop {
        match look_at(index, flush_rows) {
            Outcome::Worked => (locked, last_work) = (0, Instant::now()),
            Outcome::Idle if last_work.elapsed() >= idle_time => return,
            Outcome::Idle => worker::sleep(IDLE_PAUSE),
            Outcome::Locked if locked >= LOCKED_ATTEMPTS => return,
            Outcome::Locked => {
                locked += 1;
                worker::sleep(LOCKED_PAUSE);
            }
            Outcome::Failed(times) if times >= ATTEMPTS => return,
            Outcome::Failed(times) => {
                worker::sleep(Duration::from_secs(1 << times.min(16)));
                last_work = Instant::now();
            }
        }
        pgrx::check_for_interrupts!();
    }
}

fn look_at(index: u32, flush_rows: u64) -> Outcome {
    let begun = Cell::new(None);
    let result = worker::transaction(|| {
        let index = match OpenIndex::try_to_change(pg_sys::Oid::from_u32(index)) {
            Ok(index) => index,
            Err(NotOpen::Locked) => return Outcome::Locked,
            Err(NotOpen::Unfit) => return Outcome::Idle,
        };
        let relation = index.relation();
        let _as_owner = AsOwner::of(relation);
        let mut limits = limits(relation, &Meta::read(relation));
        if flush_rows > 0 {
            limits.flush_rows = flush_rows;
        }
        worker::report_progress_of(relation);
        let noted = |kind: TaskKind| {
            worker::report_activity(&format!("vdb: {kind:?} of index \"{}\"", relation.name()));
            begun.set(Some(kind));
        };
        let threads = settings::worker_threads();
        match interrupts::yielding(relation, || run_next(relation, limits, threads, noted)) {
            true => Outcome::Worked,
            false => Outcome::Idle,
        }
    });
    match result {
        Ok(outcome) => outcome,
        Err(Failure { code, message }) => {
            if code == interrupts::YIELD || worker::is_request_to_end(code) {
                // The work is done later; it has not failed.
                return Outcome::Locked;
            }
            pgrx::log!("vdb: {:?} failed: {message}", begun.get());
            let Some(kind) = begun.get() else { return Outcome::Idle };
            // If even that cannot be written, only the log has it.
            let noted = worker::transaction(|| {
                let Ok(index) = OpenIndex::try_to_change(pg_sys::Oid::from_u32(index)) else { return 0 };
                note_failure(index.relation(), kind, message);
                failures(index.relation(), kind)
            });
            Outcome::Failed(noted.unwrap_or(ATTEMPTS))
        }
    }
}

fn failures(relation: Relation, kind: TaskKind) -> u32 {
    let snapshot = Snapshot::read(relation);
    let last = snapshot.manifest.tasks.iter().rev().find(|task| task.kind == kind);
    last.map_or(0, |task| task.failures)
}

/// The vdb indexes of this database that any session can read.
fn own_indexes() -> Vec<u32> {
    let indexes = catalog::own_indexes().into_iter();
    indexes.filter(|index| !index.is_temporary()).map(|index| index.oid.to_u32()).collect()
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn vdb_launcher_main(_argument: pg_sys::Datum) {
    worker::connect(None);
    loop {
        worker::sleep(settings::naptime());
        for database in worker::transaction(catalog::databases).unwrap_or_default() {
            // Without room for a worker, the next round starts one.
            worker::start(c"vdb worker", c"vdb_worker_main", Request { database, index: 0, flush_rows: 0 });
        }
    }
}
