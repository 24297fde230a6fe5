//! What server-level tests and benchmarks share: throwaway servers and real data.

#![allow(dead_code)] // each test uses its share

pub mod data;
pub mod server;
