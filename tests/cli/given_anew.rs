//! `resume ID --secret NAME=…`: a secret that is found elsewhere by now, or is another one.

use crate::harness::{Place, Ran};

const MANIFEST: &str = r#"
schema = 1
[operation]
name = "anew"
[inputs]
pw = { type = "secret" }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "seen", value = "yes" }
[[steps]]
id = "make"
uses = "docker/create-container"
[steps.with]
host = "i-db-1"
container = "app"
image = "postgres:16"
env = { PW = "{{ inputs.pw }}" }
"#;

const OLD: &str = "correct-horse-1";
const NEW: &str = "battery-staple-2";

/// Killed at this call; what it began with is gone by then.
fn killed(at: &str) -> Place {
    killed_by(&format!("{at}=crash-before"))
}

fn killed_by(crash: &str) -> Place {
    let place = Place::new();
    place.untouched();
    let manifest = place.write("anew.toml", MANIFEST);
    place.write("old", OLD);
    let run = ["run", &manifest, "-i", "pw=file:old", "--inject", crash];
    assert_eq!(place.run(&run).code, None, "it was killed");
    std::fs::remove_file(place.path("old")).expect("it is gone");
    place.write("moved", OLD);
    place.write("new", NEW);
    place.run(&["resume", "1"]).exits(6).says("the secret `pw`");
    place
}

fn made(place: &Place) -> String {
    place.world().engines["i-db-1"].containers["app"].spec.env["PW"].clone()
}

fn resume(place: &Place, more: &[&str]) -> Ran {
    place.run(&[&["resume", "1"], more].concat())
}

#[test]
fn a_secret_that_no_call_had_may_be_another_one() {
    let place = killed("ebs.tag");
    resume(&place, &["--secret", "other=file:new"]).exits(6).says("has no secret `other`");
    resume(&place, &["--secret", &format!("pw={NEW}")]).exits(2).lacks(NEW);
    resume(&place, &["--secret", "pw=file:nowhere"]).exits(6).says("nowhere can't be read");
    let ran = resume(&place, &["--secret", "pw=file:new"]).exits(0);
    ran.says("the secret `pw` is file:").lacks(NEW);
    assert_eq!(made(&place), NEW);
}

#[test]
fn where_it_is_found_is_journaled_for_whoever_goes_on() {
    let place = killed("ebs.tag");
    let crash = ["--secret", "pw=file:new", "--inject", "docker.create-container=crash-before"];
    assert_eq!(resume(&place, &crash).code, None);
    // A call had it now.
    resume(&place, &["--secret", "pw=file:moved"]).exits(6).says("not the one");
    resume(&place, &[]).exits(0);
    assert_eq!(made(&place), NEW);
}

#[test]
fn going_forward_with_another_one_than_a_call_had_is_refused() {
    let place = killed("docker.create-container");
    let before = place.facts();
    let ran = resume(&place, &["--secret", "pw=file:new"]).exits(6);
    ran.says("not the one that the operation began with").lacks(NEW);
    assert_eq!(place.facts(), before);
    resume(&place, &["--secret", "pw=file:moved"]).exits(0);
    assert_eq!(made(&place), OLD);

    let place = killed("docker.create-container");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");

    // Going back, it is given to be known by what it is, and kept out of what is looked at.
    let place = killed("docker.create-container");
    place.run(&["rollback", "1", "--secret", &format!("pw={OLD}")]).exits(2).lacks(OLD);
    place.run(&["rollback", "1", "--secret", "other=file:new"]).exits(6).says("no secret `other`");
    let ran = place.run(&["rollback", "1", "--secret", "pw=file:moved"]).exits(3);
    ran.says("verdict: restored").says("the secret `pw` is file:").lacks(OLD);
}

/// Two containers that are given secrets, with a tag between them.
fn two(secrets: &str, first: &str, second: &str) -> String {
    let make = |name: &str, env: &str| {
        format!(
            "[[steps]]\nid = \"{name}\"\nuses = \"docker/create-container\"\nwith = {{ \
             host = \"i-db-1\", container = \"{name}\", image = \"postgres:16\", env = {env} }}\n"
        )
    };
    let tag = "[[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
               with = { volume = \"vol-db-main\", key = \"seen\", value = \"yes\" }\n";
    let begin = format!("schema = 1\n[operation]\nname = \"two\"\n[inputs]\n{secrets}");
    [&begin, &make("one", first), tag, &make("two", second)].concat()
}

fn given_to(place: &Place, container: &str) -> Option<String> {
    let world = place.world();
    let container = world.engines["i-db-1"].containers.get(container)?;
    container.spec.env.get("PW").cloned()
}

#[test]
fn what_is_given_before_an_operation_began_is_journaled_too() {
    let place = Place::new();
    place.untouched();
    let env = "{ PW = \"{{ inputs.pw }}\" }";
    let manifest = place.write("two.toml", two("pw = { type = \"secret\" }\n", env, env));
    place.write("old", OLD);
    place.write("new", NEW);
    let run = ["run", &manifest, "-i", "pw=file:old", "--inject", "commit#2=crash-before"];
    assert_eq!(place.run(&run).code, None);
    let crash = ["--secret", "pw=file:new", "--inject", "docker.create-container#2=crash-before"];
    assert_eq!(resume(&place, &crash).code, None);
    resume(&place, &[]).exits(0);
    let both = ["one", "two"].map(|name| given_to(&place, name));
    assert_eq!(both, [Some(NEW.to_owned()), Some(NEW.to_owned())]);
}

/// The journal has one mark for both.
#[test]
fn a_secret_that_was_another_ones_value_counts_as_given() {
    let place = Place::new();
    place.untouched();
    let secrets = "admin = { type = \"secret\" }\nuser = { type = \"secret\" }\n";
    let (first, second) = (
        "{ PW = \"{{ inputs.user }}\" }",
        "{ PW = \"{{ inputs.user }}\", A = \"{{ inputs.admin }}\" }",
    );
    let manifest = place.write("two.toml", two(secrets, first, second));
    place.write("admin", OLD);
    place.write("user", OLD);
    place.write("new", NEW);
    let run = ["run", &manifest, "-i", "admin=file:admin", "-i", "user=file:user"];
    assert_eq!(place.run(&[&run[..], &["--inject", "ebs.tag=crash-before"]].concat()).code, None);
    let refused = resume(&place, &["--secret", "user=file:new"]).exits(6);
    refused.says("not the one that the operation began with").lacks("resume with");
    assert_eq!(given_to(&place, "two"), None);
    resume(&place, &[]).exits(0);
    assert_eq!(given_to(&place, "two"), given_to(&place, "one"));
}

/// From here on it would be hidden in them, and nothing be as it was.
#[test]
fn a_value_that_is_a_piece_of_names_on_record_is_not_taken() {
    let before = {
        let place = Place::new();
        place.untouched()
    };
    for value in ["vol-db", "seen"] {
        // The tag is made, and no container.
        let place = killed_by("ebs.tag=crash-after");
        place.write("name", value);
        resume(&place, &["--secret", "pw=file:name"])
            .exits(6)
            .says("is a piece of what the journal");
        place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "{value}");
    }
}

#[test]
fn a_pipe_tells_a_secret_once() {
    let place = killed("ebs.tag");
    let pipe = place.path("pipe");
    let fifo = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(fifo.expect("mkfifo can be run").success());
    let write = std::thread::spawn(move || std::fs::write(pipe, NEW));
    resume(&place, &["--secret", "pw=file:pipe"]).exits(0).lacks(NEW);
    assert_eq!(made(&place), NEW);
    write.join().expect("no panic").expect("it is read");
}
