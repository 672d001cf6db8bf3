//! Tables for people: columns that are aligned, without lines around them.

use std::io::{self, Write};

/// Rows under their headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One without rows.
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row. What is in a cell and may come from elsewhere must be [`escaped`].
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes headings and rows; without rows, nothing but the headings.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for line in lines(self.headings, &self.rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// Rows under a heading, each column as wide as it has to be; a line ends where its text ends.
pub(crate) fn lines(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let headings: Vec<String> = headings.iter().map(|&text| text.to_owned()).collect();
    let all = || std::iter::once(&headings).chain(rows);
    let mut widths = vec![0; headings.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    all().map(line).collect()
}

/// `NAME  value` lines: what a table has to say of one thing.
pub(crate) fn summary(out: &mut impl Write, facts: &[(&str, String)]) -> io::Result<()> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        let line = format!("{name:width$}  {value}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A text from elsewhere as it may stand on a terminal: whatever moves the cursor, turns the direction of writing or
/// cannot be seen is written as Rust would.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether a character moves the cursor, turns the direction of writing or cannot be seen.
pub(crate) fn is_hidden(c: char) -> bool {
    let is_unseen = matches!(
        c,
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    );
    is_unseen || c.is_control()
}

/// A number, or a dash where nobody knows.
pub(crate) fn known(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Names of a list that may be empty.
pub(crate) fn joined<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    match all.is_empty() {
        true => "-".to_owned(),
        false => all.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_their_text() {
        let mut table = Table::new(&["NAME", "N", "LAST"]);
        table.row(vec!["größe".to_owned(), "1000".to_owned(), String::new()]);
        table.row(vec!["a".to_owned(), "7".to_owned(), "x".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "NAME   N     LAST\ngröße  1000\na      7     x\n");
    }

    #[test]
    fn nothing_from_elsewhere_moves_the_cursor() {
        assert_eq!(escaped("orders.größe-1"), "orders.größe-1");
        assert_eq!(escaped("a\u{1b}[2Jb\n\t"), "a\\u{1b}[2Jb\\n\\t");
        assert_eq!(escaped("\u{9b}1m\u{202e}x"), "\\u{9b}1m\\u{202e}x");
    }
}
