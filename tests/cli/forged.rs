//! Attacks: a step tries to read back a secret, one that it guesses or one that it was given.

use crate::harness::{Place, Ran, component};

const VALUE: &str = "hunter22-Zx81!";

/// Each place that a text can be written to, and what of the call it is.
const PLACES: [(&str, &str); 12] = [
    ("tag-value", "ebs.tag: `value`"),
    ("tag-key", "ebs.tag: `key`"),
    ("volume", "ebs.describe: `volume`"),
    ("host", "docker.list-containers: `host`"),
    ("name", "docker.inspect-container: `container`"),
    ("image", "docker.inspect-image: `image`"),
    ("pull", "docker.pull-image: `image`"),
    ("command", "docker.create-container: `spec.command[1]`"),
    ("exec", "docker.exec: `command[0]`"),
    ("label", "docker.create-container: `spec.labels.forged`"),
    ("label-key", "docker.create-container: `a key of spec.labels`"),
    ("environment-key", "docker.create-container: `a key of spec.env`"),
];
/// Those of them that a check may write to.
const LOOKS: [&str; 4] = ["volume", "host", "name", "image"];

/// A place with the plugin in it, and the secret in a file.
fn place() -> (Place, String) {
    let place = Place::new();
    let before = place.untouched();
    std::fs::copy(component("forging"), place.path("f.wasm")).expect("the build made it");
    place.write("pw", VALUE);
    (place, before)
}

/// Another step is given the secret; then comes this.
fn run(place: &Place, verb: &str, steps: &str, more: &[&str]) -> Ran {
    let text = format!(
        "schema = 1\n[operation]\nname = \"forge\"\n[inputs]\npw = {{ type = \"secret\" }}\n\
         [[steps]]\nid = \"give\"\nuses = \"docker/create-container\"\n\
         with = {{ host = \"i-db-1\", container = \"app\", image = \"postgres:16\", \
         env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n{steps}"
    );
    let path = place.write("forge.toml", text);
    let given =
        [verb, &path, "-i", "pw=file:pw", "--grant", "f.wasm=[\"ebs\", { docker = \"root\" }]"];
    place.run(&[&given[..], more].concat())
}

fn step(id: &str, place: &str, at: &str, what: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"./f.wasm#forge\"\nirreversible = \"it is a test\"\n\
         with = {{ place = \"{place}\", at = \"{at}\", {what} }}\n"
    )
}

/// Nothing that anybody can read has the value, or a handle of it.
fn is_nowhere(place: &Place, ran: &Ran, what: &str) {
    let world = std::fs::read_to_string(place.path("state/worlds/local/world.json"));
    let world = world.expect("there is a world");
    let mut told = vec![ran.stdout.clone(), ran.stderr.clone(), world];
    for arguments in [&["list"][..], &["show", "1", "--json"], &["logs", "1"]] {
        let ran = place.run(arguments);
        told.extend([ran.stdout, ran.stderr]);
    }
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
        told.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in told {
        assert!(!text.contains(VALUE), "{what}: {text}");
        assert!(!text.contains("stepback-secret-"), "{what}: {text}");
    }
}

#[test]
fn what_is_guessed_to_stand_for_a_secret_is_refused_wherever_it_is_written() {
    for (at, wanted) in PLACES.into_iter().chain([("environment", "`spec.env.FORGED`")]) {
        let (place, before) = place();
        let ran = run(&place, "run", &step("forge", at, "run", "guess = \"pw\""), &[]).exits(3);
        let ran = ran.says(wanted).says("a mark that the program puts in a secret's place");
        is_nowhere(&place, &ran.says("verdict: restored"), at);
        assert_eq!(place.facts(), before, "{at}");
    }
}

#[test]
fn what_a_step_was_given_is_refused_but_where_a_secret_may_be_put() {
    let given = "given = \"{{ inputs.pw }}\"";
    for (at, wanted) in PLACES {
        let (place, before) = place();
        let ran = run(&place, "run", &step("forge", at, "run", given), &[]).exits(3);
        is_nowhere(&place, &ran.says(wanted).says("holds the secret `pw`"), at);
        assert_eq!(place.facts(), before, "{at}");
    }
    // And there it is the same for whoever goes on.
    let (place, _) = place();
    let forge = step("forge", "environment", "run", "given = \"x-{{ inputs.pw }}\"");
    let crash = ["--inject", "docker.create-container#2=crash-before"];
    assert_eq!(run(&place, "run", &forge, &crash).code, None);
    place.run(&["resume", "1"]).exits(0);
    let containers = &place.world().engines["i-db-1"].containers;
    assert_eq!(containers["forged"].spec.env["FORGED"], format!("x-{VALUE}"));
    assert_eq!(containers["app"].spec.env["PW"], VALUE);
}

