//! Benchmarks on real data, through SQL: recall, speed of queries, builds and inserts, size of the
//! index.
//!
//! ```text
//! cargo bench --bench ann -- run [--data FOLDER] [--rows N] [--url URL] [--am vdb_hnsw] [--with "m=16"] [--setting vdb.ef_search]
//!                            [--values 40,100,200,400] [--seconds 3] [--inserts 5000] [--extension vdb] [--keep]
//! cargo bench --bench ann -- load [--value 100] [--seconds 15] [--rate 1000] …
//! cargo bench --bench ann -- merge [--values 40,100,200] …
//! cargo bench --bench ann -- filter [--queries 200] …
//! cargo bench --bench ann -- demo [--data FOLDER] --cluster FOLDER
//! ```
//! `load` measures inserts and searches at the same time, `merge` the cost and effect of merging
//! segments, `filter` searches under conditions. They take the options of `run`. `--rows` takes
//! only the first rows of the data. The default of `--data` is the word vectors of `make data`;
//! `tests/support/data.rs` describes the format of other sets. Without `--url` the benchmark starts
//! a server of its own. `--am hnsw --setting hnsw.ef_search --extension vector` measures pgvector
//! in the same way; give both the same `--url`, with another database for each.

mod demo;
mod filter;
mod load;
mod run;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use support::data::{Dataset, Result};

/// `--name value` pairs, and arguments without a name.
pub struct Arguments {
    named: HashMap<String, String>,
    plain: Vec<String>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut arguments = Self { named: HashMap::new(), plain: Vec::new() };
        let mut rest = std::env::args().skip(1);
        while let Some(argument) = rest.next() {
            match argument.strip_prefix("--") {
                // An argument that `cargo bench` adds.
                Some("bench") => {}
                Some(flag @ ("keep" | "server-only")) => {
                    arguments.named.insert(flag.into(), String::new());
                }
                Some(name) => {
                    let value = rest.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    arguments.named.insert(name.into(), value);
                }
                None => arguments.plain.push(argument),
            }
        }
        Ok(arguments)
    }

    pub fn get(&self, name: &str, default: &str) -> String {
        self.named.get(name).cloned().unwrap_or_else(|| default.into())
    }

    /// The data set of this run.
    pub fn data(&self) -> Result<Dataset> {
        let folder = match self.given("data") {
            Some(folder) => PathBuf::from(folder),
            None => support::data::glove_folder()?
                .ok_or("no word vectors: run `make data`, or give --data FOLDER")?,
        };
        let data = Dataset::load(&folder)?;
        let Some(rows) = self.given("rows") else { return Ok(data) };
        let rows = rows.parse::<usize>()?.min(data.base.len());
        Ok(data.slice(rows, data.queries.len(), 10))
    }

    pub fn given(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let plain: Vec<&str> = arguments.plain.iter().map(String::as_str).collect();
    match plain[..] {
        ["run"] => run::run(&arguments),
        ["load"] => load::under_load(&arguments),
        ["filter"] => filter::filter(&arguments),
        ["merge"] => load::merge(&arguments),
        ["demo"] => demo::demo(&arguments),
        _ => {
            println!(
                "usage: ann run | filter | load | merge | demo; the head of benches/ann/main.rs says more"
            );
            Ok(())
        }
    }
}
