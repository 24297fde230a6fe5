//! Reading and writing numbers in the types' text forms.

use crate::pg::error::Problem;
use pgrx::PgSqlErrorCode::*;
use std::ffi::{c_char, c_int};

unsafe extern "C" {
    // Part of the server (src/common/f2s.c), which pgrx's bindings lack. It writes at most 16 bytes
    // and raises no error.
    fn float_to_shortest_decimal_bufn(f: f32, result: *mut c_char) -> c_int;
}

/// White space as PostgreSQL's vector types skip it.
pub fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Appends the shortest decimal text that reads back as `x`, as PostgreSQL prints a `real`.
pub fn push_float(out: &mut Vec<u8>, x: f32) {
    let mut buffer = [0u8; 32];
    // SAFETY: the function writes at most 16 bytes, and the buffer has 32.
    let len = unsafe { float_to_shortest_decimal_bufn(x, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..len as usize]);
}

/// Appends a decimal integer.
pub fn push_integer(out: &mut Vec<u8>, n: i64) {
    use std::io::Write;
    write!(out, "{n}").expect("writing to memory does not fail");
}

/// A cursor over the text form of a value.
pub struct Scanner<'a> {
    type_name: &'static str,
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(type_name: &'static str, text: &'a [u8]) -> Self {
        Self { type_name, text, at: 0 }
    }

    pub fn syntax_error(&self) -> Problem {
        let text = String::from_utf8_lossy(self.text);
        Problem::new(
            ERRCODE_INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {}: \"{text}\"", self.type_name),
        )
    }

    pub fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|&c| is_space(c)) {
            self.at += 1;
        }
    }

    /// The next byte, if any, without consuming it.
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Consumes `c` if it comes next.
    pub fn accept(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    /// Consumes the bracket that opens the value.
    pub fn open(&mut self, bracket: u8) -> Result<(), Problem> {
        self.skip_space();
        if !self.accept(bracket) {
            let bracket = char::from(bracket);
            return Err(self
                .syntax_error()
                .detail(format!("Vector contents must start with \"{bracket}\".")));
        }
        self.skip_space();
        Ok(())
    }

    /// Only white space may follow.
    pub fn end(&mut self) -> Result<(), Problem> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax_error().detail("Junk after closing.")),
        }
    }

    /// Consumes up to the next white space or delimiter.
    fn word(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let len = rest
            .iter()
            .position(|&c| is_space(c) || matches!(c, b',' | b']' | b'}' | b':' | b'/'))
            .unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A finite number after optional white space. Too large a number is out of range; too small a
    /// one is zero.
    pub fn float(&mut self) -> Result<f32, Problem> {
        self.skip_space();
        let word = self.word();
        let text = std::str::from_utf8(word).map_err(|_| self.syntax_error())?;
        let x: f32 = text.parse().map_err(|_| self.syntax_error())?;
        // "inf" is an infinite number, "1e39" a finite one that does not fit.
        if x.is_infinite() && text.bytes().any(|c| c.is_ascii_digit()) {
            return Err(self.out_of_range(text));
        }
        super::check::finite(self.type_name, x)?;
        Ok(x)
    }

    /// As [`Self::float`], but a number too small is out of range, too.
    pub fn float_in_range(&mut self) -> Result<f32, Problem> {
        self.skip_space();
        let from = self.at;
        let x = self.float()?;
        let text = String::from_utf8_lossy(&self.text[from..self.at]);
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        if x == 0.0 && mantissa.bytes().any(|c| (b'1'..=b'9').contains(&c)) {
            return Err(self.out_of_range(&text));
        }
        Ok(x)
    }

    pub fn out_of_range(&self, text: &str) -> Problem {
        Problem::new(
            ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{text}\" is out of range for type {}", self.type_name),
        )
    }

    /// A decimal integer after optional white space.
    pub fn integer(&mut self) -> Result<i64, Problem> {
        self.skip_space();
        let word = self.word();
        let text = std::str::from_utf8(word).map_err(|_| self.syntax_error())?;
        text.parse().map_err(|e: std::num::ParseIntError| {
            use std::num::IntErrorKind::*;
            match e.kind() {
                PosOverflow | NegOverflow => self.out_of_range(text),
                _ => self.syntax_error(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtof_reads_them() {
        let read = |text: &str| Scanner::new("vector", text.as_bytes()).float().ok();
        assert_eq!(read(" 1.5]"), Some(1.5));
        assert_eq!(read("-1e-46,"), Some(-0.0));
        assert_eq!(read(".5 "), Some(0.5));
        assert_eq!(read("1e39"), None);
        assert_eq!(read("inf"), None);
        assert_eq!(read("nan"), None);
        assert_eq!(read("1.5a"), None);
        assert_eq!(read(""), None);
        let in_range = |text: &str| Scanner::new("sparsevec", text.as_bytes()).float_in_range().ok();
        assert_eq!(in_range(" 0e5,"), Some(0.0));
        assert_eq!(in_range("1e-45"), Some(1e-45));
        assert_eq!(in_range("1e-46"), None);
    }
}
