//! `[secrets.NAME]` of `stepback.toml`: manifests and inputs call a secret by its name, and whoever
//! keeps it says where it comes from, and what for.

use crate::harness::{Place, Ran};
use std::os::unix::fs::OpenOptionsExt;

const VALUE: &str = "hunter22-Zx81!";

/// A map with a secret by its name, which goes into a container's environment.
const MANIFEST: &str = r#"
schema = 1
[operation]
name = "configured"
[inputs]
env = { type = "map", default = { PW = { secret = "db" }, TZ = "UTC" } }
[[steps]]
id = "make"
uses = "docker/create-container"
[steps.with]
host = "i-db-1"
container = "app"
image = "postgres:16"
env = "{{ inputs.env }}"
"#;

fn place(secret: &str) -> Place {
    let place = Place::new();
    place.untouched();
    place.write("stepback.toml", format!("state = \"state\"\n[secrets.db]\n{secret}\n"));
    place.write("pw", format!("{VALUE}\n"));
    place.write("m.toml", MANIFEST);
    place
}

fn made(place: &Place) -> String {
    place.world().engines["i-db-1"].containers["app"].spec.env["PW"].clone()
}

#[test]
fn a_secret_comes_from_where_its_keeper_says() {
    let only = "steps = [\"docker/create-container\"]";
    // The last leaves something running that holds what it prints to.
    let commands = ["exec:cat pw; echo nothing >&2", "exec:sleep 40 2>/dev/null & cat pw"];
    for from in ["file:pw", "env:PW_OF_TEST"].into_iter().chain(commands) {
        let place = place(&format!("from = {from:?}\n{only}"));
        let mut command = place.command(&["run", "m.toml"]);
        let ran = Ran::of(command.env("PW_OF_TEST", VALUE)).exits(0).lacks(VALUE);
        assert_eq!(made(&place), VALUE, "{from}: {}", ran.stderr);
        assert_eq!(place.show(1)["inputs"]["env"]["PW"]["from"], "secret:db");
        for name in ["journal.db", "journal.db-wal"] {
            let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(VALUE), "{from}: {name}");
        }
    }
}

/// A shell that traces what it does says secrets, and a job's log would keep them: of a command
/// that does what it is for nothing is told.
#[test]
fn what_a_command_says_beside_the_secret_is_told_where_it_fails_and_without_it() {
    let traced = "from = 'exec:set -x; P=$(cat pw); echo \"$P\"; echo it is done >&2'";
    let place = place(traced);
    for command in ["plan", "run"] {
        place.run(&[command, "m.toml"]).exits(0).lacks(VALUE).lacks("it is done");
    }
    // Nor what it was given, nor a line of what it printed, nor what its end is cut off of.
    let failing = "from = 'exec:set -x; P=$(cat pw); printf \"user=app\\n$P\\n\"; \
                   echo \"of $MASTER\" >&2; echo \"  | $P\" >&2; \
                   echo not signed in >&2; exit 1'\nvariables = [\"MASTER\"]";
    let failing = self::place(failing);
    let mut command = failing.command(&["run", "m.toml"]);
    let ran = Ran::of(command.env("MASTER", "MasterSecret-77x")).exits(2);
    let ran = ran.says("the command that tells the secret `db` says:").says("not signed in");
    ran.lacks("MasterSecret").says("of <secret MASTER>").lacks(VALUE);
    // A variable may be called as the secret is.
    let same = "from = 'exec:cat pw; echo \"got $(cat pw) with $db\" >&2; exit 1'\n\
                variables = [\"db\"]";
    let same = self::place(same);
    let mut command = same.command(&["run", "m.toml"]);
    let ran = Ran::of(command.env("db", "MasterSecret-77x")).exits(2).lacks(VALUE);
    ran.lacks("MasterSecret").says("got <secret db> with <secret variable db>");
    let cut = "from = 'exec:P=$(cat pw); echo \"$P\"; { head -c 65528 /dev/zero | tr \"\\\\0\" x; \
               echo \"$P\"; } >&2; exit 1'";
    let begins = &VALUE[..VALUE.len() - 2];
    self::place(cut).run(&["run", "m.toml"]).exits(2).lacks(begins);
}

