//! What a newcomer meets: where an operation runs, what a name means that is not there, and how the
//! story of an operation is told.

use crate::harness::{Place, Ran, operation};

const TWO: &str = "[environments.prod]\nprovider = \"simulated\"\n\
                   [environments.staging]\nprovider = \"simulated\"\n";

/// A success in a simulated world looks like one.
#[track_caller]
fn is_simulated(ran: Ran, environment: &str) -> Ran {
    let told = format!("SIMULATED: the environment `{environment}` is a simulation");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let (first, last) = (lines.first().expect("a line"), lines.last().expect("a line"));
    assert!(first.starts_with(&told) && last.starts_with(&told), "{}", ran.stderr);
    assert!(!ran.stdout.contains("SIMULATED"), "stdout's data stay as they are: {}", ran.stdout);
    ran
}

#[test]
fn a_forgotten_environment_is_asked_for_where_there_is_more_than_one() {
    let place = Place::new();
    let backup = operation("backup-database");
    is_simulated(place.run(&["run", &backup]).exits(0), "local");
    is_simulated(place.run(&["plan", &backup]).exits(0), "local");
    is_simulated(place.run(&["run", &backup, "-i", "database=mian"]).exits(2), "local");
    place.write("stepback.toml", TWO);
    for command in [&["run", &backup][..], &["plan", &backup], &["env", "check"]] {
        let refused =
            place.run(command).exits(2).says("which environment? There are prod, staging");
        refused.says("`-e ENV`").says("default_environment").lacks("SIMULATED");
    }
    is_simulated(place.run(&["run", &backup, "-e", "staging"]).exits(0), "staging");
    is_simulated(place.run(&["run", &backup, "-e", "local"]).exits(0), "local");
    place.write("stepback.toml", format!("default_environment = \"prod\"\n{TWO}"));
    is_simulated(place.run(&["run", &backup]).exits(0), "prod");
    is_simulated(place.run(&["run", &backup, "-e", "staging"]).exits(0), "staging");
    place.write("stepback.toml", format!("default_environment = \"prd\"\n{TWO}"));
    let wrong = place.run(&["list"]).exits(2).says("there is no environment `prd`");
    wrong.says("did you mean `prod`?").says("stepback.toml:1");
    // Grants alone are no environment.
    place.write("stepback.toml", "[plugins.\"./a.wasm\"]\ngrants = [\"ebs\"]\n");
    is_simulated(place.run(&["run", &backup]).exits(0), "local");
}

/// Whoever runs in another directory shares no locks with the rest.
#[test]
fn a_new_state_directory_is_told() {
    let place = Place::new();
    let backup = operation("backup-database");
    let told = format!("new state directory: {} ", place.path("state").display());
    place.run(&["run", &backup]).exits(0).says(&told);
    place.run(&["run", &backup]).exits(0).lacks("new state directory");
}

#[test]
fn what_was_simulated_says_so_in_lists_and_in_json() {
    let place = Place::new();
    let backup = operation("backup-database");
    let lines = place.run(&["run", &backup, "--json"]).exits(0).json_lines();
    assert!(lines.iter().all(|line| line["simulated"] == true), "{lines:?}");
    let story = place.run(&["logs", "latest", "--json"]).exits(0).json_lines();
    assert!(story.iter().all(|line| line["simulated"] == true), "{story:?}");
    for command in [&["list"][..], &["activity"], &["show", "1"]] {
        place.run(command).exits(0).says("local (SIMULATED)");
    }
    assert_eq!(place.show(1)["simulated"], true);
    let plan = place.run(&["plan", &backup, "--json"]).exits(0).json();
    assert_eq!((&plan["simulated"], &plan["environment"]), (&true.into(), &"local".into()));
    let all = place.run(&["env", "list", "--json"]).exits(0).json();
    assert_eq!(all[0]["simulated"], true);
}

