//! Against small servers on this machine, which the rules keep everybody away from who is not named.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::names::{self, Asker, OF_ONE, Resolver};
use crate::reach::BodyError;

/// Answers every request with the same text, and remembers the requests.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = answer.into();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte).await {
                        Ok(1) => request.extend(byte),
                        _ => break,
                    }
                }
                log.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&request).to_lowercase());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, seen }
    }

    async fn redirect(to: &str) -> Self {
        Self::start(format!(
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

fn config(plain: &[&str], private: &[&str]) -> Config {
    Config {
        endpoints: Endpoints::new(plain.iter().copied(), private.iter().copied()).unwrap(),
        ca_pem: None,
        proxy: None,
        names: Names::default(),
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(10),
    }
}

/// A resolver that gives these answers one after the other, and the last one forever.
fn answering(answers: &[&[&str]]) -> Names {
    let answers: Vec<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|a| a.parse().unwrap()).collect())
        .collect();
    let turn = AtomicUsize::new(0);
    Names::new(Resolver::new(move |_| {
        let turn = turn.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        Ok(answers[turn].clone())
    }))
}

/// With a resolver.
fn with_names(config: Config, names: Names) -> Client {
    Client::new(Config { names, ..config }).unwrap()
}

async fn get(client: &Client, url: &Url) -> Result<Answer, Error> {
    let route = Route {
        home: url,
        redirects: 5,
    };
    client.get(route, url.clone(), &HeaderMap::new()).await
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_as_texts() {
    let client = Client::new(config(&[], &[])).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "10.0.0.1:8443",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        let error = get(&client, &url).await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{host}: {error}");
        assert!(error.to_string().contains("private_hosts"), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn names_are_judged_by_what_they_resolve_to() {
    let server = Server::start(FINE).await;
    let port = server.address.port();
    let url = Url::parse(&format!("https://rebind.example:{port}/")).unwrap();
    // Whatever the name said when it was looked at before: the addresses that it has now are the ones
    // that count, and the connection gets no others.
    for answers in [
        &[&["127.0.0.1"][..]][..],
        &[&["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"]],
        &[&["10.0.0.1"], &["127.0.0.1"]],
    ] {
        let client = with_names(config(&[], &[]), answering(answers));
        for _ in 0..2 {
            let error = get(&client, &url).await.err().unwrap();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
        }
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn names_of_the_settings_may_be_private_but_never_special() {
    let server = Server::start(FINE).await;
    let port = server.address.port();
    let name = format!("registry.example:{port}");
    let url = Url::parse(&format!("http://{name}/")).unwrap();
    let named = |names| with_names(config(&[&name], &[]), names);
    // The link-local address comes first and is passed over.
    let client = named(answering(&[&["169.254.169.254", "127.0.0.1"]]));
    assert_eq!(get(&client, &url).await.unwrap().response.status(), 200);
    let client = named(answering(&[&["169.254.169.254", "0.0.0.0", "fe80::1"]]));
    let error = get(&client, &url).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");

    // Another port of the same host was not named.
    let other = config(&[&format!("registry.example:{}", port - 1)], &[]);
    let client = with_names(other, answering(&[&["127.0.0.1"]]));
    let https = Url::parse(&format!("https://{name}/")).unwrap();
    let error = get(&client, &https).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn every_hop_is_judged_and_a_refused_one_tells_nothing() {
    let secret = Server::start(FINE).await;
    let gone = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut words = Vec::new();
    for to in [
        format!("https://{}/", secret.host()),
        format!("http://{}/", secret.host()),
        format!("https://{gone}/"),
        format!("https://localhost:{}/", secret.address.port()),
        format!("https://[::ffff:7f00:1]:{}/", secret.address.port()),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "ftp://169.254.169.254/".to_owned(),
    ] {
        let first = Server::redirect(&to).await;
        let client = Client::new(config(&[&first.host()], &[])).unwrap();
        let error = get(&client, &first.url()).await.err().unwrap();
        let Error::Foreign { host, transient } = &error else {
            panic!("{to}: {error}")
        };
        assert!(!transient);
        words.push(error.to_string().replace(host, "HOST"));
    }
    words.dedup();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(secret.requests().is_empty());
}

#[tokio::test]
async fn what_a_named_host_says_to_a_stranger_is_foreign() {
    let private =
        Server::start("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    let first = Server::redirect(private.url().as_str()).await;
    let client = Client::new(config(&[&first.host(), &private.host()], &[])).unwrap();
    let answer = get(&client, &first.url()).await.unwrap();
    assert!(answer.foreign);
    assert_eq!(answer.host, private.host());
    assert!(!get(&client, &private.url()).await.unwrap().foreign);
}

#[tokio::test]
async fn how_large_a_foreign_answer_is_and_how_it_was_sent_is_not_told() {
    let answering =
        |headers: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}\r\n0123456789");
    let mut words = std::collections::BTreeSet::new();
    for headers in [
        "content-length: 10\r\n",
        "",
        "content-length: 10\r\ncontent-encoding: br\r\n",
        "content-length: 10\r\ncontent-encoding: gzip\r\n",
        "content-length: 11\r\n",
    ] {
        let last = Server::start(answering(headers)).await;
        let first = Server::redirect(last.url().as_str()).await;
        let client = Client::new(config(&[&first.host(), &last.host()], &[])).unwrap();
        let limit = if headers.contains(": gzip") { 100 } else { 9 };
        let foreign = get(&client, &first.url()).await.unwrap();
        let error = foreign.bytes(limit).await.unwrap_err();
        let BodyError::Broken(Error::Foreign { host, .. }) = &error else {
            panic!("{headers}: {error:?}");
        };
        words.insert(error.to_string().replace(host, "HOST"));
        // The same of the host that was asked for is told.
        let own = get(&client, &last.url()).await.unwrap();
        let told = own.bytes(limit).await.unwrap_err();
        assert!(
            !matches!(told, BodyError::Broken(Error::Foreign { .. })),
            "{told:?}"
        );
    }
    assert_eq!(words.len(), 1, "{words:?}");
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let last = Server::start(FINE).await;
    let back = Server::redirect(last.url().as_str()).await;
    let first = Server::redirect(back.url().as_str()).await;
    let hosts = [first.host(), back.host(), last.host()];
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let client = Client::new(config(&hosts, &[])).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"));
    let url = first.url();
    let route = Route {
        home: &url,
        redirects: 5,
    };
    client.get(route, url.clone(), &headers).await.unwrap();
    let mut with_name = url.clone();
    with_name.set_username("me").unwrap();
    with_name.set_password(Some("hunter2")).unwrap();
    client
        .get(route, with_name, &HeaderMap::new())
        .await
        .unwrap();
    for request in first.requests() {
        assert!(request.contains("authorization: b"), "{request}");
        assert!(request.contains("accept-encoding: identity"), "{request}");
    }
    for request in [back.requests(), last.requests()].concat() {
        assert!(!request.contains("authorization"), "{request}");
        assert!(!request.contains("referer"), "{request}");
    }
}

#[tokio::test]
async fn bodies_stay_with_their_host() {
    let last = Server::start(FINE).await;
    let first = Server::redirect(last.url().as_str()).await;
    let client = Client::new(config(&[&first.host(), &last.host()], &[])).unwrap();
    let url = first.url();
    let route = Route {
        home: &url,
        redirects: 5,
    };
    let answer = client
        .request(route, Method::POST, url.clone(), &HeaderMap::new(), || {
            Body::from("refresh_token=hunter2")
        })
        .await
        .unwrap();
    assert_eq!(answer.response.status(), 302);
    assert!(last.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_of_the_settings_is_reached_wherever_it_is_and_addresses_are_judged_all_the_same() {
    let proxy = Server::start(FINE).await;
    let name = format!("http://proxy.corp:{}", proxy.address.port());
    let config = Config {
        proxy: Some(Proxy::new(&name, &["direct.example".to_owned()]).unwrap()),
        ..config(&["plain.example"], &[])
    };
    let client = with_names(config, answering(&[&["127.0.0.1"]]));
    let plain = Url::parse("http://plain.example/").unwrap();
    assert_eq!(get(&client, &plain).await.unwrap().response.status(), 200);
    assert_eq!(proxy.requests().len(), 1);
    for refused in [
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "https://direct.example/",
    ] {
        let error = get(&client, &Url::parse(refused).unwrap())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test]
async fn nobody_is_sent_to_a_proxy_that_its_own_exceptions_cover() {
    let proxy = Server::start(FINE).await;
    let port = proxy.address.port();
    let url = Url::parse(&format!("https://proxy.corp.example:{port}/")).unwrap();
    for except in ["proxy.corp.example", "corp.example"] {
        let address = format!("http://proxy.corp.example:{port}");
        let config = |plain: &[&str]| Config {
            proxy: Some(Proxy::new(&address, &[except.to_owned()]).unwrap()),
            ..config(plain, &[])
        };
        let client = with_names(config(&["plain.example"]), answering(&[&["127.0.0.1"]]));
        let error = get(&client, &url).await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(proxy.requests().is_empty());
        // It is reached as what it is, and where the settings name it.
        let plain = Url::parse("http://plain.example/").unwrap();
        assert_eq!(get(&client, &plain).await.unwrap().response.status(), 200);
        proxy.seen.lock().unwrap().clear();
        let listed = format!("proxy.corp.example:{port}");
        let client = with_names(config(&[&listed]), answering(&[&["127.0.0.1"]]));
        let plain = Url::parse(&format!("http://{listed}/")).unwrap();
        assert_eq!(get(&client, &plain).await.unwrap().response.status(), 200);
        proxy.seen.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn one_askers_silent_names_do_not_hold_up_another() {
    let (hang_up, silence) = std::sync::mpsc::channel::<()>();
    let silence = Mutex::new(silence);
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let names = Names::new(Resolver::new(move |name| {
        if name.ends_with("slow.example") {
            count.fetch_add(1, Ordering::SeqCst);
            // Until the test has ended: the sender is dropped before the threads are waited for.
            let _ = silence.lock().map(|silence| silence.recv());
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }));
    let server = Server::start(FINE).await;
    let listed = format!("fine.example:{}", server.address.port());
    let client = with_names(config(&[&listed], &[]), names);
    let client = &client;
    let ask = |asker: &'static str, url: Url| {
        names::on_behalf_of(Asker::Named(asker.into()), async move {
            get(client, &url)
                .await
                .map(|answer| answer.response.status())
        })
    };
    let slow = |number| Url::parse(&format!("https://{number}.slow.example/")).unwrap();
    let mut given_up: Vec<_> = (0..100)
        .map(|number| Box::pin(ask("mallory", slow(number))))
        .collect();
    while begun.load(Ordering::SeqCst) < OF_ONE {
        for asked in &mut given_up {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(asked.as_mut().poll(&mut context).is_pending());
        }
        tokio::task::yield_now().await;
    }
    drop(given_up);
    let fine = Url::parse(&format!("http://{listed}/")).unwrap();
    assert_eq!(ask("alice", fine).await.unwrap(), 200);
    assert_eq!(begun.load(Ordering::SeqCst), OF_ONE);
    drop(hang_up);
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::redirect("/again").await;
    let client = Client::new(config(&[&server.host()], &[])).unwrap();
    let error = get(&client, &server.url()).await.err().unwrap();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn the_environment_chooses_no_proxy() {
    // What a proxy connects to is judged by nobody. The debug text names proxies where there are any.
    let client = Client::new(config(&[], &[])).unwrap();
    for inner in [&client.public, &client.named] {
        assert!(!format!("{inner:?}").contains("Proxy"), "{inner:?}");
    }
}

#[test]
fn a_bad_ca_is_told() {
    let bad = Config {
        ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
        ..config(&[], &[])
    };
    assert!(matches!(Client::new(bad).err(), Some(SetupError::Tls(_))));
}
