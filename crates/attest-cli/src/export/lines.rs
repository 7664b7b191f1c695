//! Files of lines that grow at their end.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Takes lines off the end of a file until one is to be kept; a line without its newline is not.
pub fn cut(path: &Path, mut keep: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let about = || format!("cannot cut {}", path.display());
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.with_context(about)?,
    };
    let length = file.metadata().with_context(about)?.len();
    let mut end = length;
    // Behind the last newline there is no line.
    let mut line = last_line(&file, end).with_context(about)?;
    end -= line.len() as u64;
    while end > 0 {
        line = last_line(&file, end - 1).with_context(about)?;
        if keep(&line) {
            break;
        }
        end -= line.len() as u64 + 1;
    }
    if end < length {
        file.set_len(end).with_context(about)?;
    }
    Ok(())
}

/// The bytes from the last newline before `end` up to it.
fn last_line(file: &File, end: u64) -> std::io::Result<Vec<u8>> {
    const BLOCK: u64 = 1 << 16;
    let mut line = Vec::new();
    let mut start = end;
    while start > 0 {
        let from = start.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(start - from).unwrap_or_default()];
        file.read_exact_at(&mut block, from)?;
        let newline = block.iter().rposition(|byte| *byte == b'\n');
        let rest = block.split_off(newline.map_or(0, |at| at + 1));
        line.splice(0..0, rest);
        if newline.is_some() {
            break;
        }
        start = from;
    }
    Ok(line)
}

/// The objects of a JSON Lines file that can be read; none where there is no file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = T>> {
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let lines = file
        .into_iter()
        .flat_map(|file| BufReader::new(file).lines());
    Ok(lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok()))
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn lines_are_cut_from_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(200_000);
        for (before, after) in [
            ("", String::new()),
            ("keep\n", "keep\n".to_owned()),
            ("keep\nkeep\ncut\ncut\n", "keep\nkeep\n".to_owned()),
            ("cut\n", String::new()),
            ("keep\nkee", "keep\n".to_owned()),
            (&format!("keep\n{long}\n{long}"), "keep\n".to_owned()),
        ] {
            std::fs::write(file.path(), before).unwrap();
            cut(file.path(), |line| line == b"keep").unwrap();
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), after);
        }
    }
}