#[test]
fn a_retry_that_does_nothing_is_told() {
    let place = Place::new();
    let asserts = "schema = 1\n[operation]\nname = \"a\"\n[[steps]]\nid = \"so\"\n\
                   uses = \"core/assert\"\nwith = { condition = true, message = \"x\" }\n";
    let path = place.write("a.toml", asserts);
    place.run(&["validate", &path]).exits(0).lacks("does nothing");
    let path = place.write("b.toml", format!("{asserts}retry = {{ attempts = 3 }}\n"));
    let told =
        place.run(&["validate", &path]).exits(0).says("the `retry` of step `so` does nothing");
    told.says("known before its first attempt").says("no mistakes");
}

/// A plan is read before it is run: with what, and on what.
#[test]
fn a_plan_shows_what_is_known_before_it_runs() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let plan = place.run(&["plan", &flagship]).exits(0);
    let plan = plan.says("inputs").says("to_instance = \"i-db-2\"").says("device = \"/dev/sdf\"");
    plan.says("found id = \"vol-db-main\"").says("with volume = \"vol-db-main\"");
    let plan = place.run(&["plan", &flagship, "--json"]).exits(0).json();
    let steps = plan["steps"].as_array().expect("steps");
    let of = |id: &str| steps.iter().find(|step| step["id"] == id).expect(id)["checks"][0].clone();
    assert_eq!(of("detach")["with"]["instance"], "i-db-1");
    assert_eq!(of("find-volume")["found"]["size_gib"], 20);
    // What it would do, in order, and nothing of what only looks.
    let plan = place.run(&["plan", &operation("redeploy-database")]).exits(0).stdout;
    let would = plan.split("it would\n").nth(1).expect("a list").split("\n\n").next();
    let would: Vec<&str> = would.expect("a list").lines().collect();
    assert_eq!(would.len(), 9, "{would:?}");
    assert_eq!(would[0], "  create  pull-image           image postgres:16, host i-db-2");
    assert_eq!(would[3], "  stop    stop-old             container main, host i-db-1");
    assert_eq!(would[8], "  remove  remove-old-volume    volume vol-db-main, host i-db-1");
    let json = place.run(&["plan", &operation("redeploy-database"), "--json"]).exits(0).json();
    let does = |id: &str| {
        let steps = json["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["id"] == id).expect("a step")["does"].clone()
    };
    assert_eq!((does("stop-old"), does("healthy")), ("stop".into(), serde_json::Value::Null));
    // No wait for what is not there is well.
    let plan = place.run(&["plan", &operation("redeploy-database")]).exits(0).stdout;
    let healthy = plan.lines().find(|line| line.contains("docker/wait-healthy")).expect("a row");
    assert!(healthy.contains("not yet: there is no container `main` on i-db-2"), "{healthy}");
    // A secret is named, and nothing of it is shown.
    let secret = "schema = 1\n[operation]\nname = \"s\"\n[inputs]\n\
                  password = { type = \"secret\" }\n\
                  [[steps]]\nid = \"c\"\nuses = \"docker/create-container\"\n\
                  with = { host = \"i-db-1\", container = \"app\", image = \"postgres:16\", \
                  env = { PW = \"{{ inputs.password }}\", NOTE = \"secret:x\" } }\n";
    let path = place.write("secret.toml", secret);
    std::fs::write(place.path("pw"), "hunter22-the-password").expect("a file");
    let plan = ["plan", &path, "-i", "password=file:pw"];
    let shown = place.run(&plan).says("\"PW\":\"<secret password>\"").says("\"NOTE\":\"secret:x\"");
    shown.lacks("hunter22");
    place.run(&[&plan[..], &["--json"]].concat()).says("<secret password>").lacks("hunter22");
}

