//! The newest so many events that a policy keeps, wherever they stand: months are counted from the newest one on. The default partition
//! has events of any time, before, between and after them.

use super::plan::{Cut, Partition, Plan, Policy, text};
use crate::error::Result;
use crate::pg::query::{self, Arg};
use serde_json::Value as Json;
use std::collections::HashMap;

/// For policies by their number, the oldest event that is kept; no entry where all are.
pub type Cuts = HashMap<usize, Cut>;

/// The cuts of all policies that keep only so many events. Superuser.
pub fn cuts(partitions: &[Partition], policies: &[Policy]) -> Result<Cuts> {
    let mut cuts = Cuts::new();
    let mut open: Vec<Count> = Vec::new();
    for (policy, known) in policies.iter().enumerate() {
        match known.max_events {
            Some(0) => {
                cuts.insert(policy, ("infinity".to_owned(), i64::MAX));
            }
            Some(most) => open.push(Count::new(policy, most)),
            None => {}
        }
    }
    // What is anywhere comes first.
    let (anywhere, months): (Vec<_>, Vec<_>) = partitions
        .iter()
        .partition(|partition| partition.is_default);
    for partition in anywhere.into_iter().chain(months) {
        if open.is_empty() {
            break;
        }
        let plan = Plan::by_age(partition, policies)?;
        for mut count in std::mem::take(&mut open) {
            count.add(partition, &plan);
            if count.is_complete() {
                cuts.extend(count.cut()?.map(|cut| (count.policy, cut)));
            } else {
                open.push(count);
            }
        }
    }
    for count in open {
        cuts.extend(count.cut()?.map(|cut| (count.policy, cut)));
    }
    Ok(cuts)
}

/// The events of one policy, counted as far as needed.
struct Count {
    policy: usize,
    most: u64,
    /// Those that have events in `parts`.
    groups: Vec<Json>,
    /// The partitions with any, the default one first.
    parts: Vec<String>,
    is_anywhere: bool,
    /// How many the months have, and how many but for the last one.
    months: u64,
    before_last: u64,
}

impl Count {
    fn new(policy: usize, most: u64) -> Self {
        Self {
            policy,
            most,
            groups: Vec::new(),
            parts: Vec::new(),
            is_anywhere: false,
            months: 0,
            before_last: 0,
        }
    }

    fn add(&mut self, partition: &Partition, plan: &Plan) {
        let events: u64 = plan.of(self.policy).map(|group| group.events).sum();
        if events == 0 {
            return;
        }
        self.parts.push(partition.oid.clone());
        let keys = plan
            .of(self.policy)
            .map(|group| Json::Object(group.key.clone()));
        self.groups.extend(keys);
        if partition.is_default {
            self.is_anywhere = true;
        } else {
            self.before_last = self.months;
            self.months += events;
        }
    }

    /// Whether older months can have none of the newest.
    fn is_complete(&self) -> bool {
        self.months >= self.most
    }

    /// The oldest of the newest; None where there are no more than that.
    fn cut(&self) -> Result<Option<Cut>> {
        let (parts, events) = if self.is_anywhere {
            (self.parts.as_slice(), self.most)
        } else if self.is_complete() {
            let last = self.parts.len().saturating_sub(1);
            (&self.parts[last..], self.most - self.before_last)
        } else {
            return Ok(None);
        };
        let rows = query::rows(
            "SELECT pg_catalog.to_jsonb(cut_time) #>> '{}', cut_id \
             FROM audit.newest_kept($1::pg_catalog.oid[]::pg_catalog.regclass[], $2::pg_catalog.jsonb, $3::pg_catalog.int8)",
            &[
                Arg::Text(&format!("{{{}}}", parts.join(","))),
                Arg::Text(&Json::from(self.groups.clone()).to_string()),
                Arg::Text(&events.to_string()),
            ],
        )?;
        let cut = rows.first().map(|row| {
            let id = text(row, 1).parse().unwrap_or(i64::MIN);
            (text(row, 0), id)
        });
        Ok(cut)
    }
}
