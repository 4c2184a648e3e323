//! A Docker Engine over TCP with TLS: certificates of the test's own, right and wrong.

use crate::parts::{TestCluster, are_possible, free_port};
use crate::place::operation;
use std::process::Command;

/// Certificates of one CA, in files named after it.
struct Ca<'a> {
    parts: &'a TestCluster,
    name: &'static str,
}

impl<'a> Ca<'a> {
    fn new(parts: &'a TestCluster, name: &'static str) -> Self {
        let ca = Self { parts, name };
        ca.make("ca", "basicConstraints=critical,CA:TRUE", &[]);
        let of_ca = ["-CA", &ca.file("ca"), "-CAkey", &ca.key("ca")].map(str::to_owned);
        let leaf = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth,serverAuth";
        ca.make("server", &format!("{leaf}\nsubjectAltName=IP:127.0.0.1"), &of_ca);
        ca.make("client", leaf, &of_ca);
        ca
    }

    fn file(&self, what: &str) -> String {
        self.parts.path(&format!("{}-{what}.pem", self.name)).display().to_string()
    }

    fn key(&self, what: &str) -> String {
        self.file(&format!("{what}-key"))
    }

    fn make(&self, what: &str, extensions: &str, more: &[String]) {
        let config = format!(
            "[req]\nprompt=no\ndistinguished_name=name\nx509_extensions=more\n\
             [name]\nCN={} {what}\n[more]\n{extensions}\n",
            self.name
        );
        let path = self.file(&format!("{what}-config"));
        std::fs::write(&path, config).expect("a file");
        let said = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", &path])
            .args(["-out", &self.file(what), "-keyout", &self.key(what)])
            .args(more)
            .output()
            .expect("openssl");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// The engine's arguments: it listens there too, for this CA's clients alone.
    fn listening(&self, port: u16) -> Vec<String> {
        vec![
            format!("--host=tcp://127.0.0.1:{port}"),
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", self.file("ca")),
            format!("--tlscert={}", self.file("server")),
            format!("--tlskey={}", self.key("server")),
        ]
    }
}

/// The setting, as in `stepback.toml`.
fn setting(ca: &str, cert: &str, key: &str) -> String {
    format!("tls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}\n")
}

#[test]
fn an_engine_over_tls_is_used_and_a_wrong_certificate_is_told_before_anything_is_changed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let (own, other) = (Ca::new(&parts, "own"), Ca::new(&parts, "other"));
    let port = free_port();
    parts.b.restart_with(&own.listening(port));
    let engine = format!("tcp://127.0.0.1:{port}");
    let by_name = format!("tcp://localhost:{port}");
    let without = format!("tcp://127.0.0.1:{}", parts.registry.port);
    let right = setting(&own.file("ca"), &own.file("client"), &own.key("client"));
    let wrong_ca = setting(&other.file("ca"), &own.file("client"), &own.key("client"));
    let wrong_client = setting(&own.file("ca"), &other.file("client"), &other.key("client"));
    let mixed = setting(&own.file("ca"), &own.file("client"), &other.key("client"));
    let missing = setting(&own.file("ca"), &own.file("client"), "nowhere.pem");
    let table = [
        (&engine, wrong_ca, "is not of the CA in `tls.ca`"),
        (&engine, wrong_client, "does not take the certificate in `tls.cert`"),
        (&engine, mixed, "other-client-key.pem does not go with"),
        (&engine, missing, "nowhere.pem can't be read"),
        (&engine, String::new(), "give it `tls`"),
        (&by_name, right.clone(), "name the engine as its certificate does"),
        (&without, right.clone(), "speaks no TLS"),
    ];
    for (endpoint, tls, wanted) in table {
        parts.configure_with(endpoint, &tls);
        parts.redeploy("i-b", &[]).exits(2).says(wanted);
        parts.run(&["env", "check"]).exits(2).says(wanted).says("✗ Docker Engine of i-b");
        assert_eq!(parts.a.redis(&["get", "row"]), "kept");
        assert_eq!(parts.b.docker(&["ps", "--all", "--quiet"]), "");
    }

    parts.configure_with(&engine, &right);
    parts.run(&["env", "check"]).exits(0).says("✓ Docker Engine of i-b: Docker 2");

    println!("with a failure it is put back, over TLS");
    let failing = ["--inject", "docker.wait-healthy=refuse"];
    parts.redeploy("i-b", &failing).exits(3).says("verdict: restored");

    println!("half way, the engine gets another certificate: told, and taken up later");
    let path = operation("redeploy-database");
    let left = parts.run_watched(&["run", &path, "-i", "to_instance=i-b"], |line| {
        if line.contains("✓ stop-old") {
            parts.b.restart_with(&other.listening(port));
        }
    });
    let left = left.exits(5).says("is not of the CA").says("docker:i-b/container/main");
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    parts.b.restart_with(&own.listening(port));
    parts.run(&["rollback", left.id()]).exits(3).says("verdict: restored");
    assert_eq!(parts.b.docker(&["ps", "--all", "--quiet"]), "");

    println!("with nothing in its way it moves");
    parts.redeploy("i-b", &[]).exits(0);
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
}
