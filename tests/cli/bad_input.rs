//! Input that can't be taken: exit 2, a place or a name, what to do, and nothing changed.

use crate::harness::{Place, operation};

/// A manifest with these steps.
fn manifest(steps: &str) -> String {
    format!("schema = 1\n\n[operation]\nname = \"bad\"\n\n{steps}")
}

const SLEEP: &str = "[[steps]]\nid = \"a\"\nuses = \"core/sleep\"\nwith = { duration = \"1ms\" }\n";

fn step(id: &str, rest: &str) -> String {
    format!("[[steps]]\nid = \"{id}\"\n{rest}\n")
}

#[track_caller]
fn refused(place: &Place, text: impl AsRef<[u8]>, said: &[&str]) {
    let before = place.untouched();
    let path = place.write("bad.toml", text);
    let mut ran = place.run(&["run", &path]).exits(2);
    for piece in said {
        ran = ran.says(piece);
    }
    assert_eq!(place.facts(), before);
    assert!(place.world().effects.is_empty(), "an effect was made");
}

#[test]
fn mistakes_of_a_manifest_are_shown_at_their_places() {
    let place = Place::new();
    let sleep = "uses = \"core/sleep\"\nwith = { duration = \"1ms\" }";
    let window = format!(
        "{}{}{}",
        step("a", &format!("{sleep}\nphase = \"downtime\"")),
        step("b", sleep),
        step("c", &format!("{sleep}\nphase = \"downtime\"")),
    );
    let cycle = format!(
        "{}{}",
        step("a", &format!("{sleep}\nneeds = [\"b\"]")),
        step("b", &format!("{sleep}\nneeds = [\"a\"]")),
    );
    let delete = "uses = \"ebs/delete-volume\"\nwith = { volume = \"vol-db-main\" }";
    let later = "uses = \"core/assert\"\nwith = { condition = \"{{ 1 / 0 }}\", message = \"m\" }";
    let table: Vec<(String, Vec<&str>)> = vec![
        (step("a", "uses = \"core/slep\""), vec!["bad.toml:8", "did you mean `sleep`?"]),
        (step("a", "uses = \"coer/sleep\""), vec!["bad.toml:8", "did you mean `core`?"]),
        (format!("{SLEEP}needs = [\"x\"]\n"), vec!["bad.toml:10", "`x`"]),
        (cycle, vec!["bad.toml:", "a", "b"]),
        (window, vec!["bad.toml:", "downtime"]),
        (step("a", delete), vec!["bad.toml:8", "irreversible = "]),
        (step("a", "uses = \"core/sleep\"\nwith = { duration = [] }"), vec!["bad.toml:9", "fit"]),
        (
            step("a", "uses = \"core/sleep\"\nwith = { duration = \"soon\" }"),
            vec!["bad.toml:9", "\"soon\" must be \"30s\", \"2m\""],
        ),
        (step("a", "uses = \"core/sleep\"\nwith = { for = \"1s\" }"), vec!["bad.toml:9", "`for`"]),
        (step("a", later), vec!["step `a`", "the expression `1 / 0` fails"]),
        (step("a", "uses = \"core/sleep\"\nwith = { duration = \"{{ \" }"), vec!["bad.toml:9"]),
        (
            step("a", "uses = \"core/sleep\"\nwith = { duration = \"{{ inputs.nope }}\" }"),
            vec!["bad.toml:9", "nope"],
        ),
    ];
    for (steps, said) in table {
        let said: Vec<&str> = said.into_iter().map(|s| s.trim_start_matches("bad.toml")).collect();
        refused(&place, manifest(&steps), &said);
    }
}

#[test]
fn all_mistakes_of_a_file_are_shown_at_once() {
    let place = Place::new();
    let steps = format!("{}{}", step("a", "uses = \"core/slep\""), step("b", "uses = \"x/y\""));
    refused(&place, manifest(&steps), &["did you mean `sleep`?", "there is no plugin `x`"]);
}