/// All of the place is searched at its end; what is compiled is kept elsewhere by the other tests.
#[test]
fn no_secret_is_beside_what_was_compiled() {
    let place = place("from = \"file:pw\"");
    let mut command = place.command(&["run", "m.toml"]);
    Ran::of(command.env("STEPBACK_CACHE", place.path("cache"))).exits(0);
    let kept = std::fs::read_dir(place.path("cache")).expect("a directory");
    assert!(kept.count() > 0, "nothing was compiled");
}

#[test]
fn a_command_that_tells_a_secret_is_told_none_by_variables() {
    let place = place("from = 'exec:test -z \"$PW_OF_TEST\" && echo told'");
    let mut command = place.command(&["run", "m.toml"]);
    Ran::of(command.env("PW_OF_TEST", VALUE)).exits(0).lacks(VALUE);
    assert_eq!(made(&place), "told");
}

/// What it failed with is no secret's value.
#[test]
fn why_a_secret_can_not_be_had_is_told() {
    for (from, says) in [
        ("exec:cat pw; exit 3", "the command that tells it failed: exit status: 3"),
        ("exec:head -c 2000000 /dev/zero", "the command that tells it prints too much"),
        ("exec:yes xxxxxxx | head -c 70000", "no call takes more than 65536"),
        ("file:nowhere", "nowhere can't be read"),
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
    ] {
        let place = place(&format!("from = \"{from}\""));
        let told = place.run(&["run", "m.toml"]).exits(2).lacks(VALUE).says(says);
        // Other variables help a command that failed, and nothing else.
        if !from.contains("exit 3") {
            told.lacks("variables = ");
        }
    }
}

#[test]
fn a_command_that_prints_nothing_or_takes_its_time_is_told() {
    let nothing = place("from = \"exec:true\"\nvariables = [\"NOT_SET_ANYWHERE\"]");
    let told = nothing.run(&["run", "m.toml"]).exits(2).says("ended well and printed nothing");
    told.says("NOT_SET_ANYWHERE, which it is to get, is not set here");
    let slow = place("from = \"exec:sleep 3; cat pw\"");
    let told = slow.run(&["run", "m.toml"]).exits(0);
    told.says("asking for the secret `db` (`[secrets.db]`), at most 30s").lacks(VALUE);
}

#[test]
fn an_input_may_call_a_secret_by_its_name_and_whoever_runs_it_may_give_another() {
    let place = place("from = \"file:pw\"");
    let text = MANIFEST
        .replace(
            "type = \"map\", default = { PW = { secret = \"db\" }, TZ = \"UTC\" }",
            "type = \"secret\"",
        )
        .replace("\"{{ inputs.env }}\"", "{ PW = \"{{ inputs.env }}\" }");
    place.write("one.toml", text);
    place.run(&["run", "one.toml", "-i", "env=secret:other"]).exits(2).says("no `[secrets.other]`");
    place.run(&["run", "one.toml", "-i", "env=secret:db"]).exits(0);
    assert_eq!(made(&place), VALUE);
    place.write("another", "another-one");
    let other = ["m.toml", "--secret", "db=file:another"];
    let there = place.path("another").display().to_string();
    place.run(&[&["plan"][..], &other].concat()).says(&format!("file:{there}"));
}

