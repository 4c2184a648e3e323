//! What can be seen from inside, with `STEPBACK_LOG`.

use crate::harness::{Place, Ran, operation};

/// Run the flagship, which fails near its end, with a log.
fn logged(place: &Place, asked: &str, more: &[&str]) -> Ran {
    let flagship = operation("redeploy-database");
    let arguments = [&["run", &flagship, "--inject", "docker.wait-healthy=refuse"], more].concat();
    let mut command = place.command(&arguments);
    let output = command.env("STEPBACK_LOG", asked).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// An operation that fails and is rolled back can be understood from it alone.
#[test]
fn why_it_failed_and_what_was_done_is_told_from_inside() {
    let place = Place::new();
    let file = place.path("log");
    let into = file.display().to_string();
    let ran = logged(&place, "debug", &["--log-file", &into, "--log-format", "json"]).exits(3);
    assert!(!ran.stderr.contains("\"timestamp\""), "it went to the file");
    let text = std::fs::read_to_string(&file).expect("a log");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let message = |line: &serde_json::Value| line["fields"]["message"].as_str().map(str::to_owned);
    let has = |wanted: &str| lines.iter().any(|line| message(line).as_deref() == Some(wanted));
    for wanted in [
        "the downtime window opens",
        "the effect is made",
        "an attempt failed",
        "rolling back",
        "an undo ended",
        "the world was read again",
        "it ended",
        "committed to the store",
    ] {
        assert!(has(wanted), "`{wanted}` is not in\n{text}");
    }
    // What it was about is told with it, of questions too.
    let of = |field: &str, call: &str| lines.iter().any(|line| line["fields"][field] == call);
    assert!(of("effect", "ebs.detach(instance=i-db-1, volume=vol-db-main)"), "{text}");
    assert!(of("of", "docker.inspect-container(container=main, host=i-db-1)"), "{text}");
    // Whatever happens in an attempt is in its span, and that is in its operation's.
    let failed = lines.iter().find(|line| message(line).as_deref() == Some("the effect is made"));
    let spans = failed.expect("one").get("spans").cloned().unwrap_or_default();
    let names: Vec<&str> =
        spans.as_array().into_iter().flatten().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["operation", "effect"]);
    // What libraries tell, nobody asked for.
    let own =
        |line: &serde_json::Value| line["target"].as_str().map(|at| at.starts_with("stepback"));
    assert!(lines.iter().all(|line| own(line) == Some(true)), "{text}");
}

#[test]
fn nothing_is_told_that_nobody_asked_for() {
    let place = Place::new();
    let ran = logged(&place, "", &[]).exits(3);
    assert!(!ran.stderr.contains("stepback_engine"), "{}", ran.stderr);
    let ran = logged(&place, "stepback_engine=info", &[]).exits(3);
    assert!(ran.stderr.contains("rolling back"), "{}", ran.stderr);
    logged(&place, "no such=thing=x", &[]).exits(2).says("STEPBACK_LOG");
}

#[test]
fn a_log_from_inside_holds_no_secret() {
    const VALUE: &str = "hunter22-of-orders";
    let place = Place::new();
    place.write("pw", VALUE);
    let asks = "environment={\"P\": {\"secret\": \"pw\"}}";
    let provision = operation("provision-database");
    let given = ["run", &provision, "-i", asks, "--secret", "pw=file:pw"];
    let mut command = place.command(&given);
    let output = command.env("STEPBACK_LOG", "trace").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the effect is made") && !told.contains(VALUE), "{told}");
}
