//! Secrets that applications put into metadata: values whose keys look secret are replaced, at any depth.

use crate::settings::{self, NameParts};
use serde_json::{Map, Value as Json};
use std::cell::OnceCell;

/// What stands in place of a secret, as in masked columns.
const REDACTED: &str = "***";

/// The parts of names that look secret now: the setting `audit.redact_keys`, read when the first name is looked at.
#[derive(Default)]
pub struct Secrets(OnceCell<NameParts>);

impl Secrets {
    fn has_part(&self, name: &str) -> bool {
        let parts = self.0.get_or_init(|| {
            let setting = settings::REDACT_KEYS.get().unwrap_or_default();
            NameParts::of(&setting.to_string_lossy())
        });
        parts.are_in(name)
    }

    /// Replaces the values of keys that look secret. What is null stays null.
    pub fn redact(&self, object: &mut Map<String, Json>) {
        for (key, value) in object {
            if self.has_part(key) {
                if !value.is_null() {
                    *value = REDACTED.into();
                }
            } else {
                self.redact_within(value);
            }
        }
    }

    fn redact_within(&self, value: &mut Json) {
        match value {
            Json::Object(object) => self.redact(object),
            Json::Array(elements) => elements
                .iter_mut()
                .for_each(|element| self.redact_within(element)),
            _ => {}
        }
    }

    /// A URL with the values of secret-looking query parameters replaced.
    pub fn redact_query(&self, url: &str) -> String {
        let Some((path, query)) = url.split_once('?') else {
            return url.to_owned();
        };
        let parameters: Vec<String> = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, value)) if !value.is_empty() && self.has_part(name) => {
                    format!("{name}={REDACTED}")
                }
                _ => parameter.to_owned(),
            })
            .collect();
        format!("{path}?{}", parameters.join("&"))
    }
}
