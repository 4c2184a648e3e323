//! The shipped operations against moto's EC2 and two real Docker Engines, unchanged.
//!
//! moto has no devices, so a script beside it gives each attached volume one, as a hypervisor
//! would. What EC2 says afterwards is read with boto3.

use crate::parts::{Part, TestCluster, are_possible, free_port};
use crate::place::operation;
use crate::snapshot::copied;
use serde_json::Value;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// moto's server with two instances, whose engines are those of the parts.
pub struct Cloud {
    pub endpoint: String,
    pub a: String,
    pub b: String,
    /// Where it is asked by who may do everything.
    asked_at: String,
    hypervisor: Part,
    _server: Part,
}

pub fn home_of_moto() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/moto/bin");
    assert!(home.exists(), "moto is not at {}: run tests/moto.sh", home.display());
    home
}

fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/real/ec2.py");
    path.display().to_string()
}

impl Cloud {
    pub fn start(parts: &TestCluster) -> Self {
        let (home, port) = (home_of_moto(), free_port());
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let server = home.join("moto_server").display().to_string();
        let mut server = Part::start(&server, &arguments, parts.path("moto.log"));
        server.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        let endpoint = format!("http://127.0.0.1:{port}");
        let made = ask(&endpoint, &["instances", "2"]);
        let [a, b] = made.lines().collect::<Vec<_>>()[..] else { panic!("{made}") };
        let (a, b) = (a.to_owned(), b.to_owned());
        let hypervisor = hypervisor(parts, &endpoint);
        let asked_at = endpoint.clone();
        Self { endpoint, asked_at, a, b, hypervisor, _server: server }
    }

    /// From now on everybody may do only what their policy says; those who are there already may
    /// do everything.
    pub fn guard(&mut self, parts: &TestCluster) {
        self.asked_at = self.user("admin", &["*"]).2;
        self.hypervisor = hypervisor(parts, &self.asked_at);
        ask(&self.endpoint, &["guard"]);
    }

    /// A new user who may do this: the access key, the secret key, and where to ask as this user.
    pub fn user(&self, name: &str, actions: &[&str]) -> (String, String, String) {
        let said = ask(&self.asked_at, &[&["user", name], actions].concat());
        let words: Vec<&str> = said.split_whitespace().collect();
        let [access_key, secret_key, endpoint] = words[..] else { panic!("{said}") };
        (access_key.to_owned(), secret_key.to_owned(), endpoint.to_owned())
    }

    pub fn configure(&self, parts: &TestCluster) {
        self.configure_with(parts, "us-east-1", &format!("endpoint = \"{}\"\n", self.endpoint));
    }

    /// The same in another region, and with other settings of the provider's.
    pub fn configure_with(&self, parts: &TestCluster, region: &str, more: &str) {
        let text = format!(
            "[environments.box]\nprovider = \"aws\"\nregion = \"{region}\"\n{more}\
             [environments.box.docker]\nhelper_image = \"helper:1\"\n\
             [environments.box.docker.hosts]\n{} = \"{}\"\n{} = \"{}\"\n",
            self.a,
            parts.a.host(),
            self.b,
            parts.b.host(),
        );
        std::fs::write(parts.path("stepback.toml"), text).expect("a file");
    }

    /// What EC2 says there is.
    pub fn state(&self) -> Value {
        serde_json::from_str(&ask(&self.asked_at, &["state"])).expect("JSON")
    }

    /// The one volume that serves the database, and the instance it is attached to.
    #[track_caller]
    fn serving(&self) -> (String, String) {
        let state = self.state();
        let volumes = state["volumes"].as_object().expect("volumes");
        let tagged = |one: &&Value| one["tags"]["database"] == "main";
        let mut serving = volumes.iter().filter(|(_, volume)| tagged(volume));
        let (id, volume) = serving.next().unwrap_or_else(|| panic!("no volume: {state}"));
        assert_eq!(serving.next(), None, "one volume serves: {state}");
        let attached = volume["attached"].as_array().expect("attachments");
        assert_eq!(attached.len(), 1, "{state}");
        (id.clone(), attached[0][0].as_str().unwrap_or_default().to_owned())
    }
}

