//! Aligned columns for people.

/// A table with a header; cells of one column begin below each other. `-` stands for nothing.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let lines: Vec<[String; N]> =
        std::iter::once(&header).chain(rows).map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default());
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(widths) {
            padded.push_str(cell);
            padded.push_str(&" ".repeat(width + 2 - cell.chars().count()));
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// Names come from users and providers: nothing in them may move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The value's text, or nothing.
pub(crate) fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let rows = [
            ["1".to_owned(), "näme".to_owned(), String::new()],
            ["23".to_owned(), "a\u{1b}[2Jb".to_owned(), "x".to_owned()],
        ];
        assert_eq!(table(["ID", "NAME", "END"], &rows), "ID  NAME    END\n1   näme    -\n23  a\u{fffd}[2Jb  x\n");
    }
}