#[test]
fn inputs_are_checked() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    for (given, said) in [
        ("databas=main", "did you mean `database`?"),
        ("database=Main", "does not match the pattern"),
        ("database", "is not NAME=VALUE"),
    ] {
        place.run(&["run", &flagship, "-i", given]).exits(2).says(said);
    }
    // What was typed may be the value alone, and somebody's password.
    place.run(&["run", &flagship, "-i", "hunter2"]).exits(2).lacks("hunter2");
    let resize = operation("resize-database-volume");
    place.run(&["run", &resize, "-i", "size_gib=large"]).exits(2).says("must be an integer");
    assert_eq!(place.facts(), before);
}

#[test]
fn secrets_must_be_given_as_references() {
    let place = Place::new();
    let text = format!(
        "schema = 1\n[operation]\nname = \"s\"\n[inputs]\n\
         password = {{ type = \"secret\" }}\n{SLEEP}"
    );
    let path = place.write("s.toml", text);
    place.run(&["run", &path]).exits(2).says("input `password` is missing").says("env:NAME");
    let value = place.run(&["run", &path, "-i", "password=hunter2"]).exits(2);
    assert!(!value.stderr.contains("hunter2"), "{}", value.stderr);
    place.run(&["run", &path, "-i", "password=env:NO_SUCH"]).exits(2).says("NO_SUCH is not set");
}

#[test]
fn files_that_are_no_manifests_are_told_so() {
    let place = Place::new();
    refused(&place, "this is not = = TOML", &["not TOML"]);
    refused(&place, [0xff, 0xfe, 0x00], &["is not UTF-8"]);
    refused(&place, vec![b'#'; 100 << 20], &["is larger than"]);
    refused(&place, "", &["schema"]);
    let dir = place.path("dir.toml");
    std::fs::create_dir(&dir).expect("a directory");
    place.run(&["run", &dir.display().to_string()]).exits(2).says("is a directory");
    place.run(&["run", "nowhere.toml"]).exits(2).says("nowhere.toml can't be read");
}

/// A path may lead to what has no end, whoever reads it.
#[test]
fn no_file_is_read_without_an_end() {
    let place = Place::new();
    place.untouched();
    let path = place.write("good.toml", manifest(SLEEP));
    let secret = "[inputs]\npassword = { type = \"secret\" }\n";
    let with_secret = place.write("secret.toml", manifest(&format!("{secret}{SLEEP}")));
    let endless = "[environments.endless]\nprovider = \"simulated\"\nworld = \"/dev/zero\"\n";
    let endless = place.write("endless.toml", endless);
    for arguments in [
        vec!["list", "--config", "/dev/zero"],
        vec!["run", &path, "--inputs", "/dev/zero"],
        vec!["run", &with_secret, "-i", "password=file:/dev/zero"],
        vec!["run", &path, "--config", &endless, "-e", "endless"],
    ] {
        place.run(&arguments).exits(2).says("/dev/zero is larger than");
    }
}

