//! Who is at the terminal, as the journal and others are told.

use nix::unistd::{Uid, User};
use stepback_core::Actor;
use stepback_provider::locks::host;

/// Who is at the terminal: `user@host (uid N)`, by the system and not by a variable that anybody
/// sets; behind `sudo` also who called it.
pub fn actor() -> Actor {
    let uid = Uid::current().as_raw();
    let caller = caller(uid, std::env::var("SUDO_UID").ok().as_deref());
    let name = |uid: u32| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    let sudo = caller.map(|caller| name(caller).unwrap_or_else(|| format!("uid {caller}")));
    let told = who(name(uid).as_deref(), uid, &host(), sudo.as_deref());
    Actor { name: told, uid: Some(caller.unwrap_or(uid)) }
}

/// The account that called `sudo` (sudo(8), *SUDO_UID*). Only root is believed to have been called
/// so: anybody else could have set the variable.
fn caller(uid: u32, sudo: Option<&str>) -> Option<u32> {
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    sudo.filter(|_| uid == 0).filter(is_number)?.parse().ok()
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

    #[test]
    fn who_called_sudo_is_believed_of_root_alone() {
        let table = [
            (0, Some("1000"), Some(1000)),
            (0, None, None),
            (0, Some(""), None),
            (0, Some("+1"), None),
            (0, Some("-1"), None),
            (0, Some("ann"), None),
            (0, Some("4294967296"), None),
            (1001, Some("1000"), None),
            (1001, Some("0"), None),
        ];
        for (uid, sudo, wanted) in table {
            assert_eq!(caller(uid, sudo), wanted, "{uid}, {sudo:?}");
        }
    }
}
