//! What is private is made and kept so, and what is not is refused or left alone.

use super::*;

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_is_made_is_for_its_owner_alone_and_what_was_there_is_tightened() {
    let place = tempfile::tempdir().unwrap();
    let made = place.path().join("a/b");
    dir(&made, &[]).unwrap();
    assert_eq!((mode_of(&made), mode_of(&place.path().join("a"))), (0o700, 0o700));
    set(&made, 0o777);
    dir(&made, &[]).unwrap();
    assert_eq!(mode_of(&made), 0o700);
    let file = made.join("file");
    open_or_make(&file).unwrap();
    assert_eq!(mode_of(&file), 0o600);
    set(&file, 0o666);
    tighten(&file).unwrap();
    assert_eq!(mode_of(&file), 0o600);
    tighten(&made.join("none")).unwrap();
    std::os::unix::fs::symlink("/nowhere", made.join("part")).unwrap();
    create(&made.join("part")).unwrap();
    assert_eq!(mode_of(&made.join("part")), 0o600);
    std::os::unix::fs::symlink(&file, made.join("link")).unwrap();
    open(&made.join("link"), File::options().read(true)).unwrap_err();
}

/// `--state /tmp`, or a home, is not taken from everybody else.
#[test]
fn a_directory_that_is_something_elses_is_refused_or_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("theirs"), "").unwrap();
    for (mode, is_refused) in [(0o755, false), (0o777, true), (0o1777, true), (0o707, true)] {
        set(place.path(), mode);
        let told = dir(place.path(), &["journal.db"]);
        assert_eq!(told.is_err(), is_refused, "{mode:o}: {told:?}");
        assert_eq!(mode_of(place.path()), mode);
    }
    fs::write(place.path().join("journal.db"), "").unwrap();
    dir(place.path(), &["journal.db"]).unwrap();
    assert_eq!(mode_of(place.path()), 0o700);
}

/// It may have anything in it.
#[test]
fn a_directory_that_can_not_be_listed_is_not_taken_for_an_empty_one() {
    let place = tempfile::tempdir().unwrap();
    set(place.path(), 0o755);
    let (opened, gone) = (opened_dir(place.path()).unwrap(), place.path().join("gone"));
    tighten_dir(&gone, &gone, &opened, &["journal.db"], Sharing::Alone).unwrap();
    assert_eq!(mode_of(place.path()), 0o755);
    tighten_dir(place.path(), place.path(), &opened, &["journal.db"], Sharing::Alone).unwrap();
    assert_eq!(mode_of(place.path()), 0o700);
}

#[test]
fn whom_it_could_not_be_given_to_is_named() {
    // Nobody has these numbers.
    let (user, group) = (Some(54_321), Some(54_322));
    assert_eq!(whom(user, None), "uid 54321");
    assert_eq!(whom(None, group), "gid 54322");
    assert_eq!(whom(user, group), "uid 54321 and gid 54322");
}

#[test]
fn a_group_shares_what_is_in_its_directory() {
    let place = tempfile::tempdir().unwrap();
    let (state, group) = (place.path().join("state"), rustix::process::getgid().as_raw());
    dir_for(&state, &[], Sharing::Group(group)).unwrap();
    assert_eq!(mode_of(&state), 0o2770);
    let below = state.join("worlds/local");
    dir(&below, &[]).unwrap();
    let file = below.join("world.json");
    open_or_make(&file).unwrap();
    assert_eq!((mode_of(&below), mode_of(&state.join("worlds"))), (0o2770, 0o2770));
    assert_eq!(mode_of(&file), 0o660);
}

/// A member of the group may move it there from where it was nobody else's.
#[test]
fn a_file_that_is_there_already_is_never_opened_up() {
    let place = tempfile::tempdir().unwrap();
    let (state, group) = (place.path().join("state"), rustix::process::getgid().as_raw());
    dir_for(&state, &[], Sharing::Group(group)).unwrap();
    let file = state.join("moved");
    for (before, after) in [(0o600, 0o600), (0o400, 0o400), (0o644, 0o640), (0o666, 0o660)] {
        let _ = fs::remove_file(&file);
        fs::write(&file, "its owner's").unwrap();
        set(&file, before);
        open(&file, File::options().read(true)).unwrap();
        assert_eq!(mode_of(&file), after, "{before:o}");
        tighten(&file).unwrap();
        assert_eq!(mode_of(&file), after, "{before:o}");
    }
    make(&file).unwrap_err();
    fs::remove_file(&file).unwrap();
    make(&file).unwrap();
    assert_eq!(mode_of(&file), 0o660);
    // What it was called until it was whole is gone.
    let names: Vec<_> = fs::read_dir(&state).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(names, ["moved"]);
}
