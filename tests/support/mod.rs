//! Throwaway servers and real data for server-level tests and benchmarks.

#![allow(dead_code)] // each test uses a part of it

pub mod data;
pub mod server;
