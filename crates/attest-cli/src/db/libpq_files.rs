//! The form of files that libpq reads: PostgreSQL's documentation, "The Password File" and "The Connection Service File".

/// The password of the first line that fits these: host, port, database, user.
pub fn password(text: &str, wanted: [&str; 4]) -> Option<String> {
    let fits = |fields: &Vec<String>| {
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == *wanted;
        fields.len() >= 5 && fields.iter().zip(&wanted).all(fits)
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut fitting = lines.map(fields).filter(fits);
    fitting.next().map(|mut fields| fields.swap_remove(4))
}

/// Fields between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            ':' if last < 4 => fields.push(String::new()),
            '\\' => fields[last].extend(characters.next()),
            _ => fields[last].push(character),
        }
    }
    fields
}

/// The settings of a service; None where it is not there.
pub fn service(text: &str, name: &str) -> Option<Vec<(String, String)>> {
    let header = format!("[{name}]");
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| *line == header)?;
    let settings = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    Some(
        settings
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn a_line_of_the_password_file_is_cut_at_its_colons() {
        assert_eq!(
            fields(r"db\:1:5432:*:ann:p:w\\d"),
            ["db:1", "5432", "*", "ann", r"p:w\d"]
        );
    }
}
