//! What a run of pgbench says about itself.

use anyhow::{Context, Result};

pub struct Report {
    pub transactions: i64,
    /// Transactions a second, without the time to connect.
    pub tps: f64,
}

/// Reads the output of one run.
pub fn report(output: &str) -> Result<Report> {
    parse(output).with_context(|| format!("cannot read pgbench's result: {output}"))
}

fn parse(text: &str) -> Option<Report> {
    let after = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let first = |rest: &str| {
        rest.split([' ', '/'])
            .find(|word| !word.is_empty())
            .map(str::to_owned)
    };
    Some(Report {
        transactions: first(after("number of transactions actually processed:")?)?
            .parse()
            .ok()?,
        tps: first(after("tps =")?)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_read() -> Result<()> {
        let text = "number of transactions actually processed: 10203\n\
                    latency average = 3.9 ms\n\
                    tps = 1020.55 (without initial connection time)\n";
        let report = report(text)?;
        assert_eq!(report.transactions, 10_203);
        assert!((report.tps - 1020.55).abs() < 0.001);
        Ok(())
    }
}
