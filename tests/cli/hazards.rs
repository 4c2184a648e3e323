//! What could cost somebody their data, or their service, and is told before anything stops.

use crate::harness::{Place, operation, root};

const DEVICE: &str = "device = \"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain\"";

/// The demo world with the database on something else than its tagged volume.
fn elsewhere(option: &str) -> Place {
    in_world(&demo_with(DEVICE, option))
}

pub fn demo() -> String {
    let world = std::fs::read_to_string(root().join("operations/demo-world.toml"));
    world.expect("the demo world")
}

/// The demo world with one thing in it another one.
pub fn demo_with(thing: &str, other: &str) -> String {
    let world = demo();
    assert!(world.contains(thing), "{thing} is not in the demo world");
    world.replace(thing, other)
}

pub fn in_world(world: &str) -> Place {
    let place = Place::new();
    place.write("world.toml", world);
    place.write(
        "stepback.toml",
        "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
    );
    place
}

#[test]
fn a_database_that_is_not_on_its_volume_is_left_alone() {
    let other = "device = \"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_volother\"";
    for option in ["o = \"bind\"", other] {
        let place = elsewhere(option);
        let before = place.untouched();
        for name in ["redeploy-database", "resize-database-volume", "deprovision-database"] {
            place.run_shipped(name, &[]).exits(2).says("mend that first");
            assert_eq!(place.facts(), before, "{name}");
        }
    }
}

/// A container that is made anew is of the very image, whatever its name means by now.
#[test]
fn what_is_made_anew_is_of_the_image_that_ran() {
    let runs = "sha256:1600000000000000000000000000000000000000000000000000000000000000";
    let world = demo();
    let moved = |of: &str| {
        let (had, has) = (format!("{of}{runs}"), format!("{of}{}", runs.replacen("16", "17", 1)));
        assert!(world.contains(&had), "{had}");
        world.replacen(&had, &has, 1)
    };
    for (name, host, world) in [
        ("resize-database-volume", "i-db-1", moved("\"postgres:16\" = \"")),
        ("redeploy-database", "i-db-2", moved("[registry.\"postgres:16\"]\ndigest = \"")),
    ] {
        let more = format!("[registry.\"postgres@{runs}\"]\ndigest = \"{runs}\"\n");
        let place = in_world(&format!("{world}\n{more}"));
        let before = place.untouched();
        // Where nothing fails by then, all is taken back.
        place.run_shipped(name, &["--inject", "docker.wait-healthy=refuse"]).exits(3);
        assert_eq!(place.facts(), before, "{name}");
        place.run_shipped(name, &[]).exits(0);
        let container = place.world().engines[host].containers["main"].clone();
        assert_eq!(container.digest, runs, "{name}");
        assert_eq!(container.spec.image, format!("postgres@{runs}"), "{name}");

        // Where nobody serves the old one any more, that is told.
        let place = in_world(&world);
        let before = place.untouched();
        if name == "redeploy-database" {
            let refused = place.run_shipped(name, &[]);
            refused.exits(3).says("means sha256:17").says("by its digest");
            assert_eq!(place.facts(), before);
        }
    }
}

/// An attachment that fails in the downtime is too late.
#[test]
fn a_device_name_that_is_in_use_is_told_before_the_database_stops() {
    let place = elsewhere(DEVICE);
    let world = std::fs::read_to_string(place.path("world.toml")).expect("a file");
    let other = "[volumes.vol-other]\nsize_gib = 1\ntype = \"gp2\"\nzone = \"us-east-1a\"\n\
                 attachments = [{ instance = \"i-db-2\", device = \"/dev/sdf\" }]\n";
    place.write("world.toml", format!("{world}\n{other}"));
    let before = place.untouched();
    let redeploy = operation("redeploy-database");
    let refused = place.run(&["run", &redeploy]);
    refused.exits(2).says("/dev/sdf of i-db-2 is in use").says("vol-other").says("-i device=");
    let provision = ["run", &operation("provision-database"), "-i", "device=/dev/sdf"];
    place.run(&provision).exits(2).says("/dev/sdf of i-db-2 is in use");
    assert_eq!(place.facts(), before);
    place.run(&["run", &redeploy, "-i", "device=/dev/sdh"]).exits(0);
    // By its other name it is the same.
    let place = in_world(&format!("{}\n{}", demo(), other.replace("/dev/sdf", "/dev/xvdf")));
    place.run(&["run", &redeploy]).exits(2).says("/dev/sdf of i-db-2 is in use");
}

