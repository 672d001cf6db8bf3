//! Frames: a length prefix, then one request or response with its header.
//!
//! ```text
//! length i32 | header | message, together of that many bytes
//! ```

use bytes::Bytes;

use crate::header::{RequestHeader, ResponseHeader};
use crate::messages::Message;
use crate::wire::{DecodeError, Reader, Writer};

/// The shortest request: key i16, version i16, correlation id i32.
pub const REQUEST_LEN_MIN: usize = 8;

/// An announced length that must not be waited for: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero.
    #[error("frame announces a negative length: {0}")]
    Negative(i32),
    /// No request is this short.
    #[error("frame of {0} bytes is shorter than a request header")]
    TooShort(usize),
    /// More than the receiver takes.
    #[error("frame of {len} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Announced bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// How many bytes follow this prefix.
///
/// # Errors
/// Where no request of at most `max` bytes can have this length.
pub fn frame_len(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let announced = i32::from_be_bytes(prefix);
    let len = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
    if len > max {
        return Err(FrameError::TooLarge { len, max });
    }
    if len < REQUEST_LEN_MIN {
        return Err(FrameError::TooShort(len));
    }
    Ok(len)
}

/// A whole request frame, length prefix included. Key and version are those of the header.
#[must_use]
pub fn encode_request_frame<M: Message>(header: &RequestHeader, request: &M) -> Bytes {
    let mut writer = Writer::new();
    writer.put_i32(0);
    header.encode(&mut writer);
    request.encode(&mut writer, header.api_version);
    writer.set_frame_len();
    writer.freeze()
}

/// A whole response frame, length prefix included.
#[must_use]
pub fn encode_response_frame<M: Message>(version: i16, correlation_id: i32, response: &M) -> Bytes {
    let mut writer = Writer::new();
    writer.put_i32(0);
    ResponseHeader::encode(&mut writer, M::KEY, version, correlation_id);
    response.encode(&mut writer, version);
    writer.set_frame_len();
    writer.freeze()
}

/// Reads a request whose type is known, from a frame without its length prefix.
///
/// # Errors
/// For bytes that are not exactly this request.
pub fn decode_request_frame<M: Message>(frame: Bytes) -> Result<(RequestHeader, M), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader)?;
    let request = M::decode(&mut reader, header.api_version)?;
    reader.finish()?;
    Ok((header, request))
}

/// Reads a response from a frame without its length prefix.
///
/// # Errors
/// For bytes that are not exactly this response.
pub fn decode_response_frame<M: Message>(
    frame: Bytes,
    version: i16,
) -> Result<(ResponseHeader, M), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, M::KEY, version)?;
    let response = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok((header, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_within_bounds_are_accepted() {
        let check = |len: i32| frame_len(len.to_be_bytes(), 100);
        assert_eq!(check(8), Ok(8));
        assert_eq!(check(100), Ok(100));
        assert_eq!(check(101), Err(FrameError::TooLarge { len: 101, max: 100 }));
        assert_eq!(check(7), Err(FrameError::TooShort(7)));
        assert_eq!(check(-1), Err(FrameError::Negative(-1)));
        assert_eq!(check(i32::MIN), Err(FrameError::Negative(i32::MIN)));
        assert!(matches!(check(i32::MAX), Err(FrameError::TooLarge { .. })));
        // A TLS hello or an HTTP request on the plain port.
        assert!(frame_len(*b"GET ", 1 << 20).is_err());
        assert!(frame_len([0x16, 0x03, 0x01, 0x02], 100 << 20).is_err());
    }
}
