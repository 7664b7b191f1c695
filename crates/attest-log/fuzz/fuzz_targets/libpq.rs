//! Password and service files, of any content: what is taken from them stands there.
#![no_main]

#[path = "../../../attest-cli/src/db/libpq_files.rs"]
mod libpq_files;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let wanted = ["db.example", "5432", "shop", "ann"];
    if let Some(password) = libpq_files::password(text, wanted) {
        assert!(password.chars().all(|character| text.contains(character)));
        assert!(!password.contains('\n'));
    }
    for (key, value) in libpq_files::service(text, "shop").unwrap_or_default() {
        assert!(text.contains(&key) && text.contains(&value));
        assert!(!key.contains('='));
    }
});
