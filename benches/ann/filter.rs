//! Searches under a filter: recall, and time compared with an unfiltered search and an exact scan
//! of the rows that match.

use crate::Arguments;
use crate::load::{percentiles, report, target};
use crate::support::data::{Dataset, Result, VectorParameter};
use postgres::Client;
use serde_json::json;
use std::io::Write;
use std::time::Instant;

const LIMITS: [usize; 3] = [1, 10, 100];

/// Percentages of the rows that match.
const SHARES: [f32; 7] = [50.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01];

/// Two percentiles of each row, from 0 to 100: one spread evenly, one by the distance to one row.
fn attributes(data: &Dataset) -> [Vec<f32>; 2] {
    let rows = data.base.len();
    let percent = |rank: usize| 100.0 * rank as f32 / rows as f32;
    let dot =
        |row: usize| -> f32 { data.base.row(row).iter().zip(data.base.row(0)).map(|(a, b)| a * b).sum() };
    let products: Vec<f32> = (0..rows).map(dot).collect();
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|&a, &b| products[b].total_cmp(&products[a]));
    let mut near = vec![0.0; rows];
    order.iter().enumerate().for_each(|(rank, &row)| near[row] = percent(rank));
    const STEP: usize = 514_229;
    [(0..rows).map(|row| percent(row * STEP % rows)).collect(), near]
}

fn load(client: &mut Client, data: &Dataset, attributes: &[Vec<f32>; 2]) -> Result<()> {
    client.batch_execute(&format!(
        "DROP TABLE IF EXISTS items;
         CREATE TABLE items (id int, embedding vector({}), even float4, near float4)",
        data.base.dims
    ))?;
    let mut copy = client.copy_in("COPY items FROM STDIN")?;
    for (row, (even, near)) in attributes[0].iter().zip(&attributes[1]).enumerate() {
        writeln!(copy, "{row}\t{}\t{even}\t{near}", data.base.text(row))?;
    }
    copy.finish()?;
    client
        .batch_execute("CREATE INDEX items_even ON items (even); CREATE INDEX items_near ON items (near)")?;
    client.batch_execute("VACUUM ANALYZE items")?;
    Ok(client.batch_execute("CHECKPOINT")?)
}

/// The true nearest hundred of the rows that match.
fn truth(data: &Dataset, query: usize, matches: impl Fn(usize) -> bool) -> Vec<u32> {
    let query = data.queries.row(query);
    let distance = |row: usize| -> f32 {
        let row = data.base.row(row);
        match data.metric.as_str() {
            "l2" => row.iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum(),
            "ip" => -row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>(),
            _ => {
                let norm = row.iter().map(|a| a * a).sum::<f32>().sqrt();
                -row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>() / norm
            }
        }
    };
    let rows = (0..data.base.len()).filter(|&row| matches(row));
    let mut scored: Vec<(f32, u32)> = rows.map(|row| (distance(row), row as u32)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    scored.into_iter().take(100).map(|(_, row)| row).collect()
}

pub fn filter(arguments: &Arguments) -> Result<()> {
    let data = arguments.data()?;
    let (_own, target) = target(arguments, &data.metric)?;
    let extension = arguments.get("extension", "vdb");
    let mut client = target.connect()?;
    client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"))?;
    let attributes = attributes(&data);
    if arguments.given("keep").is_none() {
        load(&mut client, &data, &attributes)?;
        let columns = if extension == "vdb" { ", even, near" } else { "" };
        client.batch_execute(&format!(
            "SET maintenance_work_mem = '2GB'; CREATE INDEX items_embedding ON items USING {} (embedding {} {columns})",
            arguments.get("am", "vdb_hnsw"),
            target.opclass
        ))?;
    }
    client.batch_execute(&arguments.get("settings", "SELECT"))?;
    let queries = data.queries.len().min(arguments.get("queries", "200").parse()?);
    let vectors: Vec<VectorParameter> =
        (0..queries).map(|query| VectorParameter(data.queries.row(query).to_vec())).collect();
    let mut run = |settings: &str, sql: &str| -> Result<(Vec<Vec<u32>>, serde_json::Value)> {
        client.batch_execute(settings)?;
        let statement = client.prepare(sql)?;
        let (mut answers, mut times) = (Vec::new(), Vec::new());
        for round in 0..2 {
            for vector in &vectors {
                let begin = Instant::now();
                let rows = client.query(&statement, &[vector])?;
                if round == 1 {
                    times.push(begin.elapsed());
                    answers.push(rows.iter().map(|row| row.get::<_, i32>(0) as u32).collect());
                }
            }
        }
        Ok((answers, percentiles(times)))
    };
    let operator = target.operator;
    let by_index = "SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off";
    let freely = "RESET enable_sort; RESET enable_seqscan; RESET enable_bitmapscan";
    let order = format!("embedding {operator} $1");
    let (_, unfiltered) = run(by_index, &format!("SELECT id FROM items ORDER BY {order} LIMIT 10"))?;
    report("unfiltered", unfiltered);
    let (mut plans, mut right) = (0, 0);
    for (name, values) in ["even", "near"].iter().zip(&attributes) {
        for share in SHARES {
            let truths: Vec<Vec<u32>> =
                (0..queries).map(|query| truth(&data, query, |row| values[row] < share)).collect();
            for k in LIMITS {
                let select = |order: &str| {
                    format!("SELECT id FROM items WHERE {name} < {share} ORDER BY {order} LIMIT {k}")
                };
                let (answers, times) = run(by_index, &select(&order))?;
                // The order by this expression keeps the planner from an index.
                let (_, exact) = run(freely, &select(&format!("({order}) + 0")))?;
                let (mut recall, mut least) = (0.0, usize::MAX);
                for (answer, truth) in answers.iter().zip(&truths) {
                    let wanted = &truth[..truth.len().min(k)];
                    let found = answer.iter().filter(|row| wanted.contains(row)).count();
                    recall += found as f64 / wanted.len().max(1) as f64 / queries as f64;
                    least = least.min(answer.len());
                }
                let explain = format!(
                    "EXPLAIN {}",
                    select(&format!("embedding {operator} '{}'", data.queries.text(0)))
                );
                let mut planner = target.connect()?;
                let plan = planner.query(&explain, &[])?;
                let chosen = plan.iter().any(|line| line.get::<_, &str>(0).contains("items_embedding"));
                let median = |times: &serde_json::Value| times["p50_ms"].as_f64().unwrap_or(f64::INFINITY);
                let (search, scan) = (median(&times), median(&exact));
                // Where both plans take about the same time, either choice is right.
                let is_right = if chosen { search <= 1.1 * scan } else { scan <= 1.1 * search };
                plans += 1;
                right += i32::from(is_right);
                report(
                    &format!("{name} {share} % limit {k}"),
                    json!({"recall": recall, "least_rows": least, "search": times, "exact": exact,
                        "chosen": if chosen { "search" } else { "exact" }, "right": is_right}),
                );
            }
        }
    }
    report("plans", json!({"of": plans, "right": right}));
    Ok(())
}
