//! An engine that takes a connection and never answers: nothing that is asked of it takes for ever.

use async_trait::async_trait;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use stepback_clock::Virtual;
use stepback_core::*;
use stepback_docker::{Docker, DockerSettings, Hosts};
use stepback_provider::Provider;
use stepback_provider::endpoint::Endpoint;

struct OneHost(Endpoint);

#[async_trait]
impl Hosts for OneHost {
    async fn endpoint(&self, _instance: &str) -> Result<Endpoint, Failure> {
        Ok(self.0.clone())
    }

    fn fixed(&self) -> Vec<String> {
        vec!["i-a".to_owned()]
    }
}

/// Answers who it is, and nothing else.
fn serve(mut client: TcpStream, hung: &mut Vec<TcpStream>) {
    let mut part = [0; 4096];
    let got = client.read(&mut part).unwrap_or_default();
    if !String::from_utf8_lossy(&part[..got]).contains("/version") {
        return hung.push(client);
    }
    let body = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    // A client that went away needs no answer.
    let _ = client.write_all(answer.as_bytes());
}

/// One that hangs from the beginning, or when it has told who it is.
fn engine(tells_who_it_is: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut hung = vec![];
        for client in listener.incoming().flatten() {
            match tells_who_it_is {
                true => serve(client, &mut hung),
                false => hung.push(client),
            }
        }
    });
    address
}

#[test]
fn an_engine_that_hangs_hangs_nothing() {
    hangs_nothing(false);
}

#[test]
fn an_engine_that_answered_before_it_hung_hangs_nothing() {
    hangs_nothing(true);
}

/// Time passes only when everybody waits, which is at once with an engine that says nothing.
fn hangs_nothing(tells_who_it_is: bool) {
    let endpoint = format!("tcp://{}", engine(tells_who_it_is));
    let time = Virtual::new(UnixMs(1_790_000_000_000));
    let hosts = Arc::new(OneHost(Endpoint::parse(&endpoint).unwrap()));
    let docker = Docker::new(hosts, DockerSettings::default(), time.clock());
    time.runtime().unwrap().block_on(async {
        if tells_who_it_is {
            let _answering = time.clock().busy();
            docker.version("i-a").await.expect("it tells");
        }
        let told = docker.stamped(&[Token("token".to_owned())]).await.unwrap();
        assert_eq!(told.found, []);
        let (host, why) = &told.not_asked[0];
        assert_eq!(host, "i-a");
        assert!(why.contains("does not answer"), "{why}");
        let wait = Call::Docker(DockerCall::WaitEngine { host: "i-a".into(), timeout_ms: 60_000 });
        let failure = docker.wait(&wait).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Deadline);
        let message = &failure.message;
        assert!(message.contains("does not answer") && message.contains("after 1m"), "{message}");
        let created = Resource::Created {
            kind: ResourceKind::Container,
            host: None,
            token: "token".to_owned(),
        };
        let failure = docker.observe(&created).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    });
}
