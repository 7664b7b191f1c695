//! Every setting, with its reason.
//!
//! Context settings are for everyone and meant for `SET LOCAL`; what weakens the guards is for superusers alone.

use crate::error::{AttestError, Result, SqlState};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

type Text = GucSetting<Option<CString>>;

/// The correlation ids and whos that an application sets: one field of the event each.
pub static REQUEST_ID: Text = Text::new(None);
pub static PROCESS_ID: Text = Text::new(None);
pub static APP_USER_ID: Text = Text::new(None);
pub static SESSION_ID: Text = Text::new(None);
pub static TENANT_ID: Text = Text::new(None);
pub static REASON: Text = Text::new(None);
/// A JSON object merged into the event's `context`.
pub static CONTEXT: Text = Text::new(None);

/// Read ids from a sqlcommenter comment. Off by default: a comment costs a look at each statement's text.
pub static READ_SQLCOMMENTER: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Lets rows be written to the log by SQL: for restores.
pub static RESTORE: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Lets DROP EXTENSION take events with it.
pub static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);

/// What a name contains when its values look secret: masked columns by default, and keys of applications' metadata. Behind a minus,
/// what does not make it so: a language model's tokens are a count.
macro_rules! secret_names {
    () => {
        "password,passwd,passphrase,secret,token,-input_tokens,-output_tokens,-total_tokens,-prompt_tokens,-completion_tokens,\
         api_key,private_key,credential"
    };
}

/// Of columns: `audit.attach` masks them unless it is told otherwise.
pub const SECRET_COLUMNS: &str = secret_names!();

/// Of keys in applications' metadata: those of columns, and the headers and fields that requests carry.
const SECRET_KEYS: &CStr = match CStr::from_bytes_with_nul(
    concat!(secret_names!(), ",authorization,cookie,card_number,cvv\0").as_bytes(),
) {
    Ok(text) => text,
    Err(_) => panic!("ends in one NUL byte"),
};

/// A superuser's: whoever may change it may let secrets into the log.
pub static REDACT_KEYS: Text = Text::new(Some(SECRET_KEYS));

/// Parts of names, as a list of a setting has them; in the form in which names are compared.
#[derive(Default)]
pub struct NameParts {
    parts: Vec<String>,
    /// What is left out of a name before it is compared.
    exempt: Vec<String>,
}

impl NameParts {
    /// Those of a list; with a minus before what is exempt.
    pub fn of(list: &str) -> Self {
        let mut found = Self::default();
        for word in list.split(',') {
            let list = if word.trim_start().starts_with('-') {
                &mut found.exempt
            } else {
                &mut found.parts
            };
            list.extend(Some(plain(word)).filter(|part| !part.is_empty()));
        }
        found
    }

    /// Whether the name contains one of the parts: case and everything that is no letter or digit aside, so that `apiKey` and
    /// `X-Api-Key` have the part `api_key`.
    pub fn are_in(&self, name: &str) -> bool {
        let mut name = plain(name);
        for exempt in &self.exempt {
            name = name.replace(exempt.as_str(), " ");
        }
        self.parts.iter().any(|part| name.contains(part.as_str()))
    }
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// How often the worker seals, in milliseconds; 0: not at all.
pub static SEAL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
/// How often the worker prunes and tidies up, in seconds; 0: not at all.
pub static RETENTION_SCHEDULE: GucSetting<i32> = GucSetting::<i32>::new(86_400);
/// The server's own signing key; a key that the superuser can read proves nothing against the superuser.
pub static SIGNING_KEY_FILE: Text = Text::new(None);
/// Public keys whose signatures of checkpoints must hold.
pub static TRUSTED_KEYS: Text = Text::new(None);

/// A context setting: its name in events and in `require`, its GUC, its variable.
pub struct ContextSetting {
    pub field: &'static str,
    pub guc: &'static CStr,
    pub setting: &'static Text,
    description: &'static CStr,
}

/// In the order of `audit.set_context`'s arguments.
pub static CONTEXT_SETTINGS: [ContextSetting; 7] = [
    ContextSetting {
        field: "request_id",
        guc: c"audit.request_id",
        setting: &REQUEST_ID,
        description: c"Request that causes the changes.",
    },
    ContextSetting {
        field: "process_id",
        guc: c"audit.process_id",
        setting: &PROCESS_ID,
        description: c"Process that makes the changes.",
    },
    ContextSetting {
        field: "app_user_id",
        guc: c"audit.app_user_id",
        setting: &APP_USER_ID,
        description: c"User of the application who acts.",
    },
    ContextSetting {
        field: "reason",
        guc: c"audit.reason",
        setting: &REASON,
        description: c"Why the change is made.",
    },
    ContextSetting {
        field: "session_id",
        guc: c"audit.session_id",
        setting: &SESSION_ID,
        description: c"Session of the application.",
    },
    ContextSetting {
        field: "tenant_id",
        guc: c"audit.tenant_id",
        setting: &TENANT_ID,
        description: c"Tenant for whom the change is made.",
    },
    ContextSetting {
        field: "extra",
        guc: c"audit.context",
        setting: &CONTEXT,
        description: c"JSON object kept in the context of each event.",
    },
];

/// Refuses a field that `require` cannot ask for: `extra` is free-form.
pub fn check_requirable(field: &str) -> Result<()> {
    let requirable: Vec<_> = CONTEXT_SETTINGS
        .iter()
        .map(|setting| setting.field)
        .filter(|field| *field != "extra")
        .collect();
    if requirable.contains(&field) {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("\"{field}\" cannot be required"),
    )
    .detail("It is no field of the context that has one value.")
    .hint(format!("These can be: {}.", requirable.join(", "))))
}

