//! Secrets that are in the names of things by chance, in answers, and in what goes wrong.

use crate::harness::{Place, Ran};

fn run(place: &Place, secret: &str, body: &str, arguments: &[&str]) -> Ran {
    let text = format!(
        "schema = 1\n[operation]\nname = \"secret\"\nlocks = [\"secret\"]\n[inputs]\n\
         name = {{ type = \"secret\" }}\n{body}"
    );
    let path = place.write("secret.toml", text);
    let input = format!("name=file:{}", place.write("secret", secret));
    place.run(&[&["run", &path, "-i", &input], arguments].concat())
}

fn tag(volume: &str) -> String {
    format!(
        "[[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
         with = {{ volume = \"{volume}\", key = \"k\", value = \"v\" }}\n"
    )
}

/// A container that is given the secret.
const GIVE: &str = "[[steps]]\nid = \"give\"\nuses = \"docker/create-container\"\n\
                    with = { host = \"i-db-1\", container = \"app\", image = \"postgres:16\", \
                    env = { PW = \"{{ inputs.name }}\" } }\n";
const FAIL: &str = "[[steps]]\nid = \"fail\"\nuses = \"ebs/create-snapshot\"\n\
                    with = { volume = \"vol-db-main\" }\n";
const FAILS: [&str; 2] = ["--inject", "ebs.create-snapshot=refuse"];

/// A volume whose id is a secret's value by chance, or holds one.
#[test]
fn what_is_observed_is_what_was_called() {
    let volume = "vol-db-main";
    for secret in [volume, "db-main", "vol-db"] {
        let body = format!("{}{FAIL}", tag(volume));
        let place = Place::new();
        let before = place.untouched();
        run(&place, secret, &body, &FAILS).exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "{secret}");

        // What an undo left is told, and its lock is held.
        let place = Place::new();
        place.untouched();
        let faults = [&FAILS[..], &["--inject", "undo:ebs.untag=refuse"]].concat();
        run(&place, secret, &body, &faults).exits(5).says("not restored");
        place.run(&["locks"]).exits(0).says("secret");
        place.run(&["rollback", "1"]).exits(3);
        assert_eq!(place.facts(), before, "{secret}");

        // So it is by the next runner.
        for crash in ["crash-before", "crash-after"] {
            let place = Place::new();
            place.untouched();
            let crash = format!("ebs.tag={crash}");
            assert_eq!(run(&place, secret, &body, &["--inject", &crash]).code, None);
            place.run(&["cancel", "1"]).exits(3).says("verdict: restored");
            assert_eq!(place.facts(), before, "{secret}");
        }
    }
}

/// What stands for it there is nobody's to write: who can write a tag would have it put in.
#[test]
fn an_answer_that_holds_a_secret_is_of_no_use_to_later_steps() {
    let look = "[[steps]]\nid = \"look\"\nuses = \"ebs/find-volume\"\n\
                with = { tags = { database = \"main\" } }\n";
    let place = Place::new();
    let before = place.untouched();
    for how in ["", " | upper"] {
        let body = format!("{look}{}", tag(&format!("{{{{ steps.look.id{how} }}}}")));
        let ran = run(&place, "vol-db", &body, &[]).exits(2);
        ran.says("`volume` holds a mark that the program puts in a secret's place");
        assert_eq!(place.facts(), before);
    }
    run(&place, "vol-db", look, &[]).exits(0).says("the answer has a secret's value in it");
    let told = place.run(&["logs", "3"]).exits(0).stdout + &place.show(3).to_string();
    assert!(!told.contains("vol-db-main"), "{told}");
}

/// The end of an operation is told without them too.
#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let body = format!("{GIVE}{FAIL}");
    let place = Place::new();
    let undo = "undo:docker.remove-container=refuse";
    let faults = [&FAILS[..], &["--inject", undo, "--json"]].concat();
    let ran = run(&place, "hunter22", &body, &faults).exits(5);
    let mut told = ran.stdout + &ran.stderr;
    for arguments in [&["show", "1"][..], &["show", "1", "--json"], &["logs", "1"], &["list"]] {
        let ran = place.run(arguments).exits(0);
        told.push_str(&(ran.stdout + &ran.stderr));
    }
    assert!(!told.contains("hunter22"), "{told}");
    assert_eq!(place.world().engines["i-db-1"].containers["app"].spec.env["PW"], "hunter22");
}

