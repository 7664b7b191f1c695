//! Who acts and why: read once per statement, the same for all of its events.

use super::sqlcommenter;
use crate::pg::cell::Backend;
use crate::pg::datum::Varlena;
use crate::pg::{context_source as source, fmgr, guc, invalidation};
use crate::settings::{self, ContextSetting};
use pgrx::pg_sys;
use serde_json::{Map, Value as Json};
use std::cell::{OnceCell, RefCell};

/// The longest id that is kept: ids are indexed, and a btree entry has to fit on a third of a page.
pub const MAX_ID_BYTES: usize = 1000;

/// The context of a statement.
pub struct Context {
    pub session_user: Varlena,
    pub effective_role: Varlena,
    pub app_user_id: Option<Varlena>,
    pub request_id: Option<Varlena>,
    pub process_id: Option<Varlena>,
    pub session_id: Option<Varlena>,
    pub tenant_id: Option<Varlena>,
    pub reason: Option<Varlena>,
    pub application_name: Option<Varlena>,
    pub client_addr: Option<Varlena>,
    pub backend_pid: i32,
    /// `audit.context`, and the session's time zone where it is not UTC.
    pub extra: Option<Varlena>,
}

impl Context {
    /// The context now in force.
    pub fn current() -> Self {
        let comment = Comment::of_statement();
        let read =
            |field: &str| field_value(field, &comment).map(|value| Varlena::text(value.as_bytes()));
        let application_name = source::application_name();
        Self {
            session_user: role(source::session_user()),
            effective_role: role(source::current_user()),
            app_user_id: read("app_user_id"),
            request_id: read("request_id"),
            process_id: read("process_id"),
            session_id: read("session_id"),
            tenant_id: read("tenant_id"),
            reason: read("reason"),
            application_name: (!application_name.is_empty())
                .then(|| Varlena::text(application_name)),
            client_addr: client_address(),
            backend_pid: source::backend_pid(),
            extra: extra_of_session(),
        }
    }

    /// The session's context with more keys: for events that say more.
    pub fn extra_with(additional: Map<String, Json>) -> Option<Varlena> {
        let mut object = session_object();
        object.extend(additional.clone());
        if object.is_empty() {
            return None;
        }
        let extra = fmgr::jsonb_from_json(&json_text(object)).map(Varlena::whole);
        extra.or_else(|| {
            // What the session says, and is no JSONB, must not keep what we say from being read.
            let mut object = representable(session_object());
            object.extend(additional);
            to_jsonb(object)
        })
    }
}

/// The statement's sqlcommenter comment, if it is to be read.
struct Comment(Option<String>);

impl Comment {
    fn of_statement() -> Self {
        if !settings::READ_SQLCOMMENTER.get() {
            return Self(None);
        }
        Self(source::client_statement().map(source::to_utf8))
    }
}

/// The value of a context field: the setting's, else the comment's.
fn field_value(field: &str, comment: &Comment) -> Option<String> {
    let setting = settings::CONTEXT_SETTINGS
        .iter()
        .find(|setting| setting.field == field)?;
    let value = setting_value(setting).or_else(|| {
        let statement = comment.0.as_deref()?;
        let found = sqlcommenter::find(statement, field);
        if field == "request_id" {
            found.or_else(|| sqlcommenter::trace_id(statement))
        } else {
            found
        }
    })?;
    Some(if field == "reason" {
        value
    } else {
        cut(value, MAX_ID_BYTES)
    })
}

/// A setting's value; empty is none.
pub fn setting_value(setting: &ContextSetting) -> Option<String> {
    guc::text(setting.setting).filter(|value| !value.is_empty())
}

/// A field of the context now in force.
pub fn field(field: &str) -> Option<String> {
    field_value(field, &Comment::of_statement())
}

/// Whether the field has a value now, other than blanks: for `require`.
pub fn is_set(field: &str) -> bool {
    self::field(field).is_some_and(|value| !value.trim().is_empty())
}

