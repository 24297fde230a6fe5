//! Searches of an index that changes, and the cost and effect of merging its segments.

use crate::Arguments;
use crate::run::{Target, copy, create_index, load, measure};
use crate::support::data::{Dataset, Result, VectorParameter};
use crate::support::server::Server;
use postgres::Client;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A new server, unless the user names one, and its URL.
pub fn target(arguments: &Arguments, metric: &str) -> Result<(Option<Server>, Target)> {
    let own = arguments.given("url").is_none().then(|| {
        Server::start(&["shared_buffers = '2GB'", "max_wal_size = '8GB'", "autovacuum = off", "fsync = off"])
    });
    let url = own.as_ref().map_or_else(|| arguments.get("url", ""), Server::url);
    Ok((own, Target::new(url, metric)?))
}

pub fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort();
    let ms = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    json!({"count": times.len(), "p50_ms": ms(50), "p99_ms": ms(99), "max_ms": ms(100)})
}

/// A row near one of the data set and equal to none.
fn new_row(data: &Dataset, number: usize) -> VectorParameter {
    let row = data.base.row(number * 7919 % data.base.len());
    VectorParameter(
        row.iter().zip(0..).map(|(x, d)| x * (1.0 + 0.2 * ((number * 31 + d * 17) as f32).sin())).collect(),
    )
}