/// A job has Vault's address and token in variables, as every tool for that expects them.
#[test]
fn a_command_that_tells_a_secret_gets_the_variables_that_are_named() {
    let command = "from = 'exec:[ -n \"$VAULT_TOKEN\" ] && [ -z \"$OTHER_TOKEN\" ] && cat pw'";
    let run = |place: &Place| {
        let mut command = place.command(&["run", "m.toml"]);
        crate::harness::Ran::of(command.env("VAULT_TOKEN", "t").env("OTHER_TOKEN", "t"))
    };
    let told = run(&self::place(command)).exits(2);
    told.says("exit status: 1").says("[secrets.db]").says("variables = [\"NAME\"]");
    let place = self::place(&format!("{command}\nvariables = [\"VAULT_ADDR\", \"VAULT_TOKEN\"]"));
    run(&place).exits(0);
    assert_eq!(made(&place), VALUE);
}

/// No variable can have a NUL; and a mark that an editor writes is no part of a password.
#[test]
fn what_no_secret_can_be_is_refused_when_it_is_read() {
    for (bytes, says) in [
        (&b"nul\0-pass"[..], "NUL"),
        (b"odd\x01-pass", "U+0001"),
        (b"\xef\xbb\xbfs3cret-pass\n", "byte order mark"),
    ] {
        let place = self::place("from = \"file:pw\"");
        place.write("pw", bytes);
        place.run(&["run", "m.toml"]).exits(2).says(says).lacks("-pass");
    }
    let place = self::place("from = \"exec:cat pw\"");
    place.write("pw", "nul\0-pass");
    place.run(&["run", "m.toml"]).exits(2).says("NUL");
    for (bytes, is) in [("s3cret\r\n", "s3cret"), ("s3cret\n\n", "s3cret\n"), (" s3c ", " s3c ")] {
        let place = self::place("from = \"file:pw\"");
        place.write("pw", bytes);
        place.run(&["run", "m.toml"]).exits(0);
        assert_eq!(made(&place), is);
    }
}

#[test]
fn a_secret_is_kept_for_the_steps_that_it_is_for() {
    let place = place("from = \"file:pw\"\nsteps = [\"docker/run-once\"]");
    let before = place.facts();
    for verb in ["plan", "run"] {
        let ran = place.run(&[verb, "m.toml"]).exits(2);
        ran.says("the secret `db` is not for step `make`").says("keeps it for docker/run-once");
    }
    assert_eq!(place.facts(), before);
    // Kept from a step meanwhile, it goes on no more, and back all the same.
    let with = |steps: &str| {
        let text =
            format!("state = \"state\"\n[secrets.db]\nfrom = \"file:pw\"\nsteps = [{steps}]\n");
        place.write("stepback.toml", text);
    };
    with("\"docker/create-container\"");
    let crash = ["run", "m.toml", "--inject", "docker.create-container=crash-before"];
    assert_eq!(place.run(&crash).code, None);
    with("\"docker/run-once\"");
    place.run(&["resume", "1"]).exits(6).says("is not for step `make`");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
}

/// Whatever is asked for a secret, nothing else waits for it.
#[test]
fn who_tells_no_secret_is_not_waited_for_by_a_signal() {
    for from in ["exec:touch began; sleep 60", "file:pipe"] {
        let place = place(&format!("from = \"{from}\""));
        let made = std::process::Command::new("mkfifo").arg(place.path("pipe")).status();
        assert!(made.expect("mkfifo can be run").success());
        let running = place.start(&["run", "m.toml"]);
        let mut how = std::fs::File::options();
        let how = how.write(true).custom_flags(libc::O_NONBLOCK);
        // Somebody reads it once this can be opened (fifo(7)); nothing is written to it.
        let mut pipe = how.open(place.path("pipe"));
        for _ in 0..600 {
            if pipe.is_ok() || place.path("began").exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            pipe = how.open(place.path("pipe"));
        }
        assert!(pipe.is_ok() || place.path("began").exists(), "{from}: nobody asked");
        running.signal("TERM");
        running.ends().exits(2).lacks("told nothing for");
        place.run(&["list"]).exits(0).lacks("configured");
    }
}

