//! `audit.sign_off`: an auditor's review of a period is an event of the log too.
//!
//! Invariant: nobody signs off what only they themselves changed, neither under the name given nor as whoever calls.

use super::said;
use crate::act::Act;
use crate::capture::context;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::pg::context_source;
use crate::pg::jsonb_arg::JsonbArg;
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::xact;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json, json};

const OUTCOMES: [&str; 3] = ["approved", "approved with findings", "rejected"];

/// The changes of `$1` to `$2`, of the tables `$3` or all; `$4` and `$5` are the reviewer and whoever calls. One row.
const CHANGES: &str = include_str!("../../sql/sign_off_changes.sql");

/// `audit.sign_off_with(review jsonb)`: what `audit.sign_off` calls; returns the event's id.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn sign_off_with(review: Option<JsonbArg>) -> i64 {
    xact::prevent_if_read_only(c"audit.sign_off()");
    or_raise(required(review, "review").and_then(|review| sign_off(&review)))
}

fn sign_off(review: &JsonbArg) -> Result<i64> {
    let review = said::plain_object(review, "review")?;
    let text = |key: &str| review.get(key).and_then(Json::as_str);
    let outcome = one_of_outcomes(said::name(text("outcome"), "outcome")?)?;
    let remarks = said::optional_text(text("remarks"), "remarks")?;
    let caller = caller();
    let reviewer = said::name(Some(text("reviewer").unwrap_or(&caller)), "reviewer")?;
    let scope = review.get("scope").map_or("[]".to_owned(), Json::to_string);
    let (since, until) = (
        text("since").unwrap_or_default(),
        text("until").unwrap_or_default(),
    );

    let found = {
        let _superuser = ActAsSuperuser::new();
        query::rows(
            CHANGES,
            &[
                Arg::Text(since),
                Arg::Text(until),
                Arg::Text(&scope),
                Arg::Text(reviewer),
                Arg::Text(&caller),
            ],
        )?
    };
    let found: Vec<Option<String>> = found.into_iter().flatten().collect();
    let [
        changes,
        actors,
        last_event_id,
        by_others_than_reviewer,
        by_others_than_caller,
        is_over,
        tables,
    ] = found.as_slice()
    else {
        return Err(AttestError::new(
            SqlState::ERRCODE_INTERNAL_ERROR,
            "the changes of the period could not be counted",
        ));
    };
    let number = |cell: &Option<String>| -> i64 {
        cell.as_ref()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    if is_over.as_deref() != Some("t") {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "the period is not over",
        )
        .detail(format!("It ends {until}."))
        .hint("Sign off what has happened: until => now() at the latest."));
    }
    for (name, by_others) in [
        (reviewer, by_others_than_reviewer),
        (caller.as_str(), by_others_than_caller),
    ] {
        if number(changes) > 0 && number(by_others) == 0 {
            return Err(AttestError::new(
                SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "a reviewer cannot sign off what nobody else changed",
            )
            .detail(format!(
                "All {} changes of the period in scope are by \"{name}\".",
                number(changes)
            ))
            .hint("Let somebody else review them."));
        }
    }

    let tables: Json = tables
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!([]));
    let mut said = Map::new();
    said.insert(
        "review".into(),
        json!({
            "since": since, "until": until, "scope": tables, "reviewer": reviewer, "outcome": outcome,
            "changes": number(changes), "actors": number(actors),
            "last_event_id": last_event_id.as_ref().map(|_| number(last_event_id)),
        }),
    );
    Act {
        category: Some("review"),
        severity: Some("info"),
        description: remarks,
        said,
        ..Act::new(EventKind::System, "sign off")
    }
    .record()
}

/// Who calls: the application's user, else the session's.
fn caller() -> String {
    context::field("app_user_id").unwrap_or_else(|| {
        context_source::to_utf8(&context_source::role_name(context_source::session_user()))
    })
}

fn one_of_outcomes(outcome: &str) -> Result<&str> {
    if OUTCOMES.contains(&outcome) {
        return Ok(outcome);
    }
    Err(AttestError::new(
        SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("unknown outcome '{outcome}'"),
    )
    .detail("A review ends in one of a fixed list of outcomes.")
    .hint(format!("It is one of {}.", OUTCOMES.join(", "))))
}
