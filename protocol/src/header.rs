//! Request and response headers.
//!
//! ```text
//! request   api_key i16 | api_version i16 | correlation_id i32 | client_id nullable string
//!           | tagged fields, in flexible versions (the client id is never compact)
//! response  correlation_id i32 | tagged fields, in flexible versions except of ApiVersions
//! ```

use crate::api_key::ApiKey;
use crate::types::StrBytes;
use crate::wire::{DecodeError, Reader, Writer};

/// What precedes every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader {
    /// Which API; see [`ApiKey`].
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

impl RequestHeader {
    /// Reads a header; key and version in it decide its own form.
    ///
    /// A version nobody knows is read like the newest one known, so that ApiVersions can answer it.
    ///
    /// # Errors
    /// For unknown keys and for bytes that are no header.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let api_key = reader.read_i16()?;
        let api_version = reader.read_i16()?;
        let correlation_id = reader.read_i32()?;
        let api = ApiKey::try_from(api_key)?;
        let client_id = reader.read_nullable_string(false)?;
        if api.is_flexible(api_version) {
            reader.skip_tagged_fields()?;
        }
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    /// Writes the header as its key and version want it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.put_i16(self.api_key);
        writer.put_i16(self.api_version);
        writer.put_i32(self.correlation_id);
        writer.put_nullable_string(self.client_id.as_ref().map(StrBytes::as_bytes), false);
        if ApiKey::from_key(self.api_key).is_some_and(|api| api.is_flexible(self.api_version)) {
            writer.put_uvarint(0);
        }
    }
}

/// What precedes every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The one of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Writes the header of a response to this request.
    pub fn encode(writer: &mut Writer, api_key: ApiKey, api_version: i16, correlation_id: i32) {
        writer.put_i32(correlation_id);
        if Self::has_tagged_fields(api_key, api_version) {
            writer.put_uvarint(0);
        }
    }

    /// Reads the header of a response to this request.
    ///
    /// # Errors
    /// For bytes that are no header.
    pub fn decode(
        reader: &mut Reader,
        api_key: ApiKey,
        api_version: i16,
    ) -> Result<Self, DecodeError> {
        let correlation_id = reader.read_i32()?;
        if Self::has_tagged_fields(api_key, api_version) {
            reader.skip_tagged_fields()?;
        }
        Ok(Self { correlation_id })
    }

    /// ApiVersions is the exception: a client reads its response before it knows what the broker
    /// speaks, so the header must look the same in all versions.
    fn has_tagged_fields(api_key: ApiKey, api_version: i16) -> bool {
        api_key != ApiKey::ApiVersions && api_key.is_flexible(api_version)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn gotcha_04_the_client_id_is_never_compact() {
        for (version, tail) in [(8, &b""[..]), (9, b"\0")] {
            let header = RequestHeader {
                api_key: ApiKey::Produce.code(),
                api_version: version,
                correlation_id: 0x0102_0304,
                client_id: Some("cli".into()),
            };
            let mut writer = Writer::new();
            header.encode(&mut writer);
            let bytes = writer.freeze();
            let version = u8::try_from(version).unwrap();
            let mut expected = vec![0, 0, 0, version, 1, 2, 3, 4, 0, 3, b'c', b'l', b'i'];
            expected.extend_from_slice(tail);
            assert_eq!(bytes, expected);
            let mut reader = Reader::new(bytes);
            assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn gotcha_01_a_future_version_of_api_versions_has_a_readable_header() {
        let bytes = Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\xFF\xFF\0rest");
        let mut reader = Reader::new(bytes);
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (99, 7));
        assert_eq!(header.client_id, None);
        assert_eq!(reader.remaining(), 4);
    }

    #[test]
    fn cut_headers_and_unknown_keys_are_errors() {
        let bytes = Bytes::from_static(b"\0\x12\0\x03\0\0\0\x07\0\x02ab\0");
        for len in 0..bytes.len() {
            assert!(RequestHeader::decode(&mut Reader::new(bytes.slice(..len))).is_err());
        }
        assert!(RequestHeader::decode(&mut Reader::new(bytes)).is_ok());
        let unknown = Bytes::from_static(b"\x7F\xFF\0\x03\0\0\0\x07\0\x02ab\0");
        assert!(matches!(
            RequestHeader::decode(&mut Reader::new(unknown)),
            Err(DecodeError::UnknownApiKey(_))
        ));
    }

    #[test]
    fn gotcha_02_the_response_header_of_api_versions_never_changes() {
        for (api, version, len) in [
            (ApiKey::ApiVersions, 4, 4),
            (ApiKey::Fetch, 11, 4),
            (ApiKey::Fetch, 12, 5),
            (ApiKey::SaslHandshake, 1, 4),
        ] {
            let mut writer = Writer::new();
            ResponseHeader::encode(&mut writer, api, version, 9);
            assert_eq!(writer.len(), len);
            let mut reader = Reader::new(writer.freeze());
            let header = ResponseHeader::decode(&mut reader, api, version);
            assert_eq!(header, Ok(ResponseHeader { correlation_id: 9 }));
            assert_eq!(reader.finish(), Ok(()));
        }
    }
}
