//! `vdb`: the compute layer of a vector database inside PostgreSQL.

mod distance;
mod pg;
mod types;

use pgrx::extension_sql_file;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/types.sql", name = "types");
extension_sql_file!("../sql/operators.sql", name = "operators", requires = ["types"]);

#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