/// A pool of HAProxy, whose changes outlive a reload and whose targets are told apart.
#[test]
fn a_pool_is_checked_before_anybody_is_asked() {
    const BOX: &str = "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\n\
                       [environments.box.instances.i-a]\ndocker = \"unix:///a\"\n";
    const SAVED: &str = "state_file = \"/s/web\"\n";
    let place = Place::new();
    let backup = operation("backup-database");
    let at = |sockets: &str| format!("sockets = [{sockets}]\nbackend = \"web\"\n");
    let here = at("\"unix:///admin.sock\"");
    let pools =
        |text: String| format!("{BOX}[environments.box.pools.web]\nprovider = \"haproxy\"\n{text}");
    let two = at("\"unix:///a.sock\", \"unix:///b.sock\"");
    let second = "[environments.box.instances.i-b]\ndocker = \"unix:///b\"\n";
    for (text, said) in [
        (pools(here.clone()), "would be lost at HAProxy's next reload"),
        (pools(format!("{here}{SAVED}saved_by = \"reload-hook\"\n")), "are ways for one thing"),
        (pools(format!("{two}{SAVED}")), "there are 2 sockets, and 1 files"),
        (
            pools(format!("{two}state_files = [\"/a\", \"/a\"]\n")),
            "two processes would write one file",
        ),
        (
            pools(format!("{two}saved_by = \"reload-hook\"\nmaster = \"unix:///m\"\n")),
            "the master of one alone",
        ),
        (pools(format!("{here}saved_by = \"hope\"\n")), "`hope` saves no state"),
        (pools(SAVED.to_owned()), "needs `sockets`"),
        (pools(format!("sockets = [\"unix:///a\"]\n{SAVED}")), "needs `backend`"),
        (
            pools(format!("sockets = [\"unix:///a\"]\nbackend = \"a b\"\n{SAVED}")),
            "`a b` is no backend's name",
        ),
        (pools(format!("{}{SAVED}", at("\"/admin.sock\""))), "is not unix:///PATH"),
        (pools(format!("{}{SAVED}", at("\"ssh://box\""))), "is not reached over ssh"),
        (
            pools(format!("{}saved_by = \"reload-hook\"\n", at("\"tcp://10.0.0.1:9999\""))),
            "who may reach it commands it",
        ),
        (pools(format!("{}{SAVED}", at("\"tcp://127.0.0.1:9\""))), "HAProxy is on another"),
        (format!("{}{SAVED}{second}", pools(here.clone())), "i-a and i-b have one address"),
        (
            format!("{}{SAVED}{second}address = \"there\"\n", pools(here.clone())),
            "`there` is no address",
        ),
        (
            format!("{BOX}[environments.box.pools.web]\nprovider = \"hapoxy\"\n"),
            "did you mean `haproxy`?",
        ),
        (format!("{}{SAVED}linger = \"5s\"\n", pools(here.clone())), "`linger` is not for a pool"),
        (
            format!("{BOX}[environments.box.pools.web]\n{here}{SAVED}"),
            "nothing says what serves the pool",
        ),
        (
            format!("{BOX}[environments.box.pools.web]\ntarget_group = \"web\"\n"),
            "a target group is in an account of AWS",
        ),
        (
            "[environments.s]\nprovider = \"simulated\"\n[environments.s.pools.web]\n\
             provider = \"haproxy\"\n"
                .to_owned(),
            "its engines, registries and pools are in its world file",
        ),
    ] {
        place.write("stepback.toml", text);
        place.run(&["run", &backup]).exits(2).says(said);
    }
}

/// A pool that is a target group has its name, and nothing of HAProxy's.
#[test]
fn a_target_group_is_checked_before_anybody_is_asked() {
    let place = Place::new();
    let backup = operation("backup-database");
    let long = "g".repeat(33);
    for (text, said) in [
        ("target_group = \"web_blue\"\n", "`web_blue` is no target group's name or ARN"),
        ("target_group = \"\"\n", "`` is no target group's name or ARN"),
        (&*format!("target_group = \"{long}\"\n"), "is no target group's name or ARN"),
        ("target_group = \"arn:aws:sns:eu-west-1:1:web\"\n", "is no target group's name or ARN"),
        ("target_group = \"web\"\nlinger = \"soon\"\n", "`soon` is not a duration"),
        ("provider = \"haproxy\"\ntarget_group = \"web\"\n", "`provider` is not for a pool that"),
        ("target_group = \"web\"\nbackend = \"web\"\n", "`backend` is not for a pool that"),
        ("target_group = \"web\"\nsockets = [\"unix:///a\"]\n", "`sockets` is not for a pool"),
        ("target_group = \"web\"\nmaster = \"unix:///a\"\n", "`master` is not for a pool"),
        ("target_group = \"web\"\nmasters = [\"unix:///a\"]\n", "`masters` is not for a pool"),
        ("target_group = \"web\"\nstate_file = \"/a\"\n", "`state_file` is not for a pool"),
        ("target_group = \"web\"\nstate_files = [\"/a\"]\n", "`state_files` is not for a pool"),
        ("target_group = \"web\"\nsaved_by = \"reload-hook\"\n", "`saved_by` is not for a pool"),
        ("target_group = \"web\"\ninsecure = false\n", "`insecure` is not for a pool"),
        ("linger = \"5s\"\n", "nothing says what serves the pool"),
        ("linger = \"5s\"\n", "write `target_group = \"NAME\"`"),
    ] {
        let text = format!(
            "[environments.prod]\nprovider = \"aws\"\n[environments.prod.pools.web]\n{text}"
        );
        place.write("stepback.toml", text);
        place.run(&["run", &backup]).exits(2).says(said);
    }
}