/// udev has several names for the device of a volume, and the database may be on any of them.
#[test]
fn a_device_goes_by_whatever_name_udev_gives_it() {
    for name in ["_1", "-ns-1"] {
        let named = format!("{}{name}\"", DEVICE.trim_end_matches('"'));
        let place = in_world(&demo_with(DEVICE, &named));
        let before = place.untouched();
        let fails = ["--inject", "docker.wait-healthy=refuse"];
        place.run_shipped("redeploy-database", &fails).exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "{name}");
        place.run_shipped("redeploy-database", &[]).exits(0);
    }
}

/// A move would end with it as it began, after a downtime for nothing.
#[test]
fn a_database_that_is_unhealthy_is_not_moved() {
    let image = "[registry.\"postgres:16\"]\n";
    let place = in_world(&demo_with(image, &format!("{image}healthy = false\n")));
    let before = place.untouched();
    for name in ["redeploy-database", "resize-database-volume"] {
        place.run_shipped(name, &[]).exits(2).says("its health is unhealthy");
    }
    assert_eq!(place.facts(), before);
}

/// What is in a plain Docker volume is gone with it.
#[test]
fn a_plain_volume_is_removed_only_when_that_is_said() {
    let place = elsewhere("o = \"bind\"");
    let step = |more: &str| {
        place.write(
            "remove.toml",
            format!(
                "schema = 1\n[operation]\nname = \"r\"\n[[steps]]\nid = \"container\"\n\
                 uses = \"docker/stop-container\"\n\
                 with = {{ host = \"i-db-1\", container = \"main\" }}\n\
                 [[steps]]\nid = \"gone\"\nuses = \"docker/remove-container\"\n\
                 irreversible = \"a test\"\n\
                 with = {{ host = \"i-db-1\", container = \"main\" }}\n\
                 [[steps]]\nid = \"volume\"\nuses = \"docker/remove-volume\"\n\
                 irreversible = \"a test\"\n\
                 with = {{ host = \"i-db-1\", volume = \"vol-db-main\"{more} }}\n"
            ),
        )
    };
    let before = place.untouched();
    place.run(&["run", &step("")]).exits(2).says("its bytes would be gone with it");
    assert_eq!(place.facts(), before);
    place.run(&["run", &step(", plain = true")]).exits(0);
}

/// What deletes a database asks for its name twice, and does not answer for itself.
#[test]
fn nothing_is_deleted_that_nobody_named() {
    let place = Place::new();
    let before = place.untouched();
    let deprovision = operation("deprovision-database");
    let (named, other) = (["-i", "database=main"], ["-i", "confirm=other"]);
    place.run(&["run", &deprovision]).exits(2).says("confirm").says("database");
    place.run(&[&["run", &deprovision], &named[..]].concat()).exits(2).says("confirm");
    let misspelt = place.run(&[&["run", &deprovision], &named[..], &other].concat());
    misspelt.exits(2).says("`confirm` is other, not main");
    assert_eq!(place.facts(), before);
    place.run_shipped("deprovision-database", &[]).exits(0);
}

/// EC2 says so only when the volume is to be attached, in the downtime.
#[test]
fn a_device_name_that_ec2_has_not_is_told_before_the_database_stops() {
    let place = Place::new();
    let before = place.untouched();
    for device in ["/dev/nvme1n1", "nvme1n1", "/dev/vdf", "/dev/sda", ""] {
        let device = format!("device={device}");
        for name in ["redeploy-database", "provision-database"] {
            place.run_shipped(name, &["-i", &device]).exits(2).says("device");
        }
        assert_eq!(place.facts(), before, "{device}");
    }
    // A manifest of one's own has no pattern; the step knows the names too.
    let attach = "schema = 1\n[operation]\nname = \"a\"\n[[steps]]\nid = \"attach\"\n\
                  uses = \"ebs/attach-volume\"\n\
                  with = { volume = \"vol-db-main\", instance = \"i-db-1\", \
                  device = \"/dev/vdf\" }\n";
    let attach = place.write("attach.toml", attach);
    place.run(&["run", &attach]).exits(2).says("`/dev/vdf` is no device name that EC2 takes");
    place.run_shipped("redeploy-database", &["-i", "device=/dev/xvdba"]).exits(0);
}

