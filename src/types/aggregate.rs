//! `avg` of `vector` and `halfvec`. (`sum` adds with the type's own `+`.)
//!
//! The state is an array of doubles: the number of values, then the sum of each dimension.

use super::array::{NewArray, StateArray};
use super::check;
use super::dense::{Dense, DenseElement, HalfVec, MAX_DIMS, Vector};
use crate::pg::error::{OrRaise, Problem};
use pgrx::PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
use pgrx::pg_extern;

fn accumulate<E: DenseElement>(state: &StateArray, value: &Dense<E>) -> NewArray {
    let state = state.numbers();
    let elements = value.elements().iter().map(|x| f64::from(x.to_f32()));
    let next: Vec<f64> = match state {
        // The first value fixes the dimensions.
        [] | [_] => std::iter::once(1.0).chain(elements).collect(),
        [count, sums @ ..] => {
            check::same_dims(E::TYPE_NAME, sums.len(), value.dims()).or_raise();
            std::iter::once(count + 1.0)
                .chain(sums.iter().zip(elements).map(|(s, x)| finite(s + x)))
                .collect()
        }
    };
    NewArray::of_f64(&next)
}

fn finite(sum: f64) -> f64 {
    if sum.is_infinite() {
        Problem::new(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow").raise();
    }
    sum
}

fn average<E: DenseElement>(state: &StateArray) -> Option<Dense<E>> {
    match state.numbers() {
        [] => None,
        [count, ..] if *count == 0.0 => None,
        [count, sums @ ..] => {
            check::dims(E::TYPE_NAME, sums.len(), MAX_DIMS).or_raise();
            let average: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
            Some(Dense::from_f32(&average))
        }
    }
}

/// Merges two partial states, as parallel aggregation asks for.
#[pg_extern(sql = false)]
fn vector_combine(a: StateArray, b: StateArray) -> NewArray {
    match (a.numbers(), b.numbers()) {
        (a, [] | [_]) => NewArray::of_f64(a),
        ([] | [_], b) => NewArray::of_f64(b),
        (a, b) => {
            check::dims("vector", a.len() - 1, MAX_DIMS).or_raise();
            check::same_dims("vector", a.len() - 1, b.len() - 1).or_raise();
            let sums: Vec<f64> = a.iter().zip(b).map(|(x, y)| finite(x + y)).collect();
            NewArray::of_f64(&sums)
        }
    }
}

#[pg_extern(sql = false)]
fn vector_accum(state: StateArray, value: Vector) -> NewArray {
    accumulate(&state, &value)
}

#[pg_extern(sql = false)]
fn halfvec_accum(state: StateArray, value: HalfVec) -> NewArray {
    accumulate(&state, &value)
}

#[pg_extern(sql = false)]
fn vector_avg(state: StateArray) -> Option<Vector> {
    average(&state)
}

#[pg_extern(sql = false)]
fn halfvec_avg(state: StateArray) -> Option<HalfVec> {
    average(&state)
}
