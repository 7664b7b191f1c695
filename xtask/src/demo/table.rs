//! A table for people: columns as wide as their longest line, long lines wrapped.

/// Renders rows whose cells may have several lines.
pub fn render(headers: &[&str], widths: &[usize], rows: &[Vec<String>]) -> String {
    let cells: Vec<Vec<Vec<String>>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .zip(widths)
                .map(|(cell, width)| wrap(cell, *width))
                .collect()
        })
        .collect();
    let width_of = |column: usize| {
        let lines = cells.iter().filter_map(|row| row.get(column)).flatten();
        let longest = lines.map(|line| line.chars().count()).max().unwrap_or(0);
        longest.max(
            headers
                .get(column)
                .map_or(0, |header| header.chars().count()),
        )
    };
    let columns: Vec<usize> = (0..headers.len()).map(width_of).collect();
    let rule: String = columns
        .iter()
        .map(|width| "─".repeat(width + 2))
        .collect::<Vec<_>>()
        .join("┼");
    let header: Vec<Vec<String>> = headers
        .iter()
        .map(|header| vec![(*header).to_owned()])
        .collect();
    let mut text = lines_of(&header, &columns);
    for row in &cells {
        text.push_str(&rule);
        text.push('\n');
        text.push_str(&lines_of(row, &columns));
    }
    text
}

fn lines_of(row: &[Vec<String>], columns: &[usize]) -> String {
    let height = row.iter().map(Vec::len).max().unwrap_or(0);
    let line = |at: usize| {
        let cells: Vec<String> = row
            .iter()
            .zip(columns)
            .map(|(cell, width)| format!(" {:width$} ", cell.get(at).map_or("", String::as_str)))
            .collect();
        format!("{}\n", cells.join("│").trim_end())
    };
    (0..height).map(line).collect()
}

/// Breaks each line between words so that it fits; a longer word stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let fits = line.chars().count() + 1 + word.chars().count() <= width;
            if !line.is_empty() && !fits {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_wrap_and_align() {
        let rows = vec![vec!["a".to_owned(), "one two three".to_owned()]];
        assert_eq!(
            render(&["x", "words"], &[5, 7], &rows),
            " x │ words\n───┼─────────\n a │ one two\n   │ three\n"
        );
    }
}
