//! Guards over PostgreSQL's resources: the home of `unsafe`.
//!
//! A guard releases what it holds when it is dropped. When an error unwinds the stack, PostgreSQL's
//! resource owner and transaction abort release buffers and locks. Guards then release nothing
//! (`std::thread::panicking`).

pub mod attempt;
pub mod backtrace;
pub mod buffer;
pub mod catalog;
pub mod compat;
pub mod context;
pub mod error;
pub mod fault;
pub mod heap;
pub mod helpers;
pub mod interrupts;
pub mod lock;
pub mod memory;
pub mod method;
#[cfg(test)]
mod no_server;
pub mod open;
pub mod optimistic_read;
pub mod owner;
pub mod parallel;
pub mod partition;
pub mod planner;
pub mod process;
pub mod progress;
pub mod query;
pub mod relation;
pub mod stream;
pub mod threads;
pub mod wal;
pub mod worker;
