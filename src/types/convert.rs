//! Casts among the vector types and from and to arrays.

use super::array::{NewArray, NumberArray};
use super::check;
use super::dense::{Dense, DenseElement, HalfVec, Vector};
use super::sparse::SparseVec;
use crate::pg::error::OrRaise;
use pgrx::pg_extern;

fn array_to_dense<E: DenseElement>(array: &NumberArray, typmod: i32) -> Dense<E> {
    let dense = Dense::from_f32(array.numbers());
    check::expected_dims(typmod, dense.dims()).or_raise();
    dense
}

fn numbers<E: DenseElement>(dense: &Dense<E>) -> Vec<f32> {
    dense.elements().iter().map(|x| x.to_f32()).collect()
}

fn dense_to_dense<A: DenseElement, B: DenseElement>(dense: &Dense<A>, typmod: i32) -> Dense<B> {
    check::expected_dims(typmod, dense.dims()).or_raise();
    Dense::from_f32(&numbers(dense))
}

fn sparse_to_dense<E: DenseElement>(sparse: &SparseVec, typmod: i32) -> Dense<E> {
    check::dims(E::TYPE_NAME, sparse.dims(), super::dense::MAX_DIMS).or_raise();
    check::expected_dims(typmod, sparse.dims()).or_raise();
    let mut dense = vec![0f32; sparse.dims()];
    for (&i, &x) in sparse.slice().indices.iter().zip(sparse.slice().values) {
        dense[i as usize] = x;
    }
    Dense::from_f32(&dense)
}

fn dense_to_sparse(numbers: &[f32], typmod: i32) -> SparseVec {
    check::expected_dims(typmod, numbers.len()).or_raise();
    let (indices, values): (Vec<i32>, Vec<f32>) =
        numbers.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(i, &x)| (i as i32, x)).unzip();
    SparseVec::new(numbers.len(), &indices, &values).or_raise()
}

#[pg_extern(sql = false)]
fn array_to_vector(array: NumberArray, typmod: i32, _explicit: bool) -> Vector {
    array_to_dense(&array, typmod)
}

#[pg_extern(sql = false)]
fn array_to_halfvec(array: NumberArray, typmod: i32, _explicit: bool) -> HalfVec {
    array_to_dense(&array, typmod)
}

#[pg_extern(sql = false)]
fn array_to_sparsevec(array: NumberArray, typmod: i32, _explicit: bool) -> SparseVec {
    for &x in array.numbers() {
        check::finite("sparsevec", x).or_raise();
    }
    dense_to_sparse(array.numbers(), typmod)
}

#[pg_extern(sql = false)]
fn vector_to_float4(value: Vector, _typmod: i32, _explicit: bool) -> NewArray {
    NewArray::of_f32(value.elements())
}

#[pg_extern(sql = false)]
fn halfvec_to_float4(value: HalfVec, _typmod: i32, _explicit: bool) -> NewArray {
    NewArray::of_f32(&numbers(&value))
}

#[pg_extern(sql = false)]
fn vector_to_halfvec(value: Vector, typmod: i32, _explicit: bool) -> HalfVec {
    dense_to_dense(&value, typmod)
}

#[pg_extern(sql = false)]
fn halfvec_to_vector(value: HalfVec, typmod: i32, _explicit: bool) -> Vector {
    dense_to_dense(&value, typmod)
}

#[pg_extern(sql = false)]
fn vector_to_sparsevec(value: Vector, typmod: i32, _explicit: bool) -> SparseVec {
    dense_to_sparse(value.elements(), typmod)
}

#[pg_extern(sql = false)]
fn halfvec_to_sparsevec(value: HalfVec, typmod: i32, _explicit: bool) -> SparseVec {
    dense_to_sparse(&numbers(&value), typmod)
}

#[pg_extern(sql = false)]
fn sparsevec_to_vector(value: SparseVec, typmod: i32, _explicit: bool) -> Vector {
    sparse_to_dense(&value, typmod)
}

#[pg_extern(sql = false)]
fn sparsevec_to_halfvec(value: SparseVec, typmod: i32, _explicit: bool) -> HalfVec {
    sparse_to_dense(&value, typmod)
}
