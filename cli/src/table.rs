//! Columns for people: as wide as their widest cell, numbers to the right.

use std::fmt;

/// Tables and pairs under one another, with empty lines between them.
#[derive(Debug, Default)]
pub(crate) struct Page {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Pairs(Vec<(&'static str, String)>),
    Rows(Table),
    Line(String),
}

impl Page {
    pub(crate) fn pairs(mut self, pairs: Vec<(&'static str, String)>) -> Self {
        self.parts.push(Part::Pairs(pairs));
        self
    }

    pub(crate) fn table(mut self, table: Table) -> Self {
        self.parts.push(Part::Rows(table));
        self
    }

    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.parts.push(Part::Line(line.into()));
        self
    }

    pub(crate) fn and(mut self, other: Page) -> Self {
        self.parts.extend(other.parts);
        self
    }
}

/// Rows under a head.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&'static str; N]) -> Self {
        Table {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.head.len());
        self.rows.push(cells.to_vec());
    }
}

impl From<Table> for Page {
    fn from(table: Table) -> Self {
        Page::default().table(table)
    }
}

/// Stands where there is nothing.
pub(crate) const NONE: &str = "-";

/// A value that may not be there.
pub(crate) fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// Several values in one cell.
pub(crate) fn list<T: ToString>(values: &[T]) -> String {
    if values.is_empty() {
        return NONE.to_owned();
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// Yes or no.
pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, part) in self.parts.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            match part {
                Part::Line(line) => writeln!(f, "{}", shown(line))?,
                Part::Rows(table) => write!(f, "{table}")?,
                Part::Pairs(pairs) => {
                    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                    for (name, value) in pairs {
                        writeln!(f, "{name:width$}  {}", shown(value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| shown(cell)).collect())
            .collect();
        let columns: Vec<Column> = (0..self.head.len())
            .map(|at| {
                let cells = rows.iter().filter_map(|row| row.get(at));
                let width = cells.clone().map(|cell| cell.chars().count()).max();
                let is_number = |cell: &String| cell == NONE || cell.parse::<f64>().is_ok();
                Column {
                    width: width.unwrap_or(0).max(self.head[at].len()),
                    right: !rows.is_empty() && cells.clone().all(is_number),
                }
            })
            .collect();
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        for row in std::iter::once(&head).chain(&rows) {
            let mut line = String::new();
            for (at, (cell, column)) in row.iter().zip(&columns).enumerate() {
                if at > 0 {
                    line.push_str("  ");
                }
                let width = column.width;
                line += &match column.right {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

struct Column {
    width: usize,
    right: bool,
}

/// Names and messages come from outside: what steers a terminal is shown and not obeyed.
pub(crate) fn shown(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_right_and_lines_end_with_their_text() {
        let mut table = Table::new(["NAME", "COUNT", "NOTE"]);
        table.row(["a".into(), "7".into(), String::new()]);
        table.row(["longer".into(), NONE.into(), "x\u{1b}[2J\ny".into()]);
        let expected = "NAME    COUNT  NOTE\na           7\nlonger      -  x\\u{1b}[2J\\ny\n";
        assert_eq!(Page::from(table).to_string(), expected);
    }

    #[test]
    fn parts_of_a_page_have_empty_lines_between_them() {
        let page = Page::default()
            .pairs(vec![("id", "1".into()), ("longer", "2".into())])
            .line("end");
        assert_eq!(page.to_string(), "id      1\nlonger  2\n\nend\n");
    }
}