/// Registers the settings; called once, when the library is loaded.
pub fn init() {
    for setting in &CONTEXT_SETTINGS {
        GucRegistry::define_string_guc(
            setting.guc,
            setting.description,
            c"Set it with SET LOCAL or audit.set_context(), so that it ends with the transaction.",
            setting.setting,
            GucContext::Userset,
            GucFlags::default(),
        );
    }
    GucRegistry::define_bool_guc(
        c"audit.read_sqlcommenter",
        c"Read request and process ids from a sqlcommenter comment in the statement.",
        c"A value set by audit.set_context() or SET wins over the comment.",
        &READ_SQLCOMMENTER,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"audit.restore",
        c"Allow SQL to write to the audit log, for pg_restore.",
        c"Superusers only. Leave it off otherwise: it is what keeps the log append-only.",
        &RESTORE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"audit.allow_drop",
        c"Allow DROP EXTENSION pg_attest while the log holds events.",
        c"Superusers only. The events are lost with the extension.",
        &ALLOW_DROP,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"audit.redact_keys",
        c"Parts of key names whose values are redacted in application events, separated by commas.",
        c"Case and punctuation do not count. Superusers only: without it, secrets stay in the log for good.",
        &REDACT_KEYS,
        GucContext::Suset,
        GucFlags::default(),
    );
    init_log();
    crate::pg::guc::reserve_prefix(c"audit");
}

/// The settings of the log.
fn init_log() {
    GucRegistry::define_int_guc(
        c"audit.seal_interval",
        c"Time between two seals of the background worker.",
        c"Events are exposed to superusers for this long. 0 turns the worker's seals off.",
        &SEAL_INTERVAL,
        0,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"audit.retention_schedule",
        c"Time between two upkeep runs of the background worker.",
        c"A run makes months ahead, prunes what is due, and deletes what audit.attach_cleanup() asks for. 0 turns them off.",
        &RETENTION_SCHEDULE,
        0,
        31_536_000,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_string_guc(
        c"audit.signing_key_file",
        c"File with the private key that signs checkpoints.",
        c"As attest keygen makes it; mode 0600 or 0400. A witness's signature is worth more.",
        &SIGNING_KEY_FILE,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"audit.trusted_keys",
        c"Public keys whose signatures of checkpoints are verified, separated by commas.",
        c"Verifier keys of C2SP signed notes: name+id+key. Old and new keys stand side by side.",
        &TRUSTED_KEYS,
        GucContext::Suset,
        GucFlags::default(),
    );
}

#[cfg(test)]
mod tests {
    use super::{NameParts, SECRET_COLUMNS};

    #[test]
    fn secrets_are_known_by_parts_of_their_names_and_counts_are_none() {
        let secrets = NameParts::of(SECRET_COLUMNS);
        for name in [
            "token",
            "tokens",
            "access_token",
            "refreshToken",
            "X-API-Token",
            "access_tokens",
            "input_token",
            "token_count",
            "input_tokens_secret",
            "passwordInputTokens",
            "API key",
            "total_tokens_token",
        ] {
            assert!(secrets.are_in(name), "{name}");
        }
        for name in [
            "input_tokens",
            "outputTokens",
            "total-tokens",
            "cache_read_input_tokens",
            "prompt_tokens_details",
            "note",
            "",
        ] {
            assert!(!secrets.are_in(name), "{name}");
        }
    }

    #[test]
    fn a_list_may_have_blanks_and_nothing() {
        let parts = NameParts::of(" note , - foot_notes,,-");
        assert!(parts.are_in("Notes") && parts.are_in("footnote"));
        assert!(!parts.are_in("footnotes") && !parts.are_in("word"));
        assert!(!NameParts::of("").are_in("password"));
    }
}
