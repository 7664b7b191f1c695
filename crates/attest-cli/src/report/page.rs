//! The page: everything that the template shows, already as text. Askama escapes all of it.

use super::chart::{Chart, HEIGHT, LEFT, WIDTH};
use super::text::grouped;
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "report.html")]
pub struct Page {
    pub version: &'static str,
    pub database: String,
    pub period: String,
    /// When the page was made.
    pub made: String,
    pub verification: Verification,
    pub facts: Vec<Line>,
    pub chart: Chart,
    pub sections: Vec<Section>,
}

/// What verification said.
#[derive(Debug)]
pub struct Verification {
    pub ok: bool,
    pub verdict: String,
    pub about: String,
    pub findings: Vec<String>,
    pub epochs: Vec<Vec<Line>>,
    pub notes: Vec<String>,
}

/// A name and what belongs to it.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub value: String,
}

/// A table with its heading.
#[derive(Debug)]
pub struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// What stands in place of a table without rows.
    pub none: &'static str,
    pub columns: Vec<Column>,
    /// The first rows.
    pub rows: Vec<Vec<Cell>>,
    /// How many rows there are.
    pub total: u64,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// Numbers stand at the right.
    pub number: bool,
}

#[derive(Debug)]
pub struct Cell {
    pub text: String,
    pub number: bool,
    /// Of the largest number in this column, in percent.
    pub share: Option<u64>,
}

impl Section {
    pub fn total(&self) -> String {
        grouped(self.total)
    }

    /// How many rows are not shown.
    pub fn more(&self) -> u64 {
        self.total - self.rows.len() as u64
    }

    pub fn more_text(&self) -> String {
        format!(
            "… and {} more, which are not shown here.",
            grouped(self.more())
        )
    }
}

/// The template draws in these units.
impl Chart {
    #[expect(clippy::unused_self, reason = "templates call methods alone")]
    pub fn width(&self) -> f64 {
        WIDTH
    }

    #[expect(clippy::unused_self, reason = "templates call methods alone")]
    pub fn height(&self) -> f64 {
        HEIGHT
    }

    #[expect(clippy::unused_self, reason = "templates call methods alone")]
    pub fn left(&self) -> f64 {
        LEFT
    }
}