/// A step that is cut off in its grace leaves a database half stopped, to be started again.
#[test]
fn a_grace_that_can_not_be_used_up_is_told_before_the_database_stops() {
    let place = Place::new();
    let before = place.untouched();
    for (grace, of) in [("10m", "the step's `timeout` of 5m"), ("301s", "the step's `timeout`")] {
        let grace = format!("stop_grace={grace}");
        let flagship = operation("redeploy-database");
        place.run(&["plan", &flagship, "-i", &grace]).says("`grace`").says(of);
        place.run(&["run", &flagship, "-i", &grace]).exits(2).says("is longer than").says(of);
        assert_eq!(place.facts(), before);
    }
    let text = std::fs::read_to_string(operation("redeploy-database")).expect("a file");
    let tight = place.write("tight.toml", text.replace("budget = \"5m\"", "budget = \"30s\""));
    let refused = place.run(&["run", &tight]);
    refused.exits(2).says("a `grace` of 1m is longer than the downtime's `budget` of 30s");
    assert_eq!(place.facts(), before);
    place.run_shipped("redeploy-database", &["-i", "stop_grace=5m"]).exits(0);
}

/// A start that fails in the downtime, because somebody has the port, is too late.
#[test]
fn a_port_that_somebody_has_is_told_before_the_database_stops() {
    let reports = |port: &str| {
        format!(
            "{}\n[engines.i-db-2.containers.reports]\nrunning = true\ndigest = \"sha256:b0\"\n\
             [engines.i-db-2.containers.reports.spec]\nimage = \"busybox:1\"\n\
             ports = [\"{port}\"]\n",
            demo()
        )
    };
    let place = in_world(&reports("0.0.0.0:5432:8080"));
    let before = place.untouched();
    let refused = place.run_shipped("redeploy-database", &[]);
    refused.exits(2).says("port 5432/tcp of i-db-2 is published by container `reports`");
    assert_eq!(place.facts(), before);
    in_world(&reports("5433:8080")).run_shipped("redeploy-database", &[]).exits(0);
    // And so it is if the process is no container's.
    let listens = |on: &str| {
        let engine = "[engines.i-db-2]\n";
        in_world(&demo_with(engine, &format!("{engine}listening = [\"{on}\"]\n")))
    };
    let place = listens("127.0.0.1:5432/tcp");
    let before = place.untouched();
    let refused = place.run_shipped("redeploy-database", &[]);
    refused.exits(2).says("port 5432/tcp of i-db-2 is in use by a process");
    assert_eq!(place.facts(), before);
    listens("5432/udp").run_shipped("redeploy-database", &[]).exits(0);
    // Whoever creates it in another way meets an engine's answer, and is put back.
    let text = std::fs::read_to_string(operation("redeploy-database")).expect("a file");
    let start = "[[steps]]\nid = \"other\"\nuses = \"docker/start-container\"\n";
    assert!(text.contains("like = {") && !text.contains(start));
    let place = in_world(&format!(
        "{}\n[engines.i-db-1.containers.second]\ndigest = \"sha256:b0\"\n\
         [engines.i-db-1.containers.second.spec]\nimage = \"busybox:1\"\nports = [\"5432:1\"]\n",
        reports("5433:8080")
    ));
    let second = "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"start\"\n\
                  uses = \"docker/start-container\"\n\
                  with = { host = \"i-db-1\", container = \"second\" }\n";
    let second = place.write("second.toml", second);
    place.run(&["run", &second]).exits(3).says("is published by container `main`");
}

/// With `docker run --rm` a container is gone, options and all, when it stops.
#[test]
fn a_container_that_removes_itself_is_told_before_it_is_stopped() {
    let running = "[engines.i-db-1.containers.main]\nrunning = true\n";
    let place = in_world(&demo_with(running, &format!("{running}auto_remove = true\n")));
    let before = place.untouched();
    for name in ["redeploy-database", "restart-database", "resize-database-volume"] {
        place.run_shipped(name, &[]).exits(2).says("removes itself when it stops");
        assert_eq!(place.facts(), before, "{name}");
    }
}

/// What is started again and again by its restart policy is up at any look.
#[test]
fn a_container_that_keeps_dying_is_not_healthy() {
    let served = "[registry.\"postgres:17\"]\n";
    let place = in_world(&demo_with(served, &format!("{served}dies = true\n")));
    let before = place.untouched();
    let ran = place.run_shipped("provision-database", &["-i", "image=postgres:17"]);
    ran.exits(3).says("does not stay up").says("verdict: restored");
    assert_eq!(place.facts(), before);
}

