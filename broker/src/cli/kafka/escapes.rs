//! Backslashes in templates.

use std::str::Chars;

/// The byte that `\n`, `\t`, `\r`, `\0`, `\\` or `\xHH` stands for, where the backslash was read already.
///
/// # Errors
/// For anything else.
pub(crate) fn escape(rest: &mut Chars<'_>) -> Result<u8, String> {
    match rest.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
            let (high, low) = (digit(rest.next()), digit(rest.next()));
            let byte = high.zip(low).map(|(high, low)| high * 16 + low);
            let byte = byte.and_then(|byte| u8::try_from(byte).ok());
            byte.ok_or_else(|| "\\x wants two hexadecimal digits".to_owned())
        }
        _ => Err("it knows \\n, \\t, \\r, \\0, \\\\ and \\xHH".to_owned()),
    }
}