/// A text of at most so many bytes; a longer one ends in a mark.
pub fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let end = (0..=max_bytes)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A role's name, remembered until some role changes.
fn role(oid: pg_sys::Oid) -> Varlena {
    type Names = (u64, Vec<(pg_sys::Oid, Varlena)>);
    static NAMES: Backend<RefCell<Names>> = Backend::refcell((0, Vec::new()));
    let epoch = invalidation::epoch();
    {
        let names = NAMES.borrow();
        if names.0 == epoch
            && let Some((_, name)) = names.1.iter().find(|(known, _)| *known == oid)
        {
            return name.clone();
        }
    }
    let name = Varlena::text(&source::role_name(oid));
    let mut names = NAMES.borrow_mut();
    if names.0 != epoch || names.1.len() >= 16 {
        names.1.clear();
        names.0 = epoch;
    }
    names.1.push((oid, name.clone()));
    name
}

fn client_address() -> Option<Varlena> {
    static ADDRESS: Backend<OnceCell<Option<Varlena>>> = Backend::once();
    ADDRESS
        .get_or_init(|| source::client_address().map(Varlena::whole))
        .clone()
}

/// `audit.context` and the time zone as jsonb, remembered while neither changes.
fn extra_of_session() -> Option<Varlena> {
    type Remembered = (Option<std::ffi::CString>, Vec<u8>, Option<Varlena>);
    static LAST: Backend<RefCell<Option<Remembered>>> = Backend::refcell(None);
    let setting = settings::CONTEXT.get();
    let zone = source::session_time_zone();
    if let Some((known_setting, known_zone, extra)) = LAST.borrow().as_ref()
        && *known_setting == setting
        && known_zone == zone
    {
        return extra.clone();
    }
    let extra = to_jsonb(session_object());
    *LAST.borrow_mut() = Some((setting, zone.to_vec(), extra.clone()));
    extra
}

fn extra_setting() -> Option<String> {
    settings::CONTEXT_SETTINGS
        .iter()
        .find(|setting| setting.field == "extra")
        .and_then(setting_value)
}

fn session_object() -> Map<String, Json> {
    let mut object = Map::new();
    let zone = source::session_time_zone();
    if !matches!(zone, b"UTC" | b"Etc/UTC" | b"GMT") {
        object.insert("time_zone".into(), source::to_utf8(zone).into());
    }
    if let Some(text) = extra_setting() {
        match serde_json::from_str(&text) {
            Ok(Json::Object(more)) => object.extend(more),
            // SET takes any text; the write goes on, and what was meant is kept.
            _ => {
                object.insert("unparsed".into(), text.into());
            }
        }
    }
    object
}

/// The object as jsonb; None when it is empty.
fn to_jsonb(object: Map<String, Json>) -> Option<Varlena> {
    if object.is_empty() {
        return None;
    }
    let text = json_text(object);
    fmgr::jsonb_from_json(&text)
        .or_else(|| fmgr::jsonb_from_json(&Json::Object(unparsed(text)).to_string()))
        .map(Varlena::whole)
}

/// The object, or where it is no JSONB (a number past numeric's range, for one), its text as one of its members.
fn representable(object: Map<String, Json>) -> Map<String, Json> {
    let text = json_text(object.clone());
    if object.is_empty() || fmgr::jsonb_from_json(&text).is_some() {
        object
    } else {
        unparsed(text)
    }
}

fn unparsed(text: String) -> Map<String, Json> {
    Map::from_iter([("unparsed".to_owned(), text.into())])
}

fn json_text(object: Map<String, Json>) -> String {
    let mut json = Json::Object(object);
    strip_nul(&mut json);
    json.to_string()
}

/// JSONB has no `\u0000`.
fn strip_nul(json: &mut Json) {
    match json {
        Json::String(text) => text.retain(|c| c != '\0'),
        Json::Array(elements) => elements.iter_mut().for_each(strip_nul),
        Json::Object(object) => {
            *object = std::mem::take(object)
                .into_iter()
                .map(|(key, mut value)| {
                    strip_nul(&mut value);
                    (key.replace('\0', ""), value)
                })
                .collect();
        }
        _ => {}
    }
}
