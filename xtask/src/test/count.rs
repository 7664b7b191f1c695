//! How many tests passed and failed, read from what cargo and pg_regress print.

use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: u64,
    pub failed: u64,
}

impl Count {
    pub const ONE: Self = Self {
        passed: 1,
        failed: 0,
    };
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The sum of libtest's lines `test result: ok. 3 passed; 0 failed; …`.
pub fn cargo(log: &str) -> Count {
    let mut total = Count::default();
    for line in log.lines().filter(|line| line.starts_with("test result:")) {
        total += Count {
            passed: before(line, "passed"),
            failed: before(line, "failed"),
        };
    }
    total
}

/// pg_regress, one line a test: before PostgreSQL 16 `test x ... ok 12 ms`, since then TAP.
pub fn regress(log: &str) -> Count {
    let mut total = Count::default();
    for line in log.lines().map(str::trim_start) {
        if line.starts_with("not ok ") || (line.starts_with("test ") && line.contains("FAILED")) {
            total.failed += 1;
        } else if line.starts_with("ok ") || (line.starts_with("test ") && line.contains(" ok ")) {
            total.passed += 1;
        }
    }
    total
}

/// The number in front of a word.
fn before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
    words
        .iter()
        .position(|w| *w == word)
        .and_then(|at| words.get(at.checked_sub(1)?))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_lines_add_up() {
        let log = "test result: ok. 3 passed; 0 failed; 1 ignored\nnoise\n\
                   test result: FAILED. 2 passed; 1 failed; 0 ignored";
        assert_eq!(
            cargo(log),
            Count {
                passed: 5,
                failed: 1
            }
        );
    }

    #[test]
    fn both_styles_of_pg_regress_are_read() {
        let old = "test attach                       ... ok           12 ms\n\
                   test capture                      ... FAILED       34 ms\n";
        let tap = "ok 1         - attach       12 ms\nnot ok 2     - capture      34 ms\n1..2\n";
        assert_eq!(
            regress(old),
            Count {
                passed: 1,
                failed: 1
            }
        );
        assert_eq!(
            regress(tap),
            Count {
                passed: 1,
                failed: 1
            }
        );
    }
}
