//! Values of variable length. Those stored plainly are borrowed from PostgreSQL without a copy.
//! Those that had to be decompressed are freed after use.

use pgrx::pg_sys;
use std::ptr::NonNull;

/// Length word of a varlena value.
pub const VARLENA_HEADER: usize = 4;

/// A detoasted varlena value.
pub struct Varlena {
    ptr: NonNull<u8>,
    /// Whether the value is a copy that no other code refers to.
    owned: bool,
}

impl Varlena {
    /// Takes over a datum of a varlena type, and decompresses or fetches it if necessary.
    ///
    /// # Safety
    /// `datum` is a valid, non-null pointer to a varlena value that outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        let original = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the datum is a valid pointer to a varlena by this function's contract. The result
        // is the same pointer, or a new allocation.
        let plain = unsafe { pg_sys::pg_detoast_datum(original) };
        let ptr = NonNull::new(plain.cast::<u8>()).expect("detoasting returns a value or raises an error");
        Self { ptr, owned: plain != original }
    }

    /// Allocates a zeroed value of `bytes` bytes, length word included, in the current memory
    /// context.
    pub fn alloc(bytes: usize) -> Self {
        // SAFETY: palloc0 returns `bytes` bytes of writable memory or raises an error, and callers
        // pass at least the four of the length word.
        let ptr = unsafe {
            let ptr = pg_sys::palloc0(bytes).cast::<u8>();
            pgrx::varlena::set_varsize_4b(ptr.cast(), bytes as i32);
            ptr
        };
        Self { ptr: NonNull::new(ptr).expect("palloc0 returns memory or raises an error"), owned: true }
    }

    /// The whole value, its length word included.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the value is detoasted or made by `alloc`, so it has a length word of four bytes
        // and is as long as that says. It lives as long as `self`.
        unsafe {
            let len = pgrx::varlena::varsize_4b(self.ptr.as_ptr().cast());
            std::slice::from_raw_parts(self.ptr.as_ptr(), len)
        }
    }

    /// The whole value of a freshly allocated varlena.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        debug_assert!(self.owned, "values of others are read only");
        let len = self.bytes().len();
        // SAFETY: the value has `len` bytes, as in `bytes`. No other code refers to an owned value,
        // and `&mut self` excludes other references from here.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), len) }
    }

    /// Hands the value over to PostgreSQL.
    pub fn into_datum(self) -> pg_sys::Datum {
        let datum = pg_sys::Datum::from(self.ptr.as_ptr());
        std::mem::forget(self);
        datum
    }
}

impl Drop for Varlena {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: an owned value was allocated by PostgreSQL's allocator, and no other code
            // refers to it.
            unsafe { pg_sys::pfree(self.ptr.as_ptr().cast()) };
        }
    }
}

/// Implements what `#[pg_extern]` requires of argument and result types, for a wrapper of
/// [`Varlena`].
///
/// The SQL declarations are in `sql/`, so the type names only serve pgrx's bookkeeping.
macro_rules! sql_varlena_type {
    ($type:ty, $name:literal) => {
        pgrx::impl_sql_translatable!($type, $name);

        // SAFETY: PostgreSQL passes a value of the declared SQL type, a varlena; `wrap` checks its
        // inner lengths.
        unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for $type {
            unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
                // SAFETY: the functions are STRICT or take an `Option`, so the datum is not null
                // here. It lives during the call.
                unsafe {
                    let datum = arg.unbox_arg_using_from_datum::<pgrx::pg_sys::Datum>();
                    Self::wrap($crate::types::varlena::Varlena::from_datum(
                        datum.expect("the argument of a STRICT function is not null"),
                    ))
                }
            }
        }

        // SAFETY: the datum is a varlena of the declared SQL type, in the caller's memory context.
        unsafe impl pgrx::callconv::BoxRet for $type {
            unsafe fn box_into<'fcx>(
                self,
                fcinfo: &mut pgrx::callconv::FcInfo<'fcx>,
            ) -> pgrx::datum::Datum<'fcx> {
                // SAFETY: the datum points to a complete value of the type, which nothing else
                // frees.
                unsafe { fcinfo.return_raw_datum(self.into_datum()) }
            }
        }
    };
}
pub(super) use sql_varlena_type;
