//! Commands in real containers, of their own and running ones.

use crate::parts::{TestCluster, are_possible};

/// One step that can't be undone.
fn manifest(parts: &TestCluster, uses: &str, with: &str) -> String {
    let text = format!(
        "schema = 1\n[operation]\nname = \"command\"\n[[steps]]\nid = \"command\"\n\
         uses = \"docker/{uses}\"\nirreversible = \"it ran\"\n[steps.with]\n\
         host = \"i-a\"\n{with}\n"
    );
    let path = parts.path("command.toml");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[test]
fn commands_run_in_containers_and_tell_what_they_print() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    println!("in a running container");
    let exec = |command: &str| {
        let with = format!("container = \"main\"\ncommand = {command}\ntimeout = \"3s\"");
        parts.run(&["run", &manifest(&parts, "exec", &with)])
    };
    exec("[\"redis-cli\", \"set\", \"row\", \"changed\"]").exits(0).says("info: OK");
    assert_eq!(parts.a.redis(&["get", "row"]), "changed");
    exec("[\"sh\", \"-c\", \"echo no; exit 7\"]").exits(4).says("exited with 7: no");
    exec("[\"none\"]").exits(4).says("none");
    exec("[\"sleep\", \"60\"]").exits(4).says("still ran after 3s");

    println!("in one of its own, each line as it comes");
    let script = "for n in 1 2 3; do echo tick $n; sleep 1; done; echo last; $END";
    let run_once = |end: &str| {
        let script = script.replace("$END", end);
        let image = parts.image();
        let with = format!(
            "image = \"{image}\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\ntimeout = \"8s\""
        );
        ["run".to_owned(), manifest(&parts, "run-once", &with)]
    };
    let ticks = |end: &str, cancel_at: Option<&str>| {
        let mut seen = vec![];
        let arguments = run_once(end);
        let ran = parts.run_watched(&[&arguments[0], &arguments[1]], |line| {
            let running = parts.a.docker(&["ps", "--quiet", "--filter", "label=stepback.token"]);
            seen.push((line.contains("info: tick 1"), running.lines().count()));
            if cancel_at.is_some_and(|at| line.contains(at)) {
                let id = parts.run(&["list", "--json"]).exits(0);
                let all: serde_json::Value = serde_json::from_str(&id.said).expect("JSON");
                let last =
                    all.as_array().and_then(|all| all.iter().map(|o| o["id"].as_u64()).max());
                let last = last.flatten().expect("an operation").to_string();
                parts.run(&["cancel", &last]).exits(0);
            }
        });
        assert!(seen.iter().any(|(tick, running)| *tick && *running == 2), "{seen:?}");
        assert_eq!(parts.a.docker(&["ps", "--all", "--quiet"]).lines().count(), 1, "it is left");
        ran
    };
    ticks("true", None).exits(0).says("info: tick 3").says("last");
    ticks("exit 3", None).exits(4).says("exited with 3");
    ticks("sleep 60", None).exits(4).says("took longer than its timeout, 8s");
    ticks("sleep 60", Some("info: tick 2")).exits(4).says("cancelled");
}