/// An undo needs no secret, but what it looks at has one in it: kept out, and told apart.
#[test]
fn a_secret_that_is_gone_is_kept_out_all_the_same() {
    const VALUE: &str = "Tr0ub4dor-xyzzy";
    let text = r#"
schema = 1
[operation]
name = "gone"
[inputs]
password = { type = "secret" }
[[steps]]
id = "make"
uses = "docker/create-container"
reveal = ["command"]
[steps.with]
host = "i-db-1"
container = "side"
image = "postgres:16"
command = ["run", "--password={{ inputs.password }}"]
[[steps]]
id = "start"
uses = "docker/start-container"
with = { host = "i-db-1", container = "side" }
"#;
    for now in ["", "another-xyzzy"] {
        let place = Place::new();
        let before = place.untouched();
        let (manifest, file) = (place.write("gone.toml", text), place.write("password", VALUE));
        let input = format!("password=file:{file}");
        let fault = "docker.start-container=crash-before";
        let died = place.run(&["run", &manifest, "-i", &input, "--inject", fault]);
        assert_eq!(died.code, None);
        place.write("password", now);
        let ran = place.run(&["rollback", "1"]).exits(3);
        let shown = place.run(&["show", "1", "--json"]).stdout;
        for said in [&ran.stdout, &ran.stderr, &shown] {
            assert!(!said.contains(VALUE), "{said}");
        }
        for name in ["journal.db", "journal.db-wal"] {
            let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(VALUE), "{name}");
        }
        assert_eq!(place.facts(), before);
    }
}

/// A value that a secret was changed to may be a piece of what is in the journal in the clear:
/// hidden by then, nothing would be as it was.
#[test]
fn a_changed_secret_that_is_a_piece_of_names_hides_none_of_them() {
    let stop = "[[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\nneeds = [\"tag\"]\n\
                with = { host = \"i-db-1\", container = \"main\" }\n";
    for changed in ["main", "postgres", "i-db-1", "somewhere-else"] {
        let place = Place::new();
        let before = place.untouched();
        let body = format!("{}{stop}", tag("vol-db-main"));
        let crash = ["--inject", "docker.stop-container=crash-before"];
        assert_eq!(run(&place, "hunter22secret", &body, &crash).code, None);
        place.write("secret", changed);
        place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "{changed}");
    }
}

/// Whoever goes on may be somewhere else.
#[test]
fn a_secrets_file_is_found_from_anywhere() {
    let place = Place::new();
    place.untouched();
    let text = format!(
        "schema = 1\n[operation]\nname = \"secret\"\n[inputs]\nname = {{ type = \"secret\" }}\n{}",
        GIVE
    );
    let path = place.write("secret.toml", text);
    place.write("secret", "hunter22");
    let state = place.path("state").display().to_string();
    let crash = ["--inject", "docker.create-container=crash-before", "--state", &state];
    let run = [&["run", &path, "-i", "name=file:secret"], &crash[..]].concat();
    assert_eq!(place.run(&run).code, None);
    let mut elsewhere = place.command(&["resume", "1", "--state", &state]);
    std::fs::create_dir(place.path("elsewhere")).expect("a directory");
    elsewhere.current_dir(place.path("elsewhere"));
    let ended = elsewhere.output().expect("it runs");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// An app's password goes into its container's environment, and nowhere else.
#[test]
fn a_value_of_a_map_is_a_secret_by_name() {
    const VALUE: &str = "hunter22-of-orders";
    let asks = r#"environment={"POSTGRES_PASSWORD": {"secret": "pw"}, "TZ": "UTC"}"#;
    let place = Place::new();
    place.write("pw", VALUE);
    let shipped = crate::harness::operation("provision-database");
    let run = |command: &str, more: &[&str]| {
        place.run(&[&[command, &shipped, "-i", asks], more].concat())
    };
    run("plan", &[]).exits(2).says("asks for the secret `pw`").says("--secret pw=env:NAME");
    run("run", &["--secret", VALUE]).exits(2).lacks(VALUE);
    run("run", &["--secret", &format!("pw={VALUE}")]).exits(2).lacks(VALUE);
    let given = ["--secret", "pw=file:pw"];
    run("run", &[&given[..], &["--secret", "other=file:pw"]].concat())
        .exits(2)
        .says("no input asks for the secret `other`");
    run("plan", &given).exits(0).lacks(VALUE);

    // Killed on the way it is asked for again, and by whoever is elsewhere.
    let crash = ["--inject", "docker.create-container=crash-before"];
    assert_eq!(run("run", &[&given[..], &crash].concat()).code, None);
    place.write("pw", "another one");
    place.run(&["resume", "1"]).exits(6).says("not the one that the operation began with");
    place.write("pw", VALUE);
    let ran = place.run(&["resume", "1"]).exits(0);
    let env = &place.world().engines["i-db-2"].containers["orders"].spec.env;
    assert_eq!((env["POSTGRES_PASSWORD"].as_str(), env["TZ"].as_str()), (VALUE, "UTC"));
    let shown = place.run(&["show", "1", "--json"]).exits(0).stdout;
    for said in [&ran.stdout, &ran.stderr, &shown] {
        assert!(!said.contains(VALUE), "{said}");
    }
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(VALUE), "{name}");
    }
}

