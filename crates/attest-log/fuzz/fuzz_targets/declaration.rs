//! Declarations: what is read can be written and read again.
#![no_main]

use attest_log::declaration::Declaration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|context: &[u8]| {
    if let Some(declaration) = Declaration::parse(context) {
        let written = serde_json::Value::Object(declaration.members()).to_string();
        let again = Declaration::parse(written.as_bytes()).unwrap();
        assert_eq!(again.count, declaration.count);
        assert_eq!(again.root, declaration.root);
        assert_eq!(again.runs.to_json(), declaration.runs.to_json());
    }
});
