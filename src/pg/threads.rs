//! Computations on threads, while the backend's main thread listens for cancel, terminate and
//! timeouts.

use super::memory::raise_panic;
use super::process::IS_BACKEND;
use crate::memory;
use pgrx::pg_sys;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How often the main thread checks for interrupts while threads compute.
const POLL: Duration = Duration::from_millis(10);

/// Threads that a maintenance command may use: `max_parallel_maintenance_workers` and the backend
/// itself, at most one per processor.
pub fn maintenance_threads() -> usize {
    if !IS_BACKEND {
        return 1;
    }
    // SAFETY: a plain read of a setting, on the main thread, which alone writes it.
    let workers = unsafe { pg_sys::max_parallel_maintenance_workers };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (workers.max(0) as usize + 1).min(processors)
}

/// Runs `work` on a pool of `threads` threads, and calls `poll` on the main thread now and then.
///
/// `work` must not call PostgreSQL, and must return soon after its flag is set. Its result is then
/// discarded, because the interrupt that set the flag raises its error here. A panic in `work`
/// becomes an ordinary error.
pub fn run<T: Send>(threads: usize, poll: impl FnMut(), work: impl FnOnce(&AtomicBool) -> T + Send) -> T {
    let mut result = None;
    stream(threads, poll, |cancel, put| put(work(cancel)), |value| result = Some(value));
    result.expect("a panic in the computation has been raised by the scope")
}

/// As [`run`], but `work` puts values one after another. `take` gets them on the main thread while
/// `work` goes on.
pub fn stream<T: Send>(
    threads: usize,
    mut poll: impl FnMut(),
    work: impl FnOnce(&AtomicBool, &dyn Fn(T)) + Send,
    mut take: impl FnMut(T),
) {
    remember_main_thread();
    memory::arm();
    let pool = pool(threads);
    let cancel = AtomicBool::new(false);
    let done = catch_unwind(AssertUnwindSafe(|| {
        pool.in_place_scope(|scope| {
            // Set on every way out, so that an error raised below does not wait for the whole
            // computation. The receiver is dropped before, which frees a thread that waits in
            // `put`.
            let _cancel_on_exit = SetOnDrop(&cancel);
            let (sender, receiver) = sync_channel(1);
            let cancel = &cancel;
            scope.spawn(move |_| {
                work(cancel, &|value| {
                    // The receiver is gone only if the main thread has left with an error.
                    let _ = sender.send(value);
                });
            });
            loop {
                match receiver.recv_timeout(POLL) {
                    Ok(value) => {
                        memory::check();
                        take(value);
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        crate::pg::interrupts::check();
                        poll();
                    }
                }
            }
        })
    }));
    done.unwrap_or_else(|panic| raise_panic(panic));
}

/// One background computation after another, while the main thread does something else.
///
/// If the main thread leaves with an error, the computation is cancelled and its result dropped.
pub struct Background<T> {
    threads: usize,
    pool: Option<rayon::ThreadPool>,
    under_way: Option<Receiver<std::thread::Result<T>>>,
    cancel: Arc<AtomicBool>,
}

impl<T: Send + 'static> Background<T> {
    /// Computes on `threads` threads.
    pub fn new(threads: usize) -> Self {
        Self { threads, pool: None, under_way: None, cancel: Arc::default() }
    }

    /// Starts a computation once the one before is done, and returns that one's result. As to
    /// `work`, see [`run`].
    pub fn start(&mut self, work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Option<T> {
        let before = self.wait();
        remember_main_thread();
        memory::arm();
        let pool = self.pool.get_or_insert_with(|| pool(self.threads));
        let (sender, receiver) = sync_channel(1);
        let cancel = Arc::clone(&self.cancel);
        pool.spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&cancel)));
            // The receiver is gone only if the main thread has left with an error.
            let _ = sender.send(done);
        });
        self.under_way = Some(receiver);
        before
    }

    /// Waits for the computation under way, if there is one.
    pub fn wait(&mut self) -> Option<T> {
        let receiver = self.under_way.take()?;
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(panic)) => raise_panic(panic),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the computation always sends"),
                Err(RecvTimeoutError::Timeout) => crate::pg::interrupts::check(),
            }
        }
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// Reminds pgrx which thread may call PostgreSQL, before others start. It forgets that at every
/// error.
pub(super) fn remember_main_thread() {
    if IS_BACKEND {
        pg_sys::submodules::thread_check::check_active_thread();
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A pool of `threads` threads, or an error with a hint.
fn pool(threads: usize) -> rayon::ThreadPool {
    quiet_pool(threads).unwrap_or_else(|error| {
        super::error::Problem::new(
            pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            format!("could not start {threads} threads: {error}"),
        )
        .hint("Lower max_parallel_maintenance_workers.")
        .raise()
    })
}

/// A pool whose threads receive no signals: PostgreSQL's handlers must run on the main thread.
pub(super) fn quiet_pool(threads: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    // SAFETY: an all-zero signal set is valid; sigfillset and the first pthread_sigmask fill both
    // sets. The calls change the mask of this thread only, and the last restores it.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        pool
    }
}
