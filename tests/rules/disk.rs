//! What takes its time (a disk, an engine that is down) is not asked again and again meanwhile.

use crate::life::{Fate, Lives};
use std::sync::mpsc;
use std::time::Duration;
use stepback_core::state::Status;

/// Steps side by side, so that there is more to write while something is being written.
const MANIFEST: &str = "schema = 1
[operation]
name = \"disk\"
[[steps]]
id = \"one\"
uses = \"ebs/create-snapshot\"
with = { volume = \"vol-db-main\" }
[[steps]]
id = \"two\"
uses = \"docker/pull-image\"
with = { host = \"i-db-2\", image = \"postgres:16\" }
[[steps]]
id = \"three\"
uses = \"ebs/tag-volume\"
with = { volume = \"vol-db-main\", key = \"k\", value = \"v\" }
";

/// A runner that looks again and again never lets anybody else go on, time included.
#[test]
fn who_waits_for_a_disk_does_nothing_else() {
    let (done, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lives = Lives::new(MANIFEST, &[]);
        lives.append_ms = 10_000;
        done.send(lives.live(Fate::default()).ended).expect("somebody waits");
    });
    // Long enough for any machine; a runner that spins takes for ever.
    let ended = answer.recv_timeout(Duration::from_secs(300)).expect("it comes to its end");
    assert_eq!(ended, Some(Ok(Status::Succeeded)));
}

/// It would not answer, once for each of its containers, with the service down all the while.
#[test]
fn the_engine_of_an_instance_that_is_down_is_not_asked() {
    let manifest = "schema = 1\n[operation]\nname = \"down\"\n[[steps]]\nid = \"stop\"\n\
                    uses = \"ec2/stop-instance\"\nwith = { instance = \"i-db-1\" }\n[[steps]]\n\
                    id = \"fails\"\nuses = \"ebs/create-snapshot\"\n\
                    with = { volume = \"vol-db-main\" }\n";
    let mut lives = Lives::new(manifest, &["ebs.create-snapshot=refuse".to_owned()]);
    lives.expects_restored = true;
    assert_eq!(lives.live(Fate::default()).ended, Some(Ok(Status::RolledBack)));
    lives.check(Status::RolledBack).expect("it is restored");
    let asked = lives.story.seen.lock().expect("no panic").looks_at_what_is_down;
    assert_eq!(asked, 0, "its containers were looked at while it was down");
}
