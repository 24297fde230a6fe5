//! Distance kernels: simsimd's compared with a plain loop, at small and large dimensions.

#[path = "../src/codec/mod.rs"]
#[allow(dead_code, unused_imports)]
mod codec;
#[path = "../src/distance/mod.rs"]
#[allow(dead_code, unused_imports)]
mod distance;
#[path = "../src/memory/mod.rs"]
#[allow(dead_code, unused_imports)]
mod memory;
#[path = "../src/structure.rs"]
#[allow(dead_code, unused_imports)]
mod structure;
#[path = "../src/util/mod.rs"]
#[allow(dead_code, unused_imports)]
mod util;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use distance::Element;
use half::f16;
use std::hint::black_box;

fn vectors(dims: usize) -> (Vec<f32>, Vec<f32>) {
    let vector = |phase: f32| (0..dims).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
    (vector(0.0), vector(1.0))
}

fn plain_dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn plain_l2(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

fn dense(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dense");
    for dims in [3, 8, 15, 16, 32, 100, 768, 1536] {
        let (a, b) = vectors(dims);
        let half = |v: &[f32]| v.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
        let (ha, hb) = (half(&a), half(&b));
        let mut bench = |name: &str, f: &mut dyn FnMut()| {
            group.bench_function(BenchmarkId::new(name, dims), |bencher| bencher.iter(&mut *f));
        };
        bench("dot", &mut || _ = black_box(<f32 as Element>::dot(black_box(&a), black_box(&b))));
        bench("dot plain loop", &mut || _ = black_box(plain_dot(black_box(&a), black_box(&b))));
        bench("l2", &mut || _ = black_box(<f32 as Element>::l2_squared(black_box(&a), black_box(&b))));
        bench("l2 plain loop", &mut || _ = black_box(plain_l2(black_box(&a), black_box(&b))));
        bench("l1", &mut || _ = black_box(<f32 as Element>::l1(black_box(&a), black_box(&b))));
        bench("half l2", &mut || _ = black_box(<f16 as Element>::l2_squared(black_box(&ha), black_box(&hb))));
    }
    group.finish();
}

fn bits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bits");
    for bytes in [8, 128, 1024] {
        let (a, b) = (vec![0x5Au8; bytes], vec![0xC3u8; bytes]);
        group.bench_function(BenchmarkId::new("hamming", bytes * 8), |bencher| {
            bencher.iter(|| distance::bits::hamming(black_box(&a), black_box(&b)));
        });
        group.bench_function(BenchmarkId::new("jaccard", bytes * 8), |bencher| {
            bencher.iter(|| distance::bits::jaccard(black_box(&a), black_box(&b)));
        });
    }
    group.finish();
}

/// Codes: rotating and encoding a vector, and estimating a block of 32.
fn codes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codes");
    for dims in [128, 384, 768, 1536] {
        let (mut a, b) = vectors(dims);
        let rotation = codec::rotation::Rotation::new(1, dims);
        group.bench_function(BenchmarkId::new("rotate", dims), |bencher| {
            bencher.iter(|| rotation.apply(black_box(&mut a)));
        });
        let mut code = vec![0; dims / 8];
        let target = codec::rabitq::Estimand::L2Squared;
        group.bench_function(BenchmarkId::new("encode", dims), |bencher| {
            bencher.iter(|| codec::rabitq::encode(black_box(&a), black_box(&b), target, &mut code));
        });
        let block = vec![0x5A; codec::fastscan::block_bytes(dims)];
        let factors = [1.5f32; codec::fastscan::BLOCK];
        group.bench_function(BenchmarkId::new("query tables", dims), |bencher| {
            bencher.iter(|| codec::rabitq::Query::new(black_box(&a)));
        });
        let query = codec::rabitq::Query::new(&a);
        group.throughput(criterion::Throughput::Elements(codec::fastscan::BLOCK as u64));
        group.bench_function(BenchmarkId::new("estimate 32", dims), |bencher| {
            bencher.iter(|| query.estimate(black_box(&block), &factors, &factors, 1.0));
        });
    }
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(500));
    targets = dense, bits, codes
}
criterion_main!(kernels);
