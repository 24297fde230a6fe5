//! Checks that the types share, with pgvector's messages and SQLSTATEs.

use crate::pg::error::Problem;
use pgrx::PgSqlErrorCode::*;

/// Dimensions of a value of `type_name`: at least one, at most `max`.
pub fn dims(type_name: &str, dims: usize, max: usize) -> Result<(), Problem> {
    if dims < 1 {
        return Err(Problem::new(
            ERRCODE_DATA_EXCEPTION,
            format!("{type_name} must have at least 1 dimension"),
        ));
    }
    if dims > max {
        return Err(Problem::new(
            ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{type_name} cannot have more than {max} dimensions"),
        ));
    }
    Ok(())
}

/// Checks a value's dimensions against a column's declared ones (`typmod`, -1 if undeclared).
pub fn expected_dims(typmod: i32, dims: usize) -> Result<(), Problem> {
    if typmod != -1 && typmod as usize != dims {
        return Err(Problem::new(
            ERRCODE_DATA_EXCEPTION,
            format!("expected {typmod} dimensions, not {dims}"),
        ));
    }
    Ok(())
}

/// Two operands must have equally many dimensions.
pub fn same_dims(type_name: &str, a: usize, b: usize) -> Result<(), Problem> {
    if a != b {
        return Err(Problem::new(
            ERRCODE_DATA_EXCEPTION,
            format!("different {type_name} dimensions {a} and {b}"),
        ));
    }
    Ok(())
}

/// A stored element is a finite number.
pub fn finite(type_name: &str, x: f32) -> Result<(), Problem> {
    if x.is_nan() {
        return Err(Problem::new(ERRCODE_DATA_EXCEPTION, format!("NaN not allowed in {type_name}")));
    }
    if x.is_infinite() {
        return Err(Problem::new(
            ERRCODE_DATA_EXCEPTION,
            format!("infinite value not allowed in {type_name}"),
        ));
    }
    Ok(())
}

/// The type modifier `(n)` of a declaration such as `vector(3)`.
pub fn typmod(type_name: &str, modifiers: &[Option<&std::ffi::CStr>], max: usize) -> Result<i32, Problem> {
    let invalid = |message: String| Problem::new(ERRCODE_INVALID_PARAMETER_VALUE, message);
    let [Some(modifier)] = modifiers else {
        return Err(invalid("invalid type modifier".into())
            .hint(format!("Declare the number of dimensions, as in {type_name}(3).")));
    };
    let text = modifier.to_string_lossy();
    let n: i64 = text.trim().parse().map_err(|_| {
        invalid(format!("invalid type modifier: \"{text}\""))
            .hint(format!("Declare the number of dimensions, as in {type_name}(3)."))
    })?;
    if n < 1 {
        return Err(invalid(format!("dimensions for type {type_name} must be at least 1")));
    }
    if n > max as i64 {
        return Err(invalid(format!("dimensions for type {type_name} cannot exceed {max}")));
    }
    Ok(n as i32)
}

/// The result of an element-wise operation: finite inputs must not leave the type's range.
pub fn overflow(x: f32) -> Result<(), Problem> {
    if x.is_infinite() {
        return Err(Problem::new(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
    }
    Ok(())
}

/// A product of non-zero factors must not vanish.
pub fn underflow(product: f32, a: f32, b: f32) -> Result<(), Problem> {
    if product == 0.0 && a != 0.0 && b != 0.0 {
        return Err(Problem::new(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow"));
    }
    Ok(())
}
