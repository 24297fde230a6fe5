//! One data set, one index, a sweep over the search parameter.

use crate::Arguments;
use crate::support::data::{Dataset, Result, VectorParameter};
use crate::support::server::Server;
use postgres::{Client, NoTls};
use serde_json::json;
use std::io::Write;
use std::time::{Duration, Instant};

/// The SQL names by which a data set is stored and searched.
pub struct Target {
    pub url: String,
    pub operator: &'static str,
    pub opclass: &'static str,
}

impl Target {
    pub fn new(url: String, metric: &str) -> Result<Self> {
        let (operator, opclass) = match metric {
            "cosine" => ("<=>", "vector_cosine_ops"),
            "l2" => ("<->", "vector_l2_ops"),
            "ip" => ("<#>", "vector_ip_ops"),
            other => return Err(format!("unknown metric {other}").into()),
        };
        Ok(Self { url, operator, opclass })
    }

    pub fn connect(&self) -> Result<Client> {
        Ok(Client::connect(&self.url, NoTls)?)
    }

    pub fn query(&self) -> String {
        format!("SELECT id FROM items ORDER BY embedding {} $1 LIMIT 10", self.operator)
    }
}

/// The results of one setting.
pub struct Measured {
    pub recall: f64,
    pub qps: f64,
    pub p50: Duration,
    pub p99: Duration,
}

pub fn load(client: &mut Client, data: &Dataset) -> Result<()> {
    client.batch_execute(&format!(
        "DROP TABLE IF EXISTS items; CREATE TABLE items (id int, embedding vector({}))",
        data.base.dims
    ))?;
    copy(client, data, 0..data.base.len())?;
    // Autovacuum must not run during a measurement.
    client.batch_execute("VACUUM ANALYZE items")?;
    Ok(client.batch_execute("CHECKPOINT")?)
}

/// Adds rows of a data set to the table.
pub fn copy(client: &mut Client, data: &Dataset, rows: std::ops::Range<usize>) -> Result<()> {
    let mut copy = client.copy_in("COPY items FROM STDIN")?;
    for row in rows {
        writeln!(copy, "{row}\t{}", data.base.text(row))?;
    }
    copy.finish()?;
    Ok(())
}

/// Creates the index under test; returns the seconds that the build takes.
pub fn create_index(client: &mut Client, arguments: &Arguments, target: &Target) -> Result<f64> {
    let am = arguments.get("am", "vdb_hnsw");
    let with = arguments.given("with").map(|with| format!("WITH ({with})")).unwrap_or_default();
    client.batch_execute(&arguments.get("build-settings", "SET maintenance_work_mem = '2GB'"))?;
    let column = if am == "btree" { "id".into() } else { format!("embedding {}", target.opclass) };
    let begin = Instant::now();
    client.batch_execute(&format!("CREATE INDEX items_embedding ON items USING {am} ({column}) {with}"))?;
    Ok(begin.elapsed().as_secs_f64())
}

/// The recall over all queries, and the time of each. One query runs at a time.
pub fn measure(
    target: &Target,
    data: &Dataset,
    settings: &str,
    clients: usize,
    time: Duration,
) -> Result<Measured> {
    let vectors: Vec<VectorParameter> =
        (0..data.queries.len()).map(|query| VectorParameter(data.queries.row(query).to_vec())).collect();
    let one_client = |first: usize| -> Result<(f64, usize, Vec<Duration>)> {
        let mut client = target.connect()?;
        client.batch_execute(settings)?;
        let statement = client.prepare(&target.query())?;
        // Work that a backend does once, such as mapping the server's memory, is not measured.
        for vector in &vectors {
            client.query(&statement, &[vector])?;
        }
        let (mut recall, mut times) = (0.0, Vec::new());
        let begin = Instant::now();
        for query in (0..vectors.len()).cycle().skip(first) {
            // Runs every query once, then repeats them while time permits.
            if times.len() >= vectors.len() && begin.elapsed() >= time {
                break;
            }
            let start = Instant::now();
            let rows = client.query(&statement, &[&vectors[query]])?;
            times.push(start.elapsed());
            let answer: Vec<u32> = rows.iter().map(|row| row.get::<_, i32>(0) as u32).collect();
            recall += data.recall(query, &answer, 10);
        }
        Ok((recall, times.len(), times))
    };
    let begin = Instant::now();
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..clients)
            .map(|client| {
                let first = client * vectors.len() / clients;
                let one_client = &one_client;
                scope.spawn(move || one_client(first))
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no client panics")).collect::<Result<_>>()
    })?;
    let elapsed = begin.elapsed();
    let count: usize = results.iter().map(|(_, count, _)| count).sum();
    let recall = results.iter().map(|(recall, ..)| recall).sum::<f64>() / count as f64;
    let mut times: Vec<Duration> = results.into_iter().flat_map(|(.., times)| times).collect();
    times.sort();
    let percentile = |p: usize| times[(times.len() * p / 100).min(times.len() - 1)];
    Ok(Measured {
        recall,
        qps: count as f64 / elapsed.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
    })
}

