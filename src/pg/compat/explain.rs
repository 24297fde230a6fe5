//! EXPLAIN ANALYZE of an index scan shows lines of ours. Extensions can do that since PostgreSQL
//! 18.

use pgrx::pg_sys;

/// The lines for a scan that was executed and has not ended; none for scans of other indexes.
///
/// To call it, the scan must be open.
pub type Describe = unsafe fn(pg_sys::IndexScanDesc) -> Vec<String>;

#[cfg(not(pg_ge_18))]
pub fn register(_: &'static std::ffi::CStr, _: Describe) {}

#[cfg(pg_ge_18)]
pub use hook::register;

#[cfg(pg_ge_18)]
mod hook {
    use super::Describe;
    use pgrx::{PgList, pg_guard, pg_sys};
    use std::ffi::{CStr, CString};

    static mut PREVIOUS: pg_sys::explain_per_node_hook_type = None;
    static mut LINES: Option<(&CStr, Describe)> = None;

    /// Has EXPLAIN ANALYZE show lines under a label; called once when the library is loaded.
    pub fn register(label: &'static CStr, describe: Describe) {
        // SAFETY: PostgreSQL runs on one thread, and libraries are loaded on it: nothing reads the
        // variables meanwhile.
        unsafe {
            LINES = Some((label, describe));
            PREVIOUS = pg_sys::explain_per_node_hook;
            pg_sys::explain_per_node_hook = Some(explain_scan);
        }
    }

    #[pg_guard]
    unsafe extern "C-unwind" fn explain_scan(
        state: *mut pg_sys::PlanState,
        ancestors: *mut pg_sys::List,
        relationship: *const std::ffi::c_char,
        plan_name: *const std::ffi::c_char,
        explain: *mut pg_sys::ExplainState,
    ) {
        // SAFETY: PostgreSQL passes valid nodes, and a node's tag names its struct. EXPLAIN runs
        // before the executor ends, so a scan descriptor that is not null is open. `PREVIOUS` and
        // `LINES` are written only while the library is loaded.
        unsafe {
            if let Some(previous) = PREVIOUS {
                // The boundary turns its errors into panics.
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    previous(state, ancestors, relationship, plan_name, explain);
                });
            }
            if !(*explain).analyze || (*state).type_ != pg_sys::NodeTag::T_IndexScanState {
                return;
            }
            let scan = (*state.cast::<pg_sys::IndexScanState>()).iss_ScanDesc;
            let Some((label, describe)) = LINES.filter(|_| !scan.is_null()) else { return };
            let mut lines = PgList::<std::ffi::c_char>::new();
            for line in describe(scan) {
                let line = CString::new(line).unwrap_or_default();
                lines.push(pg_sys::pstrdup(line.as_ptr()));
            }
            if !lines.is_empty() {
                pg_sys::ExplainPropertyList(label.as_ptr(), lines.into_pg(), explain);
            }
        }
    }
}