fn hypervisor(parts: &TestCluster, endpoint: &str) -> Part {
    let disks = parts.path("disks");
    std::fs::create_dir_all(&disks).expect("a directory");
    let arguments =
        [script(), endpoint.to_owned(), "hypervisor".into(), disks.display().to_string()];
    let python = home_of_moto().join("python").display().to_string();
    Part::start(&python, &arguments, parts.path("hypervisor.log"))
}

pub fn ask(endpoint: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(home_of_moto().join("python"));
    let said = command.args([&script(), endpoint]).args(arguments).output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn the_shipped_operations_run_unchanged_on_ec2() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let cloud = Cloud::start(&parts);
    cloud.configure(&parts);
    parts.run(&["env", "check"]).exits(0).says("✓ aws").says("123456789012");
    let provision = |more: &[&str]| {
        let (path, image) = (operation("provision-database"), format!("image={}", parts.image()));
        let instance = format!("instance={}", cloud.a);
        let mut arguments = vec!["run", &path];
        let own = [&instance, "data_dir=/data", "size_gib=1", "database=main", &image];
        for input in own.into_iter().chain(["iops=3000", "throughput_mibps=250"]) {
            arguments.extend(["-i", input]);
        }
        parts.run(&[&arguments[..], more].concat())
    };
    let nothing = cloud.state();
    provision(&["--inject", "docker.wait-healthy=refuse"]).exits(3).says("verdict: restored");
    assert_eq!(cloud.state(), nothing);
    provision(&[]).exits(0);
    assert_eq!(parts.a.redis(&["set", "row", "kept"]), "OK");
    let (volume, on) = cloud.serving();
    assert_eq!(on, cloud.a);

    println!("the same operation in a simulated copy, and EC2 as it was");
    let before = cloud.state();
    let copy = copied(&parts);
    assert_eq!(copy.volumes[&volume].attachments[0].instance, cloud.a);
    assert_eq!(copy.volumes[&volume].tags["database"], "main");
    assert!(!copy.volumes[&volume].tags.keys().any(|key| key.starts_with("stepback:")));
    parts.redeploy(&cloud.b, &["-e", "copy"]).exits(0);
    assert_eq!(cloud.state(), before);

    println!("a device that shows up seconds after its attachment, on the way there and back");
    let late = parts.path("disks/late");
    std::fs::write(&late, "2").expect("a file");
    let failing = ["--inject", "docker.wait-healthy=refuse"];
    parts.redeploy(&cloud.b, &failing).exits(3).says("verdict: restored");
    std::fs::remove_file(&late).expect("it can be removed");
    assert_eq!(cloud.state(), before);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    parts.redeploy(&cloud.b, &[]).exits(0).says("downtime: ");
    assert_eq!(cloud.serving(), (volume.clone(), cloud.b.clone()));
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");

    parts.run(&["run", &operation("backup-database")]).exits(0);
    let snapshots = cloud.state()["snapshots"].as_object().map(serde_json::Map::len);
    assert_eq!(snapshots, Some(1));
    resizes(&parts, &cloud, &volume);
    parts.deprovision();
    assert_eq!(cloud.state()["volumes"], serde_json::json!({}));
}

/// The database's volume is grown on the second instance, after a rollback.
fn resizes(parts: &TestCluster, cloud: &Cloud, volume: &str) {
    ask(&cloud.asked_at, &["tag", volume, "backup", "daily"]);
    let before = cloud.state();
    let failing = ["--inject", "docker.wait-healthy=refuse"];
    let resize = operation("resize-database-volume");
    let resize = ["run", &resize, "-i", "size_gib=2", "-i", "delete_old=true"];
    let failed = parts.run(&[&resize[..], &failing].concat());
    failed.exits(3).says("verdict: restored");
    assert_eq!(cloud.state(), before);
    parts.run(&resize).exits(0);
    let (grown, on) = cloud.serving();
    assert_ne!(grown, volume);
    assert_eq!(on, cloud.b);
    let shown = cloud.state()["volumes"][&grown].clone();
    assert_eq!(shown["size"], 2);
    // What was paid for, what is required and what backups go by, it has as well.
    assert_eq!(shown["speed"], serde_json::json!([3000, 250]));
    assert_eq!(shown["encrypted"], true);
    assert_eq!(shown["tags"], serde_json::json!({ "backup": "daily", "database": "main" }));
    assert_eq!(cloud.state()["volumes"][volume], Value::Null, "the old one is deleted");
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
}
