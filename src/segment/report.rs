//! What the last search of this backend did, step by step, for tuning.

use crate::pg::buffer::pins;
use crate::search::rerank::Work;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// One way through one segment, or through all segments with lists.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// `None` for all segments together.
    pub segment: Option<u32>,
    pub structure: &'static str,
    pub step: &'static str,
    pub rows: u64,
    /// Matching rows; `None` if nearly all match.
    pub matches: Option<u64>,
    /// Candidates of a graph, or lists, that the search begins with.
    pub effort: Option<u64>,
    /// Time until the first row by the cost model.
    pub expected: Duration,
    /// Time taken; zero unless reports are collected (see [`collect`]).
    pub actual: Duration,
    pub returned: u64,
    pub work: Work,
    pub pages: u64,
}

impl StepReport {
    pub fn new(segment: Option<u32>, structure: &'static str, step: &'static str) -> Self {
        Self {
            segment,
            structure,
            step,
            rows: 0,
            matches: None,
            effort: None,
            expected: Duration::ZERO,
            actual: Duration::ZERO,
            returned: 0,
            work: Work::default(),
            pages: 0,
        }
    }

    /// A step through the same rows that has not begun.
    pub fn fresh_step(&self) -> Self {
        let Self { segment, structure, step, rows, matches, .. } = *self;
        Self { rows, matches, ..Self::new(segment, structure, step) }
    }

    /// Sets the expected time, in nanoseconds.
    pub fn expect(&mut self, nanoseconds: f64) {
        self.expected = Duration::from_nanos(nanoseconds as u64);
    }

    /// Adds the time and the pages of a call to this step.
    pub fn observe<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let (begin, before) = (is_timed().then(Instant::now), pins());
        let result = call();
        self.pages += pins() - before;
        self.actual += begin.map_or(Duration::ZERO, |begin| begin.elapsed());
        result
    }
}

/// A search that has ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The index's object identifier.
    pub index: u32,
    pub generation: u64,
    pub steps: Vec<StepReport>,
}

thread_local! {
    static LAST: RefCell<Option<Report>> = const { RefCell::new(None) };
    /// Searches that ended since [`collect`] began; their steps are timed.
    static COLLECTED: RefCell<Option<Vec<Report>>> = const { RefCell::new(None) };
}

fn is_timed() -> bool {
    COLLECTED.with_borrow(Option::is_some)
}

/// The last search that has ended in this backend.
pub fn last() -> Option<Report> {
    LAST.with_borrow(Clone::clone)
}

/// Remembers a search.
pub fn remember(report: Report) {
    COLLECTED.with_borrow_mut(|collected| collected.iter_mut().for_each(|all| all.push(report.clone())));
    LAST.set(Some(report));
}

/// The searches that end during `work`, with the time that their steps took.
pub fn collect(work: impl FnOnce()) -> Vec<Report> {
    /// Ends the collection, also after an error, and restores the outer one.
    struct End(Option<Vec<Report>>);
    impl Drop for End {
        fn drop(&mut self) {
            COLLECTED.set(self.0.take());
        }
    }
    let _end = End(COLLECTED.replace(Some(Vec::new())));
    work();
    COLLECTED.take().unwrap_or_default()
}