/// What was killed may have left its data unfinished.
#[test]
fn a_database_that_had_to_be_killed_is_not_moved() {
    let served = "[registry.\"postgres:16\"]\n";
    let world = demo_with(served, &format!("{served}is_killed = true\n"));
    for name in ["redeploy-database", "resize-database-volume", "deprovision-database"] {
        let place = in_world(&world);
        let before = place.untouched();
        let ran = place.run_shipped(name, &[]);
        ran.exits(3).says("did not stop in 1m and was killed (exit 137)").says("restored");
        assert_eq!(place.facts(), before, "{name}");
    }
    // Where nothing is done with its data, it is told.
    let place = in_world(&world);
    place.run_shipped("restart-database", &[]).exits(0).says("was killed (exit 137)");
}

/// A step of one's own, in a world.
pub fn run_step(place: &Place, uses: &str, with: &str) -> crate::harness::Ran {
    let text = format!(
        "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"step\"\nuses = \"{uses}\"\n\
         with = {{ {with} }}\n"
    );
    let path = place.write("step.toml", text);
    place.run(&["run", &path])
}

/// What is detached must be attachable again by its name.
#[test]
fn a_volume_is_detached_only_if_it_can_be_attached_again() {
    let named = "{ instance = \"i-db-1\", device = \"/dev/sdf\" }";
    for (device, is_fine) in [("xvdf", true), ("/dev/xvda", true), ("/dev/vdf", false)] {
        let place = in_world(&demo_with(named, &named.replace("/dev/sdf", device)));
        let before = place.untouched();
        let ran = place.run_shipped("resize-database-volume", &[]);
        if is_fine {
            ran.exits(0);
        } else {
            ran.exits(2).says("could not be attached again");
            assert_eq!(place.facts(), before, "{device}");
        }
    }
}

/// Who else uses a name on the target wants nothing of the move.
#[test]
fn a_name_on_the_target_goes_on_to_mean_what_it_meant() {
    let world = demo();
    let (old, new) = ("16".to_owned() + &"0".repeat(62), "17".to_owned() + &"0".repeat(62));
    let images = format!("[engines.i-db-2.images]\n\"postgres:16\" = \"sha256:{new}\"\n");
    let place = in_world(&format!("{world}\n{images}"));
    place.untouched();
    place.run_shipped("redeploy-database", &[]).exits(0);
    let engine = place.world().engines["i-db-2"].clone();
    assert_eq!(engine.images["postgres:16"], format!("sha256:{new}"));
    assert_eq!(engine.containers["main"].digest, format!("sha256:{old}"));

    // It has the very image, and nobody serves it any more.
    let served = "[registry.\"postgres:16\"]\ndigest = \"sha256:16";
    let world = demo_with(served, &served.replace("sha256:16", "sha256:17"));
    let place = in_world(&format!("{world}\n{}", images.replace(&new, &old)));
    place.untouched();
    place.run_shipped("redeploy-database", &[]).exits(0);

    // So is a container that is to be like one, but of that very image.
    let like = format!(
        "host = \"i-db-2\", container = \"copy\", digest = \"sha256:{old}\", \
         like = {{ host = \"i-db-1\", container = \"main\" }}"
    );
    let place = in_world(&format!("{world}\n{images}"));
    place.untouched();
    run_step(&place, "docker/create-container", &like).exits(2).says("is not on i-db-2");
}

/// One that does not run stays where it is.
#[test]
fn a_container_that_removes_itself_does_so_when_it_stops() {
    let running = "[engines.i-db-1.containers.main]\nrunning = true\n";
    let gone = "[engines.i-db-1.containers.main]\nauto_remove = true\n";
    let of_main = "host = \"i-db-1\", container = \"main\"";
    let place = in_world(&demo_with(running, gone));
    place.untouched();
    run_step(&place, "docker/stop-container", of_main).exits(0);
    assert!(place.world().engines["i-db-1"].containers.contains_key("main"));
    let place = in_world(&demo_with(running, &format!("{gone}running = true\n")));
    place.untouched();
    let said = format!("{of_main}, may_be_gone = true");
    run_step(&place, "docker/stop-container", &said).exits(0);
    assert!(!place.world().engines["i-db-1"].containers.contains_key("main"));
}
