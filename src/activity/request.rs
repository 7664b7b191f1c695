//! `audit.log_request`: a request that the application served, or one that it sent to somebody else's API.

use super::redact::Secrets;
use super::said;
use crate::act::Act;
use crate::capture::context::{self, MAX_ID_BYTES};
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::jsonb_arg::JsonbArg;
use crate::pg::xact;
use pgrx::prelude::*;
use serde_json::{Map, Number, Value as Json};

/// The arguments of `audit.log_request` that are kept in the event's context, under the key `request`.
struct Request<'a> {
    method: &'a str,
    status_code: Option<i32>,
    response_time_ms: Option<f64>,
    success: bool,
    error: Option<String>,
    provider: Option<&'a str>,
    user_role: Option<&'a str>,
    user_agent: Option<String>,
    client_ip: Option<String>,
    data: Option<Map<String, Json>>,
}

impl Request<'_> {
    /// What is not known is left out.
    fn into_json(self) -> Map<String, Json> {
        let fields: [(&str, Option<Json>); 10] = [
            ("method", Some(self.method.to_ascii_uppercase().into())),
            ("status_code", self.status_code.map(Json::from)),
            (
                "response_time_ms",
                self.response_time_ms
                    .and_then(Number::from_f64)
                    .map(Json::from),
            ),
            ("success", Some(self.success.into())),
            ("error", self.error.map(Json::from)),
            ("provider", self.provider.map(Json::from)),
            ("user_role", self.user_role.map(Json::from)),
            ("user_agent", self.user_agent.map(Json::from)),
            ("client_ip", self.client_ip.map(Json::from)),
            ("data", self.data.map(Json::from)),
        ];
        fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// The severity where the caller gives none: who must act?
    fn severity(&self) -> &'static str {
        match self.status_code {
            _ if self.success => "info",
            Some(400..=499) => "warning",
            _ => "error",
        }
    }
}

/// `audit.log_request(…)`: returns the event's id.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL signature
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn log_request(
    endpoint: Option<&str>,
    method: Option<&str>,
    status_code: Option<i32>,
    response_time_ms: Option<f64>,
    success: Option<bool>,
    error_message: Option<&str>,
    provider: Option<&str>,
    request_data: Option<JsonbArg>,
    user_agent: Option<&str>,
    client_ip: Option<pgrx::Inet>,
    user_role: Option<&str>,
    category: Option<&str>,
    severity: Option<&str>,
    metadata: Option<JsonbArg>,
) -> i64 {
    xact::prevent_if_read_only(c"audit.log_request()");
    let record = || -> Result<i64> {
        let secrets = Secrets::default();
        let endpoint = secrets.redact_query(said::not_blank(endpoint, "endpoint")?);
        let endpoint = context::cut(endpoint, MAX_ID_BYTES);
        check_status(status_code)?;
        check_time(response_time_ms)?;
        let message = |text: Option<&str>| {
            text.filter(|text| !text.is_empty())
                .map(|text| said::cut(text, said::LONGEST_MESSAGE))
        };
        let error = message(error_message);
        let has_failed = error.is_some() || status_code.is_some_and(|code| code >= 400);
        let request = Request {
            method: said::name(method, "method")?,
            status_code,
            response_time_ms,
            success: success.unwrap_or(!has_failed),
            error: error.clone(),
            provider: said::optional_name(provider, "provider")?,
            user_role: said::optional_name(user_role, "user_role")?,
            user_agent: message(user_agent),
            client_ip: client_ip.map(|pgrx::Inet(address)| address),
            data: said::object(request_data.as_ref(), "request_data", &secrets)?,
        };
        let severity = said::severity(severity, request.severity())?;
        let mut said = super::said_of(metadata.as_ref(), &secrets)?;
        said.insert("request".into(), request.into_json().into());
        Act {
            category: Some(said::name(category.or(Some("request")), "category")?),
            severity: Some(severity),
            entity_type: Some("endpoint"),
            entity_id: Some(&endpoint),
            description: error.as_deref(),
            said,
            ..Act::new(EventKind::Event, "request")
        }
        .record()
    };
    or_raise(record())
}

/// RFC 9110, section 15: status codes have three digits, the first from 1 to 5.
fn check_status(code: Option<i32>) -> Result<()> {
    match code {
        Some(code) if !(100..=599).contains(&code) => Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "status_code is out of range",
        )
        .detail(format!("It is {code}."))
        .hint("HTTP has 100 to 599; NULL says that no answer came.")),
        _ => Ok(()),
    }
}

fn check_time(milliseconds: Option<f64>) -> Result<()> {
    match milliseconds {
        Some(time) if !(time.is_finite() && time >= 0.0) => Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "response_time_ms is out of range",
        )
        .detail(format!("It is {time}."))
        .hint("It is a number of milliseconds, 0 or more; NULL says that it was not measured.")),
        _ => Ok(()),
    }
}
