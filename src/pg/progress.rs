//! What `pg_stat_progress_create_index` shows while an index is built.

use pgrx::pg_sys;

/// Phases of a build. The numbers are PostgreSQL's sub-phases, of which 1 is fixed as
/// "initializing".
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Phase {
    LoadRows = 2,
    BuildGraph = 3,
    WriteSegment = 4,
    SampleRows = 5,
    FindCentroids = 6,
}

impl Phase {
    /// The name that the view shows for a phase's number.
    pub fn name(number: i64) -> Option<&'static std::ffi::CStr> {
        [
            (pg_sys::PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE as i64, c"initializing"),
            (Phase::LoadRows as i64, c"loading rows"),
            (Phase::BuildGraph as i64, c"building graph"),
            (Phase::WriteSegment as i64, c"writing segment"),
            (Phase::SampleRows as i64, c"sampling rows"),
            (Phase::FindCentroids as i64, c"finding centroids"),
        ]
        .into_iter()
        .find(|(phase, _)| *phase == number)
        .map(|(_, name)| name)
    }
}

fn set(parameter: u32, value: i64) {
    // SAFETY: PostgreSQL writes only this backend's own slot of shared memory, if it has one.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value) };
}

pub fn phase(phase: Phase) {
    set(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase as i64);
}

pub fn tuples(done: u64, total: u64) {
    set(pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL, total as i64);
    set(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, done as i64);
}