/// Looking is enough: an image is looked for in a registry of the attacker's.
#[test]
fn no_check_sends_a_secret_anywhere() {
    for what in ["guess = \"pw\"", "given = \"{{ inputs.pw }}\""] {
        for (at, wanted) in PLACES.into_iter().filter(|(at, _)| LOOKS.contains(at)) {
            for verb in ["plan", "run"] {
                let (place, before) = place();
                let ran = run(&place, verb, &step("forge", at, "check", what), &[]).exits(2);
                let ran = ran.says(wanted).says("nothing was asked of the world");
                is_nowhere(&place, &ran, at);
                assert_eq!(place.facts(), before, "{at}");
            }
        }
    }
}

/// What one step is given it can't pass on to another.
#[test]
fn a_secret_is_not_passed_on_by_what_a_step_tells() {
    let tells = step("tells", "output", "run", "given = \"{{ inputs.pw }}\"");
    for also in ["", "{{ inputs.pw }}"] {
        let (place, before) = place();
        let what = format!("given = \"{{{{ steps.tells }}}}{also}\"");
        let forge = step("forge", "environment", "run", &what);
        let ran = run(&place, "run", &format!("{tells}{forge}"), &[]);
        let ran = ran.says("a mark that the program puts in a secret's place");
        is_nowhere(&place, &ran, "output");
        assert_eq!(place.facts(), before);
    }
    for (at, code) in [("failure", 3), ("log", 0)] {
        let (place, _) = place();
        let what = "given = \"it is {{ inputs.pw }}.\"";
        let ran = run(&place, "run", &step("forge", at, "run", what), &[]).exits(code);
        let logs = place.run(&["logs", "1"]).stdout;
        let told = format!("{}{}{logs}", ran.stdout, ran.stderr);
        assert!(told.contains("it is <secret pw>."), "{told}");
        assert!(!told.contains("stepback-secret-"), "{told}");
    }
}

/// Whoever may list processes reads a command line, and so it must be asked for.
#[test]
fn a_command_is_revealed_in_where_the_manifest_says_so_and_a_plan_shows_it() {
    let forge = step("forge", "command", "run", "given = \"{{ inputs.pw }}\"");
    let (place, _) = place();
    run(&place, "plan", &forge, &[]).exits(0).lacks("reveal");
    run(&place, "run", &forge, &[]).exits(3).says("a step that means it says `reveal");
    let asks = forge.replace("irreversible", "reveal = [\"command\"]\nirreversible");
    run(&place, "plan", &asks, &[]).exits(0).says("`forge` puts secrets into a command line");
    let planned = run(&place, "plan", &asks, &["--json"]).exits(0).json();
    assert_eq!(planned["steps"][1]["reveal"], serde_json::json!(["command"]));
    run(&place, "run", &asks, &[]).exits(0).lacks(VALUE);
    let made = place.world().engines["i-db-1"].containers["forged"].spec.clone();
    assert_eq!(made.command, ["echo", VALUE]);
    for wrong in ["\"command\"", "[\"tags\"]", "[1]"] {
        let wrong = forge.replace("irreversible", &format!("reveal = {wrong}\nirreversible"));
        run(&place, "plan", &wrong, &[]).exits(2).says("reveal = [\"command\"]");
    }
}

/// What a program did with it is masked where it comes back: as a key, and in base64.
#[test]
fn what_comes_back_is_hidden_in_keys_and_in_other_forms() {
    const BASIC: &str = "YWRtaW46aHVudGVyMjItWng4MSE=";
    let (place, _) = place();
    crate::leaks::is_planted(&place.path(""));
    let world = place.path("state/worlds/local/world.json");
    let told = std::fs::read_to_string(&world).expect("a world");
    let tags = format!("\"database\": \"main\", \"{VALUE}\": \"{BASIC}\"");
    std::fs::write(&world, told.replacen("\"database\": \"main\"", &tags, 1)).expect("a world");
    let look = "[[steps]]\nid = \"look\"\nuses = \"ebs/describe-volume\"\n\
                with = { volume = \"vol-db-main\" }\n";
    let steps = format!("{look}{}", step("tells", "nowhere", "run", ""));
    let ran = run(&place, "run", &steps.replace(", }", " }"), &["--json"]).exits(0);
    let shown = place.show(1);
    let output = &shown["steps"][2]["output"];
    assert!(output.as_str().is_some_and(|told| told.contains("secret:pw")), "{output}");
    let mut all = vec![ran.stdout, ran.stderr, shown.to_string()];
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in all {
        assert!(!text.contains(VALUE) && !text.contains(&BASIC[10..]), "{text}");
    }
}
