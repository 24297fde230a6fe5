//! Hooks into PostgreSQL's planner.

mod drop_order_column;
mod range_condition;
pub mod reuse_distance;

/// Sets the hooks; called once when the library is loaded.
pub fn register() {
    range_condition::register();
    drop_order_column::register();
}