/// Inserts rows one by one, each in a transaction of its own, at most `rate` a second.
fn insert(
    client: &mut Client,
    data: &Dataset,
    rows: Range<usize>,
    rate: Option<f64>,
    stop: impl Fn() -> bool,
) -> Result<Vec<Duration>> {
    let statement = client.prepare("INSERT INTO items VALUES ($1, $2)")?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    for number in rows {
        if stop() {
            break;
        }
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(times.len() as f64 / rate);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        let vector = new_row(data, number);
        let start = Instant::now();
        client.execute(&statement, &[&((data.base.len() + number) as i32), &vector])?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Waits until nothing is being flushed or merged, and nothing is due.
fn wait_for_tasks(client: &mut Client) -> Result<()> {
    let tasks = "SELECT count(*) FROM vdb_tasks WHERE state IN ('queued', 'running')";
    while client.query_one(tasks, &[])?.get::<_, i64>(0) > 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

pub fn report(what: &str, value: Value) {
    println!("{}", json!({"what": what, "result": value}));
}

/// Inserts with and without flushes, searches with and without inserts.
pub fn under_load(arguments: &Arguments) -> Result<()> {
    let data = arguments.data()?;
    let (_own, target) = target(arguments, &data.metric)?;
    let extension = arguments.get("extension", "vdb");
    let time = Duration::from_secs_f64(arguments.get("seconds", "15").parse()?);
    let rate: f64 = arguments.get("rate", "1000").parse()?;
    let mut client = target.connect()?;
    client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"))?;
    load(&mut client, &data)?;
    create_index(&mut client, arguments, &target)?;

    let mut next = 0;
    let mut insert_for = |what: &str, settings: &str| -> Result<()> {
        let mut client = target.connect()?;
        client.batch_execute(settings)?;
        let position = "SELECT pg_current_wal_insert_lsn() - '0/0'";
        let wal = |client: &mut Client| -> Result<f64> {
            Ok(client.query_one(&format!("SELECT ({position})::float8"), &[])?.get(0))
        };
        let (begin, before) = (Instant::now(), wal(&mut client)?);
        let times = insert(&mut client, &data, next..usize::MAX, None, || begin.elapsed() >= time)?;
        let (rows, seconds) = (times.len() as f64, begin.elapsed().as_secs_f64());
        next += times.len();
        let bytes = wal(&mut client)? - before;
        let latency = percentiles(times);
        report(
            what,
            json!({"rows_per_s": rows / seconds, "wal_bytes_per_row": bytes / rows, "latency": latency}),
        );
        Ok(())
    };
    if extension == "vdb" {
        insert_for("inserts without a flush", "SET vdb.flush_rows = 1000000")?;
        let begin = Instant::now();
        let rows: i64 = client.query_one("SELECT vdb_flush('items_embedding')", &[])?.get(0);
        report("flush", json!({"rows": rows, "seconds": begin.elapsed().as_secs_f64()}));
    }
    insert_for("inserts", "")?;
    if extension == "vdb" {
        wait_for_tasks(&mut client)?;
    }

    let setting = arguments.get("setting", "vdb.ef_search");
    let settings = format!("SET enable_seqscan = off; SET {setting} = {}", arguments.get("value", "100"));
    let idle = measure(&target, &data, &settings, 1, time)?;
    let stop = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| -> Result<_> {
        let writer = scope.spawn(|| -> Result<usize> {
            let mut client = target.connect()?;
            let rows = next..usize::MAX;
            Ok(insert(&mut client, &data, rows, Some(rate), || stop.load(Ordering::Relaxed))?.len())
        });
        let begin = Instant::now();
        let busy = measure(&target, &data, &settings, 1, time);
        stop.store(true, Ordering::Relaxed);
        let rows = writer.join().expect("the writer does not panic")?;
        report("rows inserted a second meanwhile", json!(rows as f64 / begin.elapsed().as_secs_f64()));
        busy
    })?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    report("searches, idle", json!({"p50_ms": ms(idle.p50), "p99_ms": ms(idle.p99), "qps": idle.qps}));
    report(
        "searches, while rows come",
        json!({"p50_ms": ms(busy.p50), "p99_ms": ms(busy.p99), "qps": busy.qps}),
    );
    if extension == "vdb" {
        let tasks = "SELECT string_agg(concat_ws(' ', kind, state, rows_done), ', ') FROM vdb_tasks";
        report("tasks", json!(client.query_one(tasks, &[])?.get::<_, Option<String>>(0)));
    }
    Ok(())
}

/// Compares an index of all rows with one that is built of three quarters and gets the rest by
/// flushes and merges.
pub fn merge(arguments: &Arguments) -> Result<()> {
    let data = arguments.data()?;
    let (_own, target) = target(arguments, &data.metric)?;
    let setting = arguments.get("setting", "vdb.ef_search");
    let mut client = target.connect()?;
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS vdb")?;
    let (first, all) = (data.base.len() * 3 / 4, data.base.len());
    load(&mut client, &data)?;
    client.batch_execute(&format!("DELETE FROM items WHERE id >= {first}"))?;
    client.batch_execute("VACUUM FULL items")?;
    create_index(&mut client, arguments, &target)?;
    let begin = Instant::now();
    copy(&mut client, &data, first..all)?;
    report("copy of a quarter, s", json!(begin.elapsed().as_secs_f64()));
    wait_for_tasks(&mut client)?;
    report("until all is flushed and merged, s", json!(begin.elapsed().as_secs_f64()));
    let mut step = |what: &str, sql: &str| -> Result<()> {
        let begin = Instant::now();
        client.batch_execute(sql)?;
        let seconds = begin.elapsed().as_secs_f64();
        let segments: i32 =
            client.query_one("SELECT segments FROM vdb_index_stats('items_embedding')", &[])?.get(0);
        for value in arguments.get("values", "40,100,200").split(',') {
            let settings = format!("SET enable_seqscan = off; SET {setting} = {value}");
            let measured = measure(&target, &data, &settings, 1, Duration::from_secs(1))?;
            let (recall, qps) = (measured.recall, measured.qps);
            report(
                what,
                json!({"seconds": seconds, "segments": segments, setting.as_str(): value, "recall": recall, "qps": qps}),
            );
        }
        Ok(())
    };
    step("flushed", "SELECT vdb_flush('items_embedding')")?;
    step("merged", "SET vdb.compact_mem = '4GB'; SELECT vdb_compact('items_embedding')")?;
    step("built anew", "SET maintenance_work_mem = '2GB'; REINDEX INDEX items_embedding")
}
