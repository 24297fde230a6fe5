//! What was done to an index in the background, as its manifest remembers it.

use serde::{Deserialize, Serialize};

/// What changes segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    Flush,
    Compact,
}

/// How urgent a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Running,
    Completed,
    /// With the error's message.
    Failed(String),
}

/// A task that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub kind: TaskKind,
    pub priority: Priority,
    pub state: State,
    /// Process that ran it.
    pub pid: i32,
    /// Rows of the segment that it made.
    pub rows: u64,
    /// Microseconds since 1970.
    pub started: u64,
    pub ended: u64,
    /// Failures in a row, this one included.
    pub failures: u32,
}

/// Most tasks of each kind that are remembered.
const REMEMBERED: usize = 8;
/// Seconds until the first retry of a failed task; twice as many after each further failure.
const FIRST_RETRY: u64 = 2;
const LAST_RETRY: u64 = 3600;

/// The last tasks of an index, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLog(Vec<Task>);

impl TaskLog {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.0.iter()
    }

    fn last(&mut self, kind: TaskKind) -> Option<&mut Task> {
        self.0.iter_mut().rev().find(|task| task.kind == kind)
    }

    /// Adds a running task. The caller holds the lock of its kind, so a task that still counts as
    /// running was interrupted.
    pub fn begin(&mut self, kind: TaskKind, priority: Priority, pid: i32, now: u64) {
        if let Some(last) = self.last(kind)
            && last.state == State::Running
        {
            last.state = State::Failed("the process that ran it was interrupted".into());
            last.ended = now;
        }
        let failures = match self.last(kind) {
            Some(Task { state: State::Failed(_), failures, .. }) => *failures,
            _ => 0,
        };
        let state = State::Running;
        self.0.push(Task { kind, priority, state, pid, rows: 0, started: now, ended: 0, failures });
        let of_kind = self.0.iter().filter(|task| task.kind == kind).count();
        if of_kind > REMEMBERED
            && let Some(oldest) = self.0.iter().position(|task| task.kind == kind)
        {
            self.0.remove(oldest);
        }
    }

    pub fn complete(&mut self, kind: TaskKind, rows: u64, now: u64) {
        if let Some(task) = self.last(kind) {
            (task.state, task.rows, task.ended, task.failures) = (State::Completed, rows, now, 0);
        }
    }

    pub fn fail(&mut self, kind: TaskKind, error: String, now: u64) {
        if let Some(task) = self.last(kind) {
            (task.state, task.ended) = (State::Failed(error), now);
            task.failures += 1;
        }
    }

    /// When a task of this kind may be tried again, in microseconds since 1970: 0 unless the last
    /// one failed.
    pub fn retry_at(&self, kind: TaskKind) -> u64 {
        match self.0.iter().rev().find(|task| task.kind == kind) {
            Some(Task { state: State::Failed(_), failures, ended, .. }) => {
                let wait = FIRST_RETRY << (failures.saturating_sub(1)).min(16);
                ended + wait.min(LAST_RETRY) * 1_000_000
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_ever_later_and_old_tasks_forgotten() {
        let mut log = TaskLog::default();
        let kind = TaskKind::Compact;
        assert_eq!(log.retry_at(kind), 0);
        let mut waits = Vec::new();
        for _ in 0..20 {
            log.begin(kind, Priority::Low, 1, 5);
            log.fail(kind, "no space".into(), 10);
            waits.push((log.retry_at(kind) - 10) / 1_000_000);
        }
        assert_eq!(waits[..4], [2, 4, 8, 16]);
        assert_eq!(waits[19], LAST_RETRY);
        assert_eq!(log.retry_at(TaskKind::Flush), 0, "the other kind has not failed");
        assert_eq!(log.iter().count(), REMEMBERED);
        log.begin(kind, Priority::Low, 1, 20);
        log.begin(kind, Priority::Low, 2, 30);
        assert!(matches!(log.iter().rev().nth(1), Some(Task { state: State::Failed(_), ended: 30, .. })));
        log.complete(kind, 7, 40);
        assert_eq!(log.retry_at(kind), 0);
    }
}
