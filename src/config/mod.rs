//! What users may set: an index's options (WITH …) and the settings `vdb.…`.

pub mod options;
pub mod settings;