#[test]
fn a_misspelt_database_is_refused_with_those_that_there_are() {
    let place = Place::new();
    let before = place.untouched();
    for name in
        ["redeploy-database", "resize-database-volume", "restart-database", "backup-database"]
    {
        for verb in ["run", "plan"] {
            let ran = place.run(&[verb, &operation(name), "-i", "database=mian"]).exits(2);
            ran.says("no volume carries database = mian; there are database = main")
                .says("no step before it could change that");
        }
    }
    assert_eq!(place.facts(), before);
    let gone = place.run(&["run", &operation("redeploy-database"), "-i", "to_instance=i-db-9"]);
    gone.exits(2).says("i-db-9").says("there are i-db-1, i-db-2, i-db-3");
    let container = "schema = 1\n[operation]\nname = \"look\"\n[[steps]]\nid = \"look\"\n\
                     uses = \"docker/inspect-container\"\n\
                     with = { host = \"i-db-1\", container = \"mian\" }\n";
    let path = place.write("look.toml", container);
    let refused = place.run(&["run", &path]).exits(2);
    refused.says("there is no container `mian` on i-db-1; there are main");
    // What an earlier step makes is waited for.
    let tag = "schema = 1\n[operation]\nname = \"tag\"\n[[steps]]\nid = \"tag\"\n\
               uses = \"ebs/tag-volume\"\n\
               with = { volume = \"vol-db-main\", key = \"database\", value = \"mian\" }\n\
               [[steps]]\nid = \"find\"\nuses = \"ebs/find-volume\"\nneeds = [\"tag\"]\n\
               with = { tags = { database = \"mian\" } }\n";
    let path = place.write("tag.toml", tag);
    place.run(&["plan", &path]).exits(0).says("not yet: no volume carries database = mian");
    place.run(&["run", &path]).exits(0);
}

#[test]
fn the_story_is_told_again_as_it_was_told_live() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let live = place.run(&["run", &flagship, "--inject", "ebs.attach=refuse"]).exits(3);
    let again = place.run(&["logs", "1"]).exits(0).stdout;
    // The same lines, but for what is of this run's terminal, with the time before each.
    let told: Vec<&str> =
        again.lines().filter_map(|line| line.split_once("Z ")).map(|l| l.1).collect();
    let is_of_the_run =
        |line: &&str| line.starts_with("SIMULATED") || line.starts_with("new state directory");
    for line in live.stderr.lines().filter(|line| !is_of_the_run(line)) {
        assert!(told.contains(&line), "`{line}` is not in\n{again}");
    }
    assert!(again.contains(&live.stdout), "the last word is told too:\n{again}");
    let of_one = place.run(&["logs", "1", "--step", "attach"]).exits(0).stdout;
    assert!(of_one.lines().count() > 2, "{of_one}");
    assert!(of_one.lines().all(|line| line.contains("attach")), "{of_one}");
    place.run(&["logs", "1", "--step", "atach"]).exits(2).says("did you mean `attach`?");
    let story = place.run(&["logs", "1", "--json"]).exits(0).json_lines();
    assert_eq!(story[0]["record"]["event"], "created");
    assert!(story.iter().any(|line| line["log"]["text"].is_string()), "logs are in it");
    place.run(&["logs", "none"]).exits(2).says("`latest`");
}

#[test]
fn a_story_is_followed_from_another_terminal_and_a_resume_tells_what_is_new() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    let mut follower = place.start_as("follower", &["logs", "latest", "--follow"]);
    follower.wait_for("ebs.attach");
    running.signal("TERM");
    running.ends().exits(6);
    let resumed = place.run(&["resume", "1"]).exits(0);
    resumed.says("events up to").says("`stepback logs 1`").says("✓ attach").lacks("find-volume");
    follower.ends().exits(0).says("✓ healthy").says("operation 1 succeeded");
}

