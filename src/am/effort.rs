//! How hard a scan tries, by the settings.

use crate::config::settings::{self, IterativeScanSetting};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::search::rerank::IterativeScan;
use crate::segment::request::Effort;
use crate::storage::snapshot::Snapshot;
use crate::structure::Quantizer;
use pgrx::PgSqlErrorCode;
use std::cell::RefCell;
use std::collections::HashSet;

/// How hard a search of this index tries.
pub fn effort(snapshot: &Snapshot) -> Effort {
    let lists = snapshot.manifest.codebook().map_or(1, |codebook| codebook.lists);
    let curve = snapshot.manifest.calibration.as_ref().map(|calibration| &calibration.curve);
    let requested = settings::target_recall().zip(curve).and_then(|(recall, curve)| curve.effort_for(recall));
    let probes = match (requested, settings::probes()) {
        (Some(requested), _) => requested,
        (None, 0) => automatic_probes(lists, snapshot.meta.quantizer),
        (None, probes) => probes,
    };
    Effort {
        ef: requested.map_or(settings::ef_search(), |requested| requested as usize),
        probes: probes.min(lists) as usize,
        iterative_scan: match settings::iterative_scan() {
            IterativeScanSetting::strict => IterativeScan::Strict,
            IterativeScanSetting::relaxed => IterativeScan::Relaxed,
            IterativeScanSetting::off => IterativeScan::Off,
        },
        rows: match settings::max_scan_tuples() {
            0 => u64::MAX,
            rows => rows,
        },
        bytes: settings::scan_bytes(),
    }
}

thread_local! {
    /// Indexes of whose missing calibration the user of this session was warned.
    static WARNED: RefCell<HashSet<u32>> = RefCell::default();
}

/// Warns the user, once, that `vdb.target_recall` has no effect: the index was not calibrated.
pub fn warn_of_missing_calibration(index: Relation) {
    if settings::target_recall().is_some()
        && WARNED.with_borrow_mut(|warned| warned.insert(index.oid().to_u32()))
    {
        Problem::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("index \"{}\" ignores vdb.target_recall", index.name()),
        )
        .detail("It has not been calibrated; vdb.ef_search and vdb.probes apply.")
        .hint(format!("Run SELECT * FROM vdb_calibrate('{}').", index.name()))
        .warn();
    }
}

/// Lists to probe out of `lists`, unless the user sets a number. Recall@10 is then at least 0.95 on
/// the project's data sets.
fn automatic_probes(lists: u32, quantizer: Quantizer) -> u32 {
    let share = if quantizer.has_spill() { 2.0 } else { 4.0 };
    (share * f64::from(lists).sqrt()) as u32
}
