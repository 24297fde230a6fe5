//! Threads that help a search, if processors are idle. A backend that needed them once keeps them
//! asleep.

use super::memory::raise_panic;
use super::threads::quiet_pool;
use pgrx::pg_sys;
use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// The main thread's; `None` inside if there cannot be any.
    static POOL: OnceCell<Option<Helpers>> = const { OnceCell::new() };
}

/// Threads other than the main one, which must not call PostgreSQL.
#[derive(Clone, Copy)]
pub struct Helpers {
    /// Lives as long as the process.
    pool: &'static rayon::ThreadPool,
}

/// Helpers of this backend, if a processor is idle at present. There are at most as many as a query
/// may have parallel workers, and as there are other processors.
pub fn idle() -> Option<Helpers> {
    // SAFETY: a plain read of a setting, on the main thread, which alone writes it.
    let allowed = usize::try_from(unsafe { pg_sys::max_parallel_workers_per_gather }).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if allowed == 0 || processors < 2 || running()? >= processors {
        return None;
    }
    POOL.with(|pool| *pool.get_or_init(|| Helpers::new(allowed.min(processors - 1))))
}

/// Runnable processes and threads of the system, this one among them; `None` if the system does not
/// say.
fn running() -> Option<usize> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    running_of(&load)
}

/// As in `0.20 0.18 0.12 2/80 11206`: two.
fn running_of(load: &str) -> Option<usize> {
    load.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

impl Helpers {
    /// `None` if the system has no room for `threads` threads.
    pub fn new(threads: usize) -> Option<Self> {
        let pool = quiet_pool(threads).ok()?;
        Some(Self { pool: Box::leak(Box::new(pool)) })
    }

    /// Does `pieces` pieces of work, by their numbers, on the main thread and all helpers; a free
    /// thread takes the next. It returns what each thread has made of its pieces, the main thread's
    /// first.
    pub fn share<S: Send>(
        self,
        pieces: usize,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) + Sync,
    ) -> Vec<S> {
        // pgrx's check that only one thread calls PostgreSQL forgets that thread at every error.
        pg_sys::submodules::thread_check::check_active_thread();
        let (next, at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work_on = || {
            let _at_work = Counted::new(&at_work);
            let mut state = begin();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    break;
                }
                work(&mut state, piece);
            }
            state
        };
        let mut states: Vec<Option<S>> = (0..=self.pool.current_num_threads()).map(|_| None).collect();
        let (own, others) = states.split_first_mut().expect("one at least");
        let shared = catch_unwind(AssertUnwindSafe(|| {
            self.pool.in_place_scope(|scope| {
                for state in others {
                    let work_on = &work_on;
                    scope.spawn(move |_| *state = Some(work_on()));
                }
                *own = Some(work_on());
                // Sleeping and waking would take longer than the last pieces.
                while at_work.load(Ordering::Acquire) > 0 {
                    std::hint::spin_loop();
                }
            })
        }));
        shared.unwrap_or_else(|panic| raise_panic(panic));
        states.into_iter().flatten().collect()
    }
}

/// A thread that is counted while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_read_off() {
        assert_eq!(running_of("0.20 0.18 0.12 2/80 11206\n"), Some(2));
        assert_eq!(running_of("0.20 0.18"), None);
        assert_eq!(running_of("0.20 0.18 0.12 -/80 11206\n"), None);
        assert!(running().is_none_or(|running| running > 0));
    }
}
