//! Users and groups, as people know them.

use nix::unistd::{Gid, Group, Uid, User};

/// `ann (uid 1000)`, or `uid 1000` where it has no name.
pub fn user(uid: u32) -> String {
    match name_of(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// `ops (gid 2000)`, or `gid 2000` where it has no name.
pub(crate) fn group(gid: u32) -> String {
    match Group::from_gid(Gid::from_raw(gid)).ok().flatten() {
        Some(found) => format!("{} (gid {gid})", found.name),
        None => format!("gid {gid}"),
    }
}

fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// Whether a group is one user's own, as distributions make one for each (Debian's `adduser`,
/// *USERGROUPS*): of the same name or number, with nobody else in it.
pub(crate) fn is_private(gid: u32, uid: u32) -> bool {
    let known = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let name = name_of(uid);
    let is_alike = match (&known, &name) {
        (Some(group), Some(name)) => group.name == *name || gid == uid,
        (None, _) | (_, None) => gid == uid,
    };
    let others = |group: Group| group.mem.into_iter().any(|member| Some(member) != name);
    is_alike && !known.is_some_and(others) && !is_primary_of_another(gid, uid)
}

/// The group that a user logs in with does not list that user (passwd(5)).
fn is_primary_of_another(gid: u32, uid: u32) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| {
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(group))) => group == gid && user != uid,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_where_nobody_else_is_in_it() {
        // Nobody has these numbers.
        assert!(is_private(54_321, 54_321));
        assert!(!is_private(54_321, 54_322));
        // Everybody's is nobody's.
        assert!(!is_private(0, 54_321));
        assert_eq!(user(54_321), "uid 54321");
        assert_eq!(group(54_321), "gid 54321");
        assert_eq!(user(0), "root (uid 0)");
    }
}
