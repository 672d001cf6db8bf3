//! How values of each field type of the message definitions are read and written.

use bytes::Bytes;

use super::{DecodeError, Reader, Writer};
use crate::types::{StrBytes, Uuid};

/// What, beside its type, decides the form of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The message's version.
    pub(crate) version: i16,
    /// Whether lengths are compact and structs end in tagged fields.
    pub(crate) flexible: bool,
    /// Whether this field may be null.
    pub(crate) nullable: bool,
    /// Whether this is the value of a tagged field.
    tagged: bool,
}

impl Form {
    /// The form of something that cannot be null.
    pub(crate) fn new(version: i16, flexible: bool) -> Self {
        Self {
            version,
            flexible,
            nullable: false,
            tagged: false,
        }
    }

    /// The same version, nullable or not.
    pub(crate) fn nullable(self, nullable: bool) -> Self {
        Self {
            nullable,
            tagged: false,
            ..self
        }
    }

    fn tagged(self) -> Self {
        Self {
            tagged: true,
            ..self
        }
    }

    /// Reads whether a struct is there. It has no length that could say null: a byte before it does,
    /// or a variable-length integer in a tagged field.
    pub(crate) fn read_presence(self, reader: &mut Reader) -> Result<bool, DecodeError> {
        if !self.nullable {
            Ok(true)
        } else if self.tagged {
            Ok(reader.read_uvarint()? > 0)
        } else {
            Ok(reader.read_i8()? >= 0)
        }
    }

    /// Writes whether a struct is there.
    pub(crate) fn put_presence(self, writer: &mut Writer, present: bool) {
        if !self.nullable {
            return;
        }
        match (present, self.tagged) {
            (true, _) => writer.put_i8(1),
            (false, true) => writer.put_i8(0),
            (false, false) => writer.put_i8(-1),
        }
    }
}

/// A type a field may have, on the way in.
pub(crate) trait Decode: Sized {
    /// Fewer bytes no value of this type takes, in any version.
    const BYTES_MIN: usize = 1;

    /// Reads one value.
    fn decode_field(reader: &mut Reader, form: Form) -> Result<Self, DecodeError>;
}

/// A type a field may have, on the way out.
pub(crate) trait Encode {
    /// Writes one value.
    fn encode_field(&self, writer: &mut Writer, form: Form);

    /// Passes on every `error_code` in it, in the order of its fields.
    fn error_codes(&self, _told: &mut dyn FnMut(i16)) {}
}

/// The head of a tagged field that was met.
pub(crate) struct TaggedField {
    /// Which field.
    pub(crate) tag: u32,
    size: usize,
}

impl TaggedField {
    /// Reads the head.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            tag: reader.read_uvarint()?,
            size: reader.read_size()?,
        })
    }

    /// Reads the value, which has to take the whole size.
    pub(crate) fn decode<T: Decode>(
        self,
        reader: &mut Reader,
        form: Form,
    ) -> Result<T, DecodeError> {
        reader.read_exactly(self.size, |reader| T::decode_field(reader, form.tagged()))
    }

    /// Reads past the value.
    pub(crate) fn skip(self, reader: &mut Reader) -> Result<(), DecodeError> {
        reader.take(self.size).map(drop)
    }
}

/// The tagged fields of a struct that differ from their defaults: only those are written.
#[derive(Default)]
pub(crate) struct TaggedFields {
    count: u32,
    fields: Writer,
}

impl TaggedFields {
    /// Adds a field if it differs from its default.
    pub(crate) fn with<T: Encode + PartialEq>(
        mut self,
        tag: u32,
        value: &T,
        default: &T,
        form: Form,
    ) -> Self {
        if value != default {
            self.count += 1;
            self.fields
                .put_tagged_field(tag, |writer| value.encode_field(writer, form.tagged()));
        }
        self
    }

    /// Writes the section.
    pub(crate) fn write(self, writer: &mut Writer) {
        writer.put_uvarint(self.count);
        writer.put_slice(&self.fields.freeze());
    }
}

/// The value a field has where its definition states none, as Kafka's schemas have it: zero, or
/// empty; a nullable field is empty, not null.
pub(crate) trait SchemaDefault {
    /// That value.
    fn schema_default() -> Self;
}

/// What a fetch response carries as records: bytes, or something that leads to them.
pub trait RecordsLen {
    /// How many bytes the records are. Must not change while a response is encoded.
    fn records_len(&self) -> usize;

    /// The bytes, where they are to be copied into the message itself. Otherwise they become a part
    /// of their own.
    fn inline(&self) -> Option<&Bytes> {
        None
    }
}

impl RecordsLen for Bytes {
    fn records_len(&self) -> usize {
        self.len()
    }

