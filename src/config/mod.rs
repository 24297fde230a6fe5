//! What users may set: an index's options (WITH …) and the settings `vdb.…`.

pub mod options;
pub mod settings;

/// Declares everything; called once when the library is loaded.
pub fn register() {
    settings::register();
    options::register();
}