/// What stands for a secret is known to whoever reads the source: neither a file of inputs nor a
/// tag in the world gets its value by it.
#[test]
fn what_stands_for_a_secret_is_taken_from_nobody() {
    let place = Place::new();
    place.untouched();
    let text = "schema = 1\n[operation]\nname = \"forged\"\n[inputs]\n\
         env = { type = \"map\" }\nnote = { type = \"string\", default = \"x\" }\n\
         [[steps]]\nid = \"look\"\nuses = \"ebs/describe-volume\"\n\
         with = { volume = \"vol-db-main\" }\n\
         [[steps]]\nid = \"copy\"\nuses = \"ebs/tag-volume\"\n\
         with = { volume = \"vol-db-main\", key = \"copy\", \
         value = \"{{ steps.look.tags.note }} {{ inputs.note }}\" }\n";
    let path = place.write("forged.toml", text);
    place.write("pw", "hunter22secret");
    let asks = r#"env={"P": {"secret": "pw"}}"#;
    let given = ["run", &path, "-i", asks, "--secret", "pw=file:pw"];
    let forged = place.write("forged.json", "{\"note\": \"\\u0001secret:pw\\u0001\"}");
    place.run(&[&given[..], &["--inputs", &forged]].concat()).exits(2).says("U+0001");
    // As whoever may write a tag would have it.
    let world = place.path("state/worlds/local/world.json");
    let told = std::fs::read_to_string(&world).expect("a world");
    let note = "\"database\": \"main\", \"note\": \"\\u0001secret:pw\\u0001\"";
    std::fs::write(&world, told.replacen("\"database\": \"main\"", note, 1)).expect("a world");
    place.run(&given);
    let told = std::fs::read_to_string(&world).expect("a world");
    assert!(!told.contains("hunter22secret"), "{told}");

    // Nor is it looked at, changed or told by an expression.
    for uses in
        ["{{ inputs.env | tojson }}", "{{ inputs.env.P | lower }}", "{{ inputs.env['P'][0] }}"]
    {
        let text = format!(
            "schema = 1\n[operation]\nname = \"uses\"\n[inputs]\nenv = {{ type = \"map\" }}\n\
             [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"k\", value = \"{uses}\" }}\n"
        );
        let path = place.write("uses.toml", text);
        let ran = place.run(&["run", &path, "-i", asks, "--secret", "pw=file:pw"]);
        ran.exits(2).says("the secret `env` can't be worked with");
        place.run(&["run", &path, "-i", r#"env={"P": "plain"}"#]).exits(0);
    }
    let locks = "schema = 1\n[operation]\nname = \"uses\"\nlocks = [\"a/{{ inputs.env.P }}\"]\n\
                 [inputs]\nenv = { type = \"map\" }\n[[steps]]\nid = \"a\"\n\
                 uses = \"core/assert\"\n\
                 when = \"inputs.env.P == 'x'\"\nwith = { condition = true, message = \"m\" }\n";
    let path = place.write("locks.toml", locks);
    let ran = place.run(&["run", &path, "-i", asks, "--secret", "pw=file:pw"]).exits(2);
    ran.says("can't be in a lock's name").says("can't be looked at in `when`");
}

/// What stands for the beginning of one, too, is made by the program alone: it would tell all of a
/// secret but its last byte to whoever can write a manifest, or put a mark together in one.
#[test]
fn what_stands_for_a_secrets_beginning_is_taken_from_nobody() {
    const VALUE: &str = "S3cretValue!";
    let literal = "\"\\u0001secret:pw<11\\u0001\"";
    let made = "\"{{ steps.look.tags.pw | replace('pw', 'pw<11') }}\"";
    for value in [literal, made] {
        let place = Place::new();
        place.untouched();
        let of = "volume = \"vol-db-main\"";
        let text = format!(
            "schema = 1\n[operation]\nname = \"cut\"\n[inputs]\nm = {{ type = \"map\" }}\n\
             [[steps]]\nid = \"whole\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ {of}, key = \"pw\", value = \"{{{{ inputs.m.P }}}}\" }}\n\
             [[steps]]\nid = \"look\"\nuses = \"ebs/describe-volume\"\nneeds = [\"whole\"]\n\
             with = {{ {of} }}\n\
             [[steps]]\nid = \"cut\"\nuses = \"ebs/tag-volume\"\nneeds = [\"look\"]\n\
             with = {{ {of}, key = \"cut\", value = {value} }}\n\
             [[steps]]\nid = \"again\"\nuses = \"ebs/describe-volume\"\nneeds = [\"cut\"]\n\
             with = {{ {of} }}\n[outputs]\nx = \"{{{{ steps.again.tags.cut }}}}\"\n"
        );
        place.write("pw", VALUE);
        let asks = ["-i", r#"m={"P":{"secret":"pw"}}"#, "--secret", "pw=file:pw"];
        let path = place.write("cut.toml", text);
        let ran = place.run(&[&["run", path.as_str()][..], &asks].concat());
        let shown = place.run(&["show", "1", "--json"]).stdout;
        let tags = &place.world().volumes["vol-db-main"].tags;
        assert!(!tags.get("cut").is_some_and(|cut| cut.contains("S3cret")), "{value}: {tags:?}");
        for said in [&ran.stdout, &ran.stderr, &shown] {
            assert!(!said.contains("S3cret"), "{value}: {said}");
        }
        for name in ["journal.db", "journal.db-wal"] {
            let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains("S3cret"), "{value}: {name}");
        }
    }
}

/// An everyday password: what it hides is told before anything is changed, or hides nothing.
#[test]
fn a_value_that_is_a_word_or_a_piece_of_an_image_is_told_as_that() {
    let start = "[[steps]]\nid = \"start\"\nuses = \"docker/start-container\"\n\
                 with = { host = \"i-db-1\", container = \"app\" }\n";
    let look = "[[steps]]\nid = \"look\"\nuses = \"ec2/describe-instance\"\n\
                with = { instance = \"i-db-1\" }\n";
    let place = Place::new();
    let before = place.untouched();
    let ran = run(&place, "postgres", &format!("{GIVE}{start}"), &[]).exits(2);
    ran.says("is a piece of the image's name: \"<secret name>:16\"");
    assert_eq!(place.facts(), before);
    run(&place, "running", &format!("{look}{GIVE}{start}"), &[]).exits(0);
}

/// A Docker volume whose options have a secret's value in them by chance: it is taken away again,
/// and made once more.
#[test]
fn a_volume_with_a_secret_in_its_options_is_taken_back() {
    let volume = "[[steps]]\nid = \"vol\"\nuses = \"docker/create-volume\"\n\
                  with = { host = \"i-db-1\", volume = \"share\", \
                  options = { type = \"nfs\", device = \":/srv\", o = \"addr=10.0.9.9,rw\" } }\n";
    for secret in ["10.0.9.9", "addr=10.0.9.9,rw", "/srv"] {
        for fault in ["refuse", "lost"] {
            let place = Place::new();
            let before = place.untouched();
            let body = format!("{volume}{GIVE}{FAIL}");
            let faults =
                ["--inject", FAILS[1], "--inject", &format!("docker.create-volume={fault}")];
            run(&place, secret, &body, &faults).exits(3).says("verdict: restored");
            assert_eq!(place.facts(), before, "{secret}, {fault}");
            run(&place, secret, volume, &[]).exits(0);
            // With the same options it is the same one.
            let again = run(&place, secret, volume, &["--no-wait"]);
            assert!(!again.stderr.contains("with other options"), "{}", again.stderr);
        }
    }
}

/// What is journaled as it is and reads like a secret is said to be, however deep it stands.
#[test]
fn what_is_kept_in_clear_is_told_however_deep_it_stands() {
    let place = Place::new();
    let text = "schema = 1\n[operation]\nname = \"m\"\n[inputs]\n\
                users = { type = \"map\", default = {} }\n[[steps]]\nid = \"s\"\n\
                uses = \"core/sleep\"\nwith = { duration = \"1ms\" }\n";
    let manifest = place.write("m.toml", text);
    let users = r#"users={"ann": {"PASSWORD": "hunter2", "all": [{"TOKEN": "env:A"}]}, "b": "c"}"#;
    let ran = place.run(&["run", &manifest, "-i", users]).exits(0);
    ran.says("`ann.PASSWORD` of the input `users` is kept in the journal as it is")
        .says("`ann.all.0.TOKEN` of the input `users` is the text `env:A` itself")
        .says("in a map's own values, and no deeper");
}