#[test]
fn what_is_wrong_with_it_is_told_where_it_is() {
    for (secret, says) in [
        (format!("from = {VALUE:?}"), "is a reference, never the secret itself"),
        // How it is written is told, whatever was.
        ("from = \"enw:PW\"".to_owned(), "write `env:NAME`, `file:PATH` or `exec:COMMAND`"),
        ("from = \"file:pw\"\nsteps = [\"x\"]".to_owned(), "such as `docker/create-container`"),
        ("steps = []".to_owned(), "missing field `from`"),
        ("from = \"file:pw\"\nsteps = [\"./f.wasm#x\"]".to_owned(), "names no plugin's step"),
        ("from = \"file:pw\"\nstep = []".to_owned(), "unknown field `step`"),
        ("from = \"file:pw\"\nvariables = [\"A\"]".to_owned(), "what a command (`exec:`) gets"),
        ("from = \"exec:a\"\nvariables = [\"A=b\"]".to_owned(), "what a command (`exec:`) gets"),
    ] {
        let place = place(&secret);
        place.run(&["run", "m.toml"]).exits(2).says(says).says("stepback.toml:");
    }
}

/// What somebody wrote where a path or an address belongs is told by no mistake.
#[test]
fn what_stands_in_the_place_of_a_path_or_an_address_is_not_told() {
    let aws = "provider = \"aws\"\n[environments.p.docker]";
    let tls = "ca = \"a\", cert = \"b\"";
    for (environment, says) in [
        (format!("{aws}\ntls = {{ {tls}, key = \"-----BEGIN hunter2\" }}"), "not its path"),
        (format!("{aws}\nendpoint = \"tcp://ann:hunter2@h:1\""), "a login has no place"),
        (format!("{aws}\ntls = {{ {tls}, key = \"k\", password = \"hunter2\" }}"), "password"),
        (format!("{aws}\n[environments.p.docker.hosts]\npassword = \"hunter2\""), "is not unix"),
        (format!("{aws}\nstall = \"hunter2\\u0040\""), "is not a duration"),
        (format!("{aws}\nhosts.a = \"`hunter2`\""), "is not unix"),
        (format!("{aws}\nhosts.a = \"tcp://h:1/hunter2\""), "a host and a port alone"),
    ] {
        let place = Place::new();
        place.write("stepback.toml", format!("[environments.p]\n{environment}\n"));
        place.run(&["env", "list"]).exits(2).says(says).lacks("hunter2");
    }
    // Nor by what might be meant.
    let place = Place::new();
    let named = "default_environment = \"ann:hunter1@h\"\n[environments.\"ann:hunter2@h\"]\n\
                 provider = \"simulated\"\n";
    place.write("stepback.toml", named);
    place.run(&["env", "list"]).exits(2).says("there is no environment").lacks("hunter");
}

/// The references of the earlier operation are given again: what is found there by now counts.
#[test]
fn secrets_of_an_operation_like_an_earlier_one_are_found_where_that_ones_were() {
    for (secret, given) in
        [("from = \"file:pw\"", None), ("from = \"file:no\"", Some("db=env:PW_OF_TEST"))]
    {
        let place = place(secret);
        let by_name: Vec<&str> = given.iter().flat_map(|given| ["--secret", given]).collect();
        let run = |arguments: &[&str], is_set: bool| {
            let mut command = place.command(arguments);
            let command = if is_set { command.env("PW_OF_TEST", VALUE) } else { &mut command };
            Ran::of(command).lacks(VALUE)
        };
        run(&[&["run", "m.toml"][..], &by_name].concat(), true).exits(0);
        // What it is to make is there by now.
        let planned = run(&["plan", "--like", "1"], true).exits(2).says("like operation 1: ");
        planned.says("there is a container `app`");
        if given.is_some() {
            run(&["plan", "--like", "1"], false).exits(2).says("PW_OF_TEST is not set");
        }
    }
}
