//! The primitive types of the protocol, read from and written to buffers.
//!
//! ```text
//! string   i16 length, -1 = null           | compact: uvarint length + 1, 0 = null
//! bytes    i32 length, -1 = null           | compact: uvarint length + 1, 0 = null
//! array    i32 count, -1 = null            | compact: uvarint count + 1, 0 = null
//! uvarint  7 bits a byte, low bits first, high bit set on all but the last byte
//! varint, varlong   zigzag of i32 or i64, then as uvarint
//! tagged fields     uvarint count, then per field: uvarint tag, uvarint size, that many bytes
//! ```
//! Compact forms and tagged fields exist in flexible versions only
//! ([`ApiKey::flexible_from`](crate::ApiKey::flexible_from)).
//!
//! **Bound on memory.** A [`Reader`] slices its input, it copies nothing; only arrays allocate. Before
//! an array is allocated its count is checked against the bytes that are left (an element takes at
//! least one), and the memory of its elements is charged to a budget of [`BUDGET_BYTES_MIN`] plus
//! [`BUDGET_FACTOR`] times the input's length, and of [`BUDGET_BYTES_MAX`] at most. Real requests stay far below it: an element's struct
//! is two to four times the size of its bytes. Without the budget, 100 MiB of empty elements would
//! become several gigabytes of structs.

pub(crate) mod field;
mod reader;
mod writer;

pub use field::RecordsLen;
pub use reader::{BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, BUDGET_FACTOR, Reader};
pub use writer::Writer;

use crate::ApiKey;

/// The longest string in bytes, in compact form too, as Kafka's own readers have it.
pub const STRING_BYTES_MAX: usize = 0x7FFF;

/// Bytes that are not the message they should be. The connection they came from is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("{needed} bytes needed, {remaining} left")]
    UnexpectedEnd {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes left in the input.
        remaining: usize,
    },
    /// A variable-length integer is longer than its type.
    #[error("variable-length integer does not fit its type")]
    Varint,
    /// A length or count that no value of its type has.
    #[error("invalid length {0}")]
    InvalidLength(i64),
    /// Null where the version does not allow it.
    #[error("null in a field that is not nullable in this version")]
    UnexpectedNull,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// An array announces more elements than the bytes left can hold.
    #[error("array announces {count} elements, {remaining} bytes left")]
    ArrayTooLong {
        /// Elements announced.
        count: usize,
        /// Bytes left in the input.
        remaining: usize,
    },
    /// The arrays of the message need more memory than its size justifies.
    #[error("the message's arrays take more memory than its size justifies")]
    BudgetExceeded,
    /// No definition covers this version.
    #[error("{api} version {version} is not known")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// A negative version before a message that says its own.
    #[error("version {0} does not exist")]
    NegativeVersion(i16),
    /// A header with a key nobody knows, so the header's own version is unknown too.
    #[error(transparent)]
    UnknownApiKey(#[from] crate::UnknownApiKey),
    /// Bytes follow where the message, tagged field or frame should have ended.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
}