#[test]
fn the_past_is_listed_by_environment_name_and_status_newest_first() {
    let place = Place::new();
    place.write("stepback.toml", TWO);
    let (backup, flagship) = (operation("backup-database"), operation("redeploy-database"));
    place.run(&["run", &backup, "-e", "prod"]).exits(0);
    place.run(&["run", &backup, "-e", "staging"]).exits(0);
    place.run(&["run", &flagship, "-e", "prod"]).exits(0);
    place.run(&["run", &flagship, "-e", "prod"]).exits(2);
    let ids = |more: &[&str]| {
        let of = |command: &[&str]| {
            let all = place.run(&[command, more].concat()).exits(0).json();
            let all = all.as_array().expect("a list").clone();
            all.iter().map(|one| one["id"].as_u64().expect("an id")).collect::<Vec<_>>()
        };
        let listed = of(&["list", "--json"]);
        assert_eq!(listed, of(&["activity", "--format", "json"]), "{more:?}");
        listed
    };
    assert_eq!(ids(&[]), [4, 3, 2, 1]);
    assert_eq!(ids(&["-e", "prod"]), [4, 3, 1]);
    assert_eq!(ids(&["-e", "prod", "--operation", "redeploy-database"]), [4, 3]);
    assert_eq!(ids(&["--status", "succeeded", "--limit", "2"]), [3, 2]);
    place.run(&["list", "-e", "nowhere"]).exits(2).says("there is no environment `nowhere`");
    place.run(&["activity", "-e", "prd"]).exits(2).says("did you mean `prod`?");
    assert_eq!(ids(&["-e", "local"]), [0_u64; 0], "nothing ran there");
    place.run(&["list", "--status", "done"]).exits(2).says("there is no status `done`");
}

#[test]
fn what_changes_an_operation_takes_its_number() {
    let place = Place::new();
    place.run(&["run", &operation("backup-database")]).exits(0);
    place.run(&["show", "latest"]).exits(0);
    for command in ["resume", "rollback", "cancel"] {
        place.run(&[command, "latest"]).exits(2).says("give the operation's number");
    }
}

/// Whoever takes it up wants to know what became of the call that nobody heard the end of.
#[test]
fn what_became_of_the_call_that_was_under_way_is_told() {
    for fault in ["crash-after", "crash-before"] {
        let place = Place::new();
        let fault = format!("ebs.attach={fault}");
        let killed = place.run(&["run", &operation("redeploy-database"), "--inject", &fault]);
        assert_eq!(killed.code, None, "{}", killed.stderr);
        let told = "ebs.attach was under way when its runner ended: it is done, once";
        place.run(&["resume", "1"]).exits(0).says(told);
        let again = place.run(&["logs", "1"]).exits(0).says(told);
        assert_eq!(again.stdout.matches("was under way").count(), 1, "{}", again.stdout);
    }
}

#[test]
fn what_is_given_up_is_told_with_what_happened_and_how_things_are() {
    let place = Place::new();
    let fault = "ebs.attach=crash-after";
    let killed = place.run(&["run", &operation("redeploy-database"), "--inject", fault]);
    assert_eq!(killed.code, None, "{}", killed.stderr);
    let given_up = place.run(&["unlock", "1", "--reason", "it is late"]).exits(0);
    let given_up = given_up.says("given up by").says("its locks are released");
    let given_up = given_up.says("nobody has seen its end").lacks("and not over");
    let stopped = "happened, and was not taken back: docker.stop-container of stop-old";
    let unknown = "may have happened: ebs.attach of attach, on ebs:volume/vol-db-main";
    let given_up = given_up.says(stopped).says(unknown);
    // What it is now is read from the world, not from the journal.
    let given_up = given_up.says(
        "look at: ebs:volume/vol-db-main\n  attachments: was \
         [{\"device\":\"/dev/sdf\",\"instance\":\"i-db-1\"}], is \
         [{\"device\":\"/dev/sdf\",\"instance\":\"i-db-2\"}]",
    );
    let given_up = given_up.says("look at: ec2:instance/i-db-2\n  it is as it was");
    // A container's environment is sealed, as in the journal.
    given_up.lacks("/var/lib/postgresql/data/pg");
}

#[test]
fn what_several_steps_miss_is_told_once() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let refused = place.run(&["run", &flagship, "-i", "to_instance=i-db-22"]).exits(2);
    assert_eq!(refused.stderr.matches("there is no instance `i-db-22`").count(), 1);
    refused.says("there are i-db-1, i-db-2, i-db-3, i-web-1, i-web-2 (so say `pull-image`, ");
}
