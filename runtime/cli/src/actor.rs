//! Who is at the terminal, as the journal and others are told.

use nix::unistd::{Uid, User};
use stepback_provider::locks::host;

/// Who is at the terminal: `user@host (uid N)`, by the system and not by a variable that anybody
/// sets; behind `sudo` also who called it.
pub fn actor() -> String {
    let uid = Uid::current();
    let user = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let sudo = std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty() && uid.is_root());
    who(user.as_deref(), uid.as_raw(), &host(), sudo.as_deref())
}

fn who(user: Option<&str>, uid: u32, host: &str, sudo: Option<&str>) -> String {
    let at = if host.is_empty() { String::new() } else { format!("@{host}") };
    let sudo = sudo.map(|user| format!(", sudo by {user}")).unwrap_or_default();
    match user {
        Some(user) => format!("{user}{at} (uid {uid}{sudo})"),
        None => format!("uid {uid}{at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_at_the_terminal_whatever_the_variables_say() {
        assert_eq!(who(Some("ann"), 1000, "box", None), "ann@box (uid 1000)");
        assert_eq!(who(Some("root"), 0, "box", Some("ann")), "root@box (uid 0, sudo by ann)");
        assert_eq!(who(None, 4242, "box", None), "uid 4242@box");
        assert_eq!(who(Some("ann"), 1000, "", None), "ann (uid 1000)");
    }
}
