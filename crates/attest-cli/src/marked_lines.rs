//! The lines of many files that hold some bytes, in the order of the files: what most of them do not hold is only looked through, in
//! large blocks, by several threads.

use crate::layout;
use anyhow::{Context, Result};
use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// What is read at once, at least; a line that is longer takes its length.
const BLOCK: usize = 1 << 20;

/// Calls `each` with the lines that hold `marker`, without their newlines, and the position of the file each is of. A file that is not
/// there has no lines.
///
/// # Errors
/// Those of reading and of `each`.
pub fn read(
    paths: &[PathBuf],
    marker: &[u8],
    threads: usize,
    mut each: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let marker = Finder::new(marker);
    // A line at most of each file waits to be taken, and few files are begun before: lines may be long. They are begun in order: that of
    // which lines are taken is never waited for in vain.
    let (begin, under_way) = sync_channel(2 * threads.max(1));
    let (tell, told): (Vec<_>, Vec<Receiver<Result<Vec<u8>>>>) =
        paths.iter().map(|_| sync_channel(1)).unzip();
    let files = Arc::new(Mutex::new(paths.iter().zip(tell)));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (files, marker, begin) = (Arc::clone(&files), &marker, begin.clone());
            scope.spawn(move || {
                while begin.send(()).is_ok()
                    && let Some((path, tell)) = next(&files)
                {
                    if search(path, marker, &tell).is_break() {
                        break;
                    }
                }
            });
        }
        // The threads alone tell, and end when nobody listens: neither waits for the other in vain.
        drop(files);
        let (told, under_way) = (told, under_way);
        for (file, lines) in told.iter().enumerate() {
            for line in lines {
                each(file, &line?)?;
            }
            // It was begun, and is done with.
            let _ = under_way.recv();
        }
        Ok(())
    })
}

/// The next one, whoever asks.
fn next<T>(of: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    of.lock().ok()?.next()
}

/// Tells the lines of a file; breaks when nobody listens any more.
fn search(path: &Path, marker: &Finder<'_>, tell: &SyncSender<Result<Vec<u8>>>) -> ControlFlow<()> {
    let say = |line| match tell.send(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let found = match layout::open(path) {
        Ok(Some(mut file)) => lines(&mut file, marker, &mut |line| say(Ok(line.to_vec()))),
        Ok(None) => return ControlFlow::Continue(()),
        Err(error) => Err(error),
    };
    match found.with_context(|| format!("cannot read {}", path.display())) {
        Ok(go_on) => go_on,
        Err(error) => say(Err(error)),
    }
}

/// Calls `each` with the lines that hold the marker, until it breaks.
fn lines(
    file: &mut impl Read,
    marker: &Finder<'_>,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let mut buffer = vec![0; BLOCK];
    let mut filled = 0;
    loop {
        let read = match file.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        // Whole lines, but for the file's last one.
        let whole = match memrchr(b'\n', &buffer[filled..filled + read]) {
            Some(last) => filled + last + 1,
            None if read == 0 => filled,
            None => 0,
        };
        filled += read;
        let mut block = &buffer[..whole];
        while let Some(hit) = marker.find(block) {
            let start = memrchr(b'\n', &block[..hit]).map_or(0, |before| before + 1);
            let end = memchr(b'\n', &block[hit..]).map_or(block.len(), |length| hit + length);
            if each(&block[start..end]).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            block = &block[end..];
        }
        if read == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{BLOCK, Finder, lines, read};
    use anyhow::bail;
    use std::fmt::Write;
    use std::fs;
    use std::io::Read;
    use std::ops::ControlFlow;
    use std::path::PathBuf;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let few = into.len().min(self.1);
            self.0.read(&mut into[..few])
        }
    }

    fn found(text: &[u8], at_once: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut each = |line: &[u8]| {
            all.push(line.to_vec());
            ControlFlow::Continue(())
        };
        let marker = Finder::new("mark");
        let done = lines(&mut Slow(text, at_once), &marker, &mut each).unwrap();
        assert!(done.is_continue());
        all
    }

    /// As whoever reads line by line finds them.
    fn wanted(text: &[u8]) -> Vec<Vec<u8>> {
        let marked = |line: &&[u8]| line.windows(4).any(|window| window == b"mark");
        let all = text.split(|byte| *byte == b'\n').filter(marked);
        all.map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn lines_are_found_wherever_a_block_ends() {
        let text = b"\n\nmark\nno\na mark and a mark\nmar\nk\n mark";
        for at_once in 1..=text.len() {
            assert_eq!(found(text, at_once), wanted(text), "{at_once} at once");
        }
        for text in [
            &b""[..],
            b"\n",
            b"mark",
            b"mark\n",
            b"mar",
            b"mark\nmark\n\n",
        ] {
            assert_eq!(found(text, 3), wanted(text));
        }
    }

    #[test]
    fn a_marker_may_lie_across_two_blocks_and_a_line_may_be_longer_than_one() {
        for before in BLOCK - 6..BLOCK + 2 {
            let filler = vec![b'-'; before];
            let ends = [&filler[..], b"mark\nnext\nmark"].concat();
            assert_eq!(found(&ends, usize::MAX), wanted(&ends), "{before} before");
            let short = [&filler[..before - 1], b"\nmark one\nmark two\nmar"].concat();
            assert_eq!(found(&short, usize::MAX), wanted(&short), "{before} before");
        }
        let long = vec![b'-'; 3 * BLOCK];
        let text = [
            b"a\n",
            &long[..],
            b"mark",
            &long[..],
            b"\nb\n",
            &long[..],
            b"\nmark",
        ]
        .concat();
        assert_eq!(found(&text, usize::MAX), wanted(&text));
    }

    fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
        let path = |number: usize| folder.path().join(number.to_string());
        for number in 0..40 {
            let mut text = String::new();
            for line in 0..number {
                let filler = "-".repeat(line * 999);
                writeln!(text, "{filler}mark {number} {line}\n-").unwrap();
            }
            // Of some there is none.
            if number % 7 != 3 {
                fs::write(path(number), text).unwrap();
            }
        }
        (0..40).map(path).collect()
    }

    #[test]
    fn lines_come_in_order_from_however_many_threads() {
        let folder = tempfile::tempdir().unwrap();
        let paths = files(&folder);
        let wanted: Vec<String> = (0..40)
            .filter(|number| number % 7 != 3)
            .flat_map(|number| {
                (0..number).map(move |line| format!("{number} mark {number} {line}"))
            })
            .collect();
        for threads in [0, 1, 2, 7, 64] {
            let mut told = Vec::new();
            read(&paths, b"mark", threads, |file, line| {
                let line = str::from_utf8(line).map_err(anyhow::Error::from)?;
                told.push(format!("{file} {}", line.trim_start_matches('-')));
                Ok(())
            })
            .unwrap();
            assert_eq!(told, wanted, "{threads} threads");
        }
    }

    #[test]
    fn it_ends_with_the_first_error() {
        let folder = tempfile::tempdir().unwrap();
        let paths = files(&folder);
        let mut told = 0;
        let refused = read(&paths, b"mark", 3, |_, _| {
            told += 1;
            bail!("enough")
        });
        assert_eq!(
            (refused.unwrap_err().to_string(), told),
            ("enough".into(), 1)
        );
    }
}