    fn inline(&self) -> Option<&Bytes> {
        Some(self)
    }
}

macro_rules! fixed_size {
    ($($ty:ty, $read:ident, $put:ident;)*) => {$(
        impl Decode for $ty {
            const BYTES_MIN: usize = size_of::<$ty>();

            fn decode_field(reader: &mut Reader, _: Form) -> Result<Self, DecodeError> {
                reader.$read()
            }
        }

        impl Encode for $ty {
            fn encode_field(&self, writer: &mut Writer, _: Form) {
                writer.$put(*self);
            }
        }

        impl SchemaDefault for $ty {
            fn schema_default() -> Self {
                Self::default()
            }
        }
    )*};
}

fixed_size! {
    bool, read_bool, put_bool;
    i8, read_i8, put_i8;
    i16, read_i16, put_i16;
    i32, read_i32, put_i32;
    i64, read_i64, put_i64;
    Uuid, read_uuid, put_uuid;
}

/// A type whose own length says whether it is null, on the way in.
pub(crate) trait DecodeNullable: Sized {
    /// Reads a value or null, whether or not the form allows null.
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError>;
}

/// A type whose own length says whether it is null, on the way out.
pub(crate) trait EncodeNullable {
    /// Writes a value or null. A null that the form does not allow is written as empty, so that the
    /// message around it stays readable.
    fn encode_nullable(value: Option<&Self>, writer: &mut Writer, form: Form);
}

impl DecodeNullable for StrBytes {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        reader.read_nullable_string(form.flexible)
    }
}

impl EncodeNullable for StrBytes {
    fn encode_nullable(value: Option<&Self>, writer: &mut Writer, form: Form) {
        let empty = (!form.nullable).then_some(&b""[..]);
        writer.put_nullable_string(value.map(Self::as_bytes).or(empty), form.flexible);
    }
}

impl DecodeNullable for Bytes {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        reader.read_nullable_bytes(form.flexible)
    }
}

/// Byte fields and fields of records.
impl<R: RecordsLen> EncodeNullable for R {
    fn encode_nullable(value: Option<&Self>, writer: &mut Writer, form: Form) {
        let len = value.map(R::records_len).or((!form.nullable).then_some(0));
        writer.put_nullable_len(len, form.flexible);
        let Some(records) = value else { return };
        match records.inline() {
            Some(bytes) => writer.put_slice(bytes),
            None => writer.leave_gap(records.records_len()),
        }
    }
}

impl<T: Decode> DecodeNullable for Vec<T> {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.read_count(form.flexible, T::BYTES_MIN, size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode_field(reader, form.nullable(false))?);
        }
        Ok(Some(elements))
    }
}

impl<T: Encode> EncodeNullable for Vec<T> {
    fn encode_nullable(value: Option<&Self>, writer: &mut Writer, form: Form) {
        let len = value.map(Self::len).or((!form.nullable).then_some(0));
        writer.put_nullable_len(len, form.flexible);
        for element in value.into_iter().flatten() {
            element.encode_field(writer, form.nullable(false));
        }
    }
}

impl<T: DecodeNullable> Decode for Option<T> {
    fn decode_field(reader: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        match T::decode_nullable(reader, form)? {
            None if !form.nullable => Err(DecodeError::UnexpectedNull),
            value => Ok(value),
        }
    }
}

impl<T: EncodeNullable> Encode for Option<T> {
    fn encode_field(&self, writer: &mut Writer, form: Form) {
        T::encode_nullable(self.as_ref(), writer, form);
    }
}

impl<T: SchemaDefault> SchemaDefault for Option<T> {
    fn schema_default() -> Self {
        Some(T::schema_default())
    }
}

macro_rules! never_null {
    ($([$($t:ident)?] $ty:ty $({ $($more:item)* })?;)*) => {$(
        impl<$($t: Decode)?> Decode for $ty {
            fn decode_field(reader: &mut Reader, form: Form) -> Result<Self, DecodeError> {
                Self::decode_nullable(reader, form)?.ok_or(DecodeError::UnexpectedNull)
            }
        }

        impl<$($t: Encode)?> Encode for $ty {
            fn encode_field(&self, writer: &mut Writer, form: Form) {
                Self::encode_nullable(Some(self), writer, form);
            }

            $($($more)*)?
        }

        impl<$($t)?> SchemaDefault for $ty {
            fn schema_default() -> Self {
                Self::default()
            }
        }
    )*};
}

never_null! {
    [] StrBytes;
    [] Bytes;
    [T] Vec<T> {
        fn error_codes(&self, told: &mut dyn FnMut(i16)) {
            self.iter().for_each(|element| element.error_codes(told));
        }
    };
}