#[test]
fn the_configuration_is_checked_too() {
    let place = Place::new();
    let backup = operation("backup-database");
    for (text, said) in [
        ("[environments.prod]\nprovider = \"awz\"\n", "there is no provider `awz`"),
        ("[environmints]\n", "unknown field"),
        ("[plugins.\"./x.wasm\"]\ngrants = [\"ebz\"]\n", "did you mean `ebs`?"),
        ("state = = 1", "stepback.toml"),
        ("[environments.box]\nprovider = \"onebox\"\n", "a onebox needs `root`"),
        (
            "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\n\
             [environments.box.instances.i-a]\ndocker = \"tcp://10.0.0.1\"\n",
            "has no port",
        ),
        ("[environments.s]\nprovider = \"simulated\"\nroot = \"x\"\n", "`root` is not for"),
        (
            "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\n\
             [environments.box.registries.\"docker.io\"]\nusername = \"ann\"\n\
             password = \"hunter2\"\n",
            "a password is given by reference",
        ),
        (
            "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\n\
             docker = { stall = \"soon\" }\n",
            "`soon` is not a duration",
        ),
        (
            "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\ndocker = \"unix:///x\"\n",
            "expected a table",
        ),
    ] {
        place.write("stepback.toml", text);
        place.run(&["run", &backup]).exits(2).says(said);
    }
    place.write("stepback.toml", "[environments.staging]\nprovider = \"simulated\"\n");
    place.run(&["run", &backup, "-e", "stagin"]).exits(2).says("did you mean `staging`?");
    place.run(&["run", &backup, "-e", "staging"]).exits(0);
    place.run(&["env", "list"]).exits(0).says("staging").says("simulated");
    place.run(&["env", "check", "staging"]).exits(0).says("✓ simulated");
    place.run(&["env", "check", "stagin"]).exits(2).says("did you mean `staging`?");
}

/// A name with who logs in would be told with every failure there, and one that is a word alone is
/// no image's registry.
#[test]
fn a_registry_goes_by_its_name_alone() {
    let place = Place::new();
    let backup = operation("backup-database");
    let onebox = "[environments.box]\nprovider = \"onebox\"\nroot = \"x\"\n\
                  instances.i-a.docker = \"unix:///nowhere\"\n";
    for (text, said) in [
        ("registries.\"ann:HIDDEN@r.example\".mirrors = [\"m.example\"]", "no registry's name"),
        ("registries.\"r.example/x\".mirrors = [\"m.example\"]", "no registry's name"),
        ("registries.harbor.mirrors = [\"m.example\"]", "no registry's name"),
        ("registries.\"r.example\".mirrors = [\"m.example/x?t=HIDDEN\"]", "no registry's name"),
        ("registries.\"r.example\".mirrors = [\"ann@m.example\"]", "no registry's name"),
        ("docker.helper_image = \"ann:HIDDEN@r.example/helper@sha256:12\"", "no image's name"),
    ] {
        place.write("stepback.toml", format!("{onebox}{text}\n"));
        place.run(&["run", &backup, "-e", "box"]).exits(2).says(said).lacks("HIDDEN");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_2() {
    let place = Place::new();
    place.run(&["rum"]).exits(2).says("run");
    place.run(&["run"]).exits(2).says("MANIFEST");
    place.run(&["--help"]).exits(0).says("rolled back");
}
