//! `make demo`: searches whose answers a person can judge, over English words.

use crate::Arguments;
use crate::run::{Target, load, measure};
use crate::support::data::{Dataset, Result, VectorParameter};
use crate::support::server::Server;
use postgres::Client;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const WORDS: [&str; 6] = ["king", "python", "berlin", "guitar", "hydrogen", "wednesday"];

pub fn demo(arguments: &Arguments) -> Result<()> {
    let data = arguments.data()?;
    let cluster = arguments.given("cluster").ok_or("--cluster FOLDER is missing")?;
    let server = Server::start_kept(
        Path::new(cluster),
        &["shared_buffers = '512MB'", "maintenance_work_mem = '512MB'", "max_wal_size = '4GB'"],
    );
    let target = Target::new(server.url(), &data.metric)?;
    let mut client = target.connect()?;
    prepare(&mut client, &target, &data)?;

    println!("\nNearest neighbours by cosine distance (index scan, exact distances):");
    for word in WORDS {
        let Some(row) = data.words.iter().position(|other| other == word) else { continue };
        let statement = format!(
            "SELECT word, (embedding {op} $1::text::vector)::float4 FROM items JOIN words USING (id)
             ORDER BY embedding {op} $1::text::vector LIMIT 7",
            op = target.operator
        );
        let rows = client.query(&statement, &[&data.base.text(row)])?;
        let near: Vec<String> = rows
            .iter()
            .skip(1)
            .map(|row| format!("{} {:.2}", row.get::<_, &str>(0), row.get::<_, f32>(1)))
            .collect();
        println!("  {word:<10} {}", near.join(", "));
    }

    println!("\n{} queries against exact search:", data.queries.len());
    let show = |name: &str, settings: &str, clients: usize| -> Result<()> {
        let measured = measure(&target, &data, settings, clients, Duration::from_secs(2))?;
        println!(
            "  {name:<28} recall@10 {:.4}  {:>6.0} queries/s  p50 {:.2} ms  p99 {:.2} ms",
            measured.recall,
            measured.qps,
            measured.p50.as_secs_f64() * 1e3,
            measured.p99.as_secs_f64() * 1e3
        );
        Ok(())
    };
    show("defaults, one client", "", 1)?;
    show("defaults, two clients", "", 2)?;
    show("vdb.ef_search = 40", "SET vdb.ef_search = 40", 1)?;
    exact(&mut client, &target, &data)
}

/// Loads the table and builds the index, unless an earlier run has done so.
fn prepare(client: &mut Client, target: &Target, data: &Dataset) -> Result<()> {
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS vdb")?;
    let ready: bool = client.query_one("SELECT to_regclass('items_embedding') IS NOT NULL", &[])?.get(0);
    if ready {
        println!("table and index are there from an earlier run");
        let query = target.query().replace("$1", "(SELECT embedding FROM items LIMIT 1)");
        if let Err(error) = client.query(&query, &[]) {
            println!("… of another version ({error}): building the index anew");
            client.batch_execute("REINDEX INDEX items_embedding")?;
        }
        return Ok(());
    }
    println!("loading {} words × {} dimensions …", data.base.len(), data.base.dims);
    load(client, data)?;
    client.batch_execute("DROP TABLE IF EXISTS words; CREATE TABLE words (id int PRIMARY KEY, word text)")?;
    let mut copy = client.copy_in("COPY words FROM STDIN")?;
    for (id, word) in data.words.iter().enumerate() {
        writeln!(copy, "{id}\t{}", word.replace('\\', "\\\\"))?;
    }
    copy.finish()?;
    client.batch_execute("ANALYZE words")?;

    let statement =
        format!("CREATE INDEX items_embedding ON items USING vdb_hnsw (embedding {})", target.opclass);
    println!("{statement}");
    let begin = Instant::now();
    let (finished, wait) = channel();
    std::thread::scope(|scope| -> Result<()> {
        let watcher = scope.spawn(|| watch(target, wait));
        let built = client.batch_execute(&statement);
        drop(finished);
        watcher.join().expect("the watcher does not panic")?;
        Ok(built?)
    })?;
    println!("built in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Prints the build's progress until the sender is dropped.
fn watch(target: &Target, finished: std::sync::mpsc::Receiver<()>) -> Result<()> {
    let mut client = target.connect()?;
    while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(Duration::from_secs(1)) {
        let progress = client
            .query_opt("SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index", &[])?;
        if let Some(row) = progress {
            let (phase, done, total): (&str, i64, i64) = (row.get(0), row.get(1), row.get(2));
            println!("  {phase}: {done} of {total} rows");
        }
    }
    Ok(())
}

/// The same question without the index, for comparison.
fn exact(client: &mut Client, target: &Target, data: &Dataset) -> Result<()> {
    const QUERIES: usize = 10;
    client.batch_execute("SET enable_indexscan = off")?;
    let begin = Instant::now();
    for query in 0..QUERIES {
        let vector = VectorParameter(data.queries.row(query).to_vec());
        client.query(&target.query(), &[&vector])?;
    }
    let time = begin.elapsed() / QUERIES as u32;
    println!(
        "  {:<28} recall@10 1.0000  {:>6.0} queries/s",
        "exact search, one client",
        1.0 / time.as_secs_f64()
    );
    Ok(())
}
