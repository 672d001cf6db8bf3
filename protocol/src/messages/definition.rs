//! The macro that makes a message of its definition.

/// Defines a request or response and the structs inside it.
///
/// ```text
/// message! {
///     /// What the message is for.
///     pub struct NameRequest (ApiKeyName, 0..=4) {
///         /// What the field means.
///         field: Type, 1.., null 2..=3, tag 0, default -1;
///     }
///     /// What the struct is.
///     pub struct Inner { ... }
/// }
/// ```
/// The first range gives the versions that have the field, `null` those in which it may be null (its
/// type is an `Option` then), `tag` makes it a tagged field, `default` is its value where a message
/// does not carry it. Without one it is zero or empty, also where it could be null, as in Kafka's
/// schemas. Fields stand in wire order, tagged ones in the order of their tags.
///
/// From this follow the struct, its `Default`, and both directions: a field that a version lacks is
/// skipped on the way out and has its default on the way in; a tagged field is written when it differs
/// from its default; unknown tagged fields are skipped. A struct with a type parameter, which stands
/// for records, is decoded with `Bytes` only.
macro_rules! message {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident $(<$records:ident>)? $(($api:ident, $valid:expr))? {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $ty:ty, $versions:expr
                    $(, null $null:expr)? $(, tag $tag:literal)? $(, default $default:expr)?;
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name $(<$records>)? {
            $(
                $(#[$field_meta])*
                pub $field: $ty,
            )*
        }

        impl$(<$records>)? Default for $name $(<$records>)? {
            fn default() -> Self {
                Self { $($field: message!(@default $($default)?),)* }
            }
        }

        impl$(<$records>)? $crate::wire::field::SchemaDefault for $name $(<$records>)? {
            fn schema_default() -> Self {
                Self::default()
            }
        }

        impl $crate::wire::field::Decode for message!(@decoded $name $($records)?) {
            fn decode_field(
                reader: &mut $crate::wire::Reader,
                form: $crate::wire::field::Form,
            ) -> Result<Self, $crate::wire::DecodeError> {
                let mut message = Self::default();
                $(
                    if ($versions).contains(&form.version) {
                        message!(@read [$($tag)?] message.$field, reader,
                            message!(@form form, $($null)?));
                    }
                )*
                if !form.flexible {
                    return Ok(message);
                }
                for _ in 0..reader.read_uvarint()? {
                    let tagged = $crate::wire::field::TaggedField::read(reader)?;
                    $(message!(@if_tagged [$($tag)?] {
                        if tagged.tag == message!(@tag $($tag)?)
                            && ($versions).contains(&form.version)
                        {
                            let form = message!(@form form, $($null)?);
                            message.$field = tagged.decode(reader, form)?;
                            continue;
                        }
                    });)*
                    tagged.skip(reader)?;
                }
                Ok(message)
            }
        }

        impl$(<$records: $crate::wire::RecordsLen>)? $crate::wire::field::Encode
            for $name $(<$records>)?
        {
            fn encode_field(
                &self,
                writer: &mut $crate::wire::Writer,
                form: $crate::wire::field::Form,
            ) {
                $(
                    if ($versions).contains(&form.version) {
                        message!(@write [$($tag)?] self.$field, writer,
                            message!(@form form, $($null)?));
                    }
                )*
                if !form.flexible {
                    return;
                }
                let tagged = $crate::wire::field::TaggedFields::default();
                $(message!(@write_tagged [$($tag)?] tagged, self.$field, form, $versions,
                    [$($default)?] [$($null)?]);)*
                tagged.write(writer);
            }

            fn error_codes(&self, told: &mut dyn FnMut(i16)) {
                $(message!(@codes $field, self, told);)*
            }
        }

        #[cfg(test)]
        impl $crate::generate::Generate for message!(@decoded $name $($records)?) {
            fn generate(
                choices: &mut $crate::generate::Choices<'_>,
                form: $crate::wire::field::Form,
            ) -> Self {
                let mut message = Self::default();
                $(
                    if ($versions).contains(&form.version) {
                        let form = message!(@form form, $($null)?);
                        message.$field = $crate::generate::Generate::generate(choices, form);
                    }
                )*
                message
            }
        }

        message!(@nullable $name $($records)?);
        message!(@message [$name $($records)?] $($api, $valid)?);
    )*};

    (@nullable $name:ident $records:ident) => {};
    (@nullable $name:ident) => {
        impl $crate::wire::field::DecodeNullable for $name {
            fn decode_nullable(
                reader: &mut $crate::wire::Reader,
                form: $crate::wire::field::Form,
            ) -> Result<Option<Self>, $crate::wire::DecodeError> {
                if !form.read_presence(reader)? {
                    return Ok(None);
                }
                $crate::wire::field::Decode::decode_field(reader, form).map(Some)
            }
        }

        impl $crate::wire::field::EncodeNullable for $name {
            fn encode_nullable(
                value: Option<&Self>,
                writer: &mut $crate::wire::Writer,
                form: $crate::wire::field::Form,
            ) {
                form.put_presence(writer, value.is_some());
                match value {
                    Some(value) => $crate::wire::field::Encode::encode_field(value, writer, form),
                    None if form.nullable => {}
                    None => $crate::wire::field::Encode::encode_field(
                        &Self::default(), writer, form),
                }
            }
        }
    };

    (@message [$($name:ident)+]) => {};
    (@message [$($name:ident)+] $api:ident, $valid:expr) => {
        impl $crate::messages::Message for message!(@decoded $($name)+) {
            const KEY: $crate::ApiKey = $crate::ApiKey::$api;
            const VERSIONS: std::ops::RangeInclusive<i16> = $valid;
        }
    };
    (@codes error_code, $message:ident, $told:ident) => { $told($message.error_code); };
    (@codes $field:ident, $message:ident, $told:ident) => {
        $crate::wire::field::Encode::error_codes(&$message.$field, $told);
    };
    (@tag $tag:literal) => { $tag };
    (@default) => { $crate::wire::field::SchemaDefault::schema_default() };
    (@default $default:expr) => { $default };
    (@decoded $name:ident) => { $name };
    (@decoded $name:ident $records:ident) => { $name<bytes::Bytes> };
    (@form $form:ident,) => { $form.nullable(false) };
    (@form $form:ident, $null:expr) => { $form.nullable(($null).contains(&$form.version)) };
    (@read [] $message:ident . $field:ident, $reader:ident, $form:expr) => {
        $message.$field = $crate::wire::field::Decode::decode_field($reader, $form)?;
    };
    (@read [$tag:literal] $($rest:tt)*) => {};
    (@write [] $message:ident . $field:ident, $writer:ident, $form:expr) => {
        $crate::wire::field::Encode::encode_field(&$message.$field, $writer, $form);
    };
    (@write [$tag:literal] $($rest:tt)*) => {};
    (@write_tagged [] $($rest:tt)*) => {};
    (@write_tagged [$tag:literal] $tagged:ident, $message:ident . $field:ident, $form:ident,
        $versions:expr, [$($default:expr)?] [$($null:expr)?]) => {
        let $tagged = if ($versions).contains(&$form.version) {
            let form = message!(@form $form, $($null)?);
            $tagged.with($tag, &$message.$field, &message!(@default $($default)?), form)
        } else {
            $tagged
        };
    };
    (@if_tagged [] $code:tt) => {};
    (@if_tagged [$tag:literal] $code:tt) => { $code };
}

pub(crate) use message;
