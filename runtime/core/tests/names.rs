//! Names that are shown, whatever is in them.

use stepback_core::*;

/// A token is hex, but a journal may be damaged: its name is shown all the same.
#[test]
fn a_name_of_what_has_none_is_shown_whatever_its_token_is() {
    let token = "aaaaaaaaaaaé".to_owned();
    let kind = ResourceKind::Volume;
    let made = Resource::Created { kind, host: None, token: token.clone() };
    assert_eq!(made.to_string(), "new:Volume/aaaaaaaaaaaé");
    let name = stepback_core::calls::run_once_name(&Token(format!("{token}{token}")));
    assert!(name.starts_with("stepback-aaaaaaaaaaaé"), "{name}");
}