/// One statement searches for all queries in one backend and is repeated while time permits.
/// Returns the recall, and searches a second without a client's share.
fn measure_in_server(target: &Target, data: &Dataset, settings: &str, time: Duration) -> Result<(f64, f64)> {
    let mut client = target.connect()?;
    // The planner would compile a statement of a thousand searches.
    client.batch_execute(&format!("{settings}; SET jit = off"))?;
    let near = format!("SELECT id FROM items ORDER BY embedding {} q.embedding LIMIT 10", target.operator);
    let found = client.query(&format!("SELECT q.id, n.id FROM queries q, LATERAL ({near}) n"), &[])?;
    let mut answers = vec![Vec::new(); data.queries.len()];
    for row in found {
        answers[row.get::<_, i32>(0) as usize].push(row.get::<_, i32>(1) as u32);
    }
    let recall: f64 = answers.iter().enumerate().map(|(query, answer)| data.recall(query, answer, 10)).sum();
    let statement = client.prepare(&format!("SELECT count(n.id) FROM queries q, LATERAL ({near}) n"))?;
    let (begin, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || begin.elapsed() < time {
        client.query_one(&statement, &[])?;
        rounds += 1;
    }
    let searches = (rounds * data.queries.len()) as f64;
    Ok((recall / data.queries.len() as f64, searches / begin.elapsed().as_secs_f64()))
}

/// The queries as a table.
fn load_queries(client: &mut Client, data: &Dataset) -> Result<()> {
    client.batch_execute(&format!(
        "DROP TABLE IF EXISTS queries; CREATE TABLE queries (id int, embedding vector({}))",
        data.base.dims
    ))?;
    let mut copy = client.copy_in("COPY queries FROM STDIN")?;
    for row in 0..data.queries.len() {
        writeln!(copy, "{row}\t{}", data.queries.text(row))?;
    }
    copy.finish()?;
    Ok(client.batch_execute("VACUUM ANALYZE queries")?)
}

/// Inserts one row a statement, a hundred in a transaction; returns rows a second.
fn insert(client: &mut Client, data: &Dataset, count: usize) -> Result<f64> {
    let statement = client.prepare("INSERT INTO items VALUES ($1, $2)")?;
    let begin = Instant::now();
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        let mut transaction = client.transaction()?;
        for &i in chunk {
            let row = i % data.base.len();
            let id = (data.base.len() + i) as i32;
            let vector = VectorParameter(data.base.row(row).to_vec());
            transaction.execute(&statement, &[&id, &vector])?;
        }
        transaction.commit()?;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let data = arguments.data()?;
    let am = arguments.get("am", "vdb_hnsw");
    let setting = arguments.get("setting", "vdb.ef_search");
    let time = Duration::from_secs_f64(arguments.get("seconds", "3").parse()?);
    let own = arguments.given("url").is_none().then(|| {
        Server::start(&["shared_buffers = '2GB'", "max_wal_size = '8GB'", "autovacuum = off", "fsync = off"])
    });
    let url = own.as_ref().map_or_else(|| arguments.get("url", ""), Server::url);
    let target = Target::new(url, &data.metric)?;
    let mut client = target.connect()?;
    let extension = arguments.get("extension", "vdb");
    client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"))?;

    let mut report = std::io::stdout().lock();
    if arguments.given("keep").is_none() {
        load(&mut client, &data)?;
        let build = create_index(&mut client, arguments, &target)?;
        let with = arguments.get("with", "");
        let size: i64 = client.query_one("SELECT pg_relation_size('items_embedding')", &[])?.get(0);
        writeln!(report, "{}", json!({"am": am, "with": with, "build_s": build, "index_bytes": size}))?;
        client.batch_execute("CHECKPOINT")?;
    }
    load_queries(&mut client, &data)?;
    writeln!(
        report,
        "{:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        setting, "recall", "in server", "qps 1", "qps 2", "p50 ms", "p99 ms"
    )?;
    for value in arguments.get("values", "40,100,200,400").split(',') {
        let settings = format!("SET enable_seqscan = off; SET {setting} = {value}");
        let (recall, in_server) = measure_in_server(&target, &data, &settings, time)?;
        if arguments.given("server-only").is_some() {
            writeln!(report, "{value:>8} {recall:>8.4} {in_server:>9.0}")?;
            continue;
        }
        let one = measure(&target, &data, &settings, 1, time)?;
        let two = measure(&target, &data, &settings, 2, time)?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99) = (ms(one.p50), ms(one.p99));
        writeln!(
            report,
            "{value:>8} {:>8.4} {in_server:>9.0} {:>9.0} {:>9.0} {p50:>9.3} {p99:>9.3}",
            one.recall, one.qps, two.qps
        )?;
        writeln!(
            report,
            "{}",
            json!({"am": am, setting.as_str(): value, "recall_10": one.recall, "qps_in_server": in_server,
                   "qps_1": one.qps, "qps_2": two.qps, "p50_ms": p50, "p99_ms": p99})
        )?;
    }
    let inserts: usize = arguments.get("inserts", "5000").parse()?;
    if inserts > 0 {
        let rate = insert(&mut client, &data, inserts)?;
        writeln!(report, "{}", json!({"am": am, "insert_rows_per_s": rate, "rows": inserts}))?;
    }
    Ok(())
}
