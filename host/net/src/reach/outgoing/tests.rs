//! Against small servers on this machine, which nobody reaches who is not named.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use http_body_util::{BodyExt as _, Empty, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::names::{OF_ONE, Resolver};

/// Answers every connection's first request with these bytes, and then keeps silent.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer: Arc<[u8]> = answer.into().into();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte).await {
                        Ok(1) => head.extend(byte),
                        _ => return,
                    }
                }
                log.lock().unwrap().push(String::from_utf8(head).unwrap());
                let _ = stream.write_all(&answer).await;
                let _ = stream.read(&mut [0]).await;
            });
        }
    });
    (address, seen)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A network where every name leads to these addresses.
fn network(plain: &[&str], private: &[&str], leads_to: &[IpAddr], bounds: Bounds) -> Arc<Network> {
    let endpoints = Endpoints::new(plain.iter().copied(), private.iter().copied()).unwrap();
    let leads_to = leads_to.to_vec();
    let names = Names::new(Resolver::new(move |_| Ok(leads_to.clone())));
    Arc::new(Network::new(endpoints, None, bounds, names).unwrap())
}

fn hosts(listed: &[&str]) -> Hosts {
    Hosts::new(listed.iter().copied(), true).unwrap()
}

fn get(url: &str) -> Request<Empty<Bytes>> {
    Request::get(url).body(Empty::new()).unwrap()
}

async fn ask(outgoing: &Outgoing, url: &str) -> Result<Response<ResponseBody>, OutgoingError> {
    outgoing.clone().send(get(url), Patience::default()).await
}

/// One request to a server of this machine that the settings name.
async fn answered(answer: impl Into<Vec<u8>>, bounds: Bounds) -> Result<Bytes, OutgoingError> {
    let (address, _) = server(answer).await;
    let host = address.to_string();
    let outgoing = network(&[&host], &[], &[], bounds).outgoing(&hosts(&[&host]), Asker::Anybody);
    let answer = ask(&outgoing, &format!("http://{host}/")).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn a_listed_host_answers_and_sees_the_host_that_was_judged() {
    let (address, seen) = server(FINE).await;
    let host = address.to_string();
    let outgoing =
        network(&[&host], &[], &[], Bounds::default()).outgoing(&hosts(&[&host]), Asker::Anybody);
    let mut request = get(&format!("http://{host}/path?query=1"));
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("internal.example"));
    headers.append(HOST, HeaderValue::from_static("other.example"));
    headers.insert("x-own", HeaderValue::from_static("kept"));
    let answer = outgoing.send(request, Patience::default()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "ok");
    let seen = seen.lock().unwrap().clone();
    assert!(
        seen[0].starts_with("GET /path?query=1 HTTP/1.1\r\n"),
        "{seen:?}"
    );
    assert_eq!(seen[0].matches("host: ").count(), 1, "{seen:?}");
    assert!(seen[0].contains(&format!("host: {host}\r\n")), "{seen:?}");
    assert!(seen[0].contains("x-own: kept"), "{seen:?}");
}

#[tokio::test]
async fn what_is_not_listed_is_refused_before_anything_is_resolved() {
    let (address, seen) = server(FINE).await;
    let host = address.to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let names = Names::new(Resolver::new(move |name| {
        log.lock().unwrap().push(name.to_owned());
        Ok(Vec::new())
    }));
    let endpoints = Endpoints::new([host.as_str()], []).unwrap();
    let network = Network::new(endpoints, None, Bounds::default(), names).unwrap();
    let network = Arc::new(network);
    for (listed, url) in [
        (vec![], format!("http://{host}/")),
        (vec!["api.example"], format!("http://{host}/")),
        (vec!["api.example"], "https://api.example:8443/".to_owned()),
        (
            vec!["api.example"],
            "https://api.example.evil.example/".to_owned(),
        ),
        (vec!["api.example"], "https://x.api.example/".to_owned()),
        // Listed, but not for plain http.
        (vec!["api.example:80"], "http://api.example/".to_owned()),
    ] {
        let outgoing = network.outgoing(&hosts(&listed), Asker::Anybody);
        let refused = ask(&outgoing, &url).await.unwrap_err();
        assert!(
            matches!(refused, OutgoingError::NotListed(_)),
            "{url}: {refused}"
        );
    }
    // Plain http is not for everybody.
    let strict = Hosts::new([host.as_str()], false).unwrap();
    let refused = ask(
        &network.outgoing(&strict, Asker::Anybody),
        &format!("http://{host}/"),
    )
    .await;
    assert!(matches!(refused, Err(OutgoingError::NotListed(_))));
    assert!(asked.lock().unwrap().is_empty());
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn addresses_that_smuggle_are_refused() {
    let outgoing = network(&[], &[], &[], Bounds::default())
        .outgoing(&hosts(&["api.example"]), Asker::Anybody);
    for url in [
        "https://user@api.example/",
        "https://api.example:x@evil.example/",
        "https://evil.example@api.example/",
    ] {
        let Ok(request) = Request::get(url).body(Empty::<Bytes>::new()) else {
            continue;
        };
        let refused = outgoing.clone().send(request, Patience::default()).await;
        assert_eq!(refused.unwrap_err(), OutgoingError::Address, "{url}");
    }
    let mut connect = get("https://api.example/");
    *connect.method_mut() = Method::CONNECT;
    let refused = outgoing.clone().send(connect, Patience::default()).await;
    assert_eq!(refused.unwrap_err(), OutgoingError::Method);
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_named() {
    let (address, seen) = server(FINE).await;
    let port = address.port();
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "api.example",
    ] {
        let listed = format!("{host}:{port}");
        let outgoing = network(&[], &[], &local, Bounds::default())
            .outgoing(&hosts(&[&listed]), Asker::Anybody);
        let refused = ask(&outgoing, &format!("https://{listed}/"))
            .await
            .unwrap_err();
        assert_eq!(refused, OutgoingError::Prohibited, "{host}");
    }
    // Metadata services are no private network.
    let metadata = ["169.254.169.254".parse().unwrap()];
    let network = network(&[], &["api.example"], &metadata, Bounds::default());
    let refused = ask(
        &network.outgoing(&hosts(&["api.example"]), Asker::Anybody),
        "https://api.example/",
    )
    .await;
    assert_eq!(refused.unwrap_err(), OutgoingError::Prohibited);
    assert!(seen.lock().unwrap().is_empty());
}

/// The answer leads to a private address; the component gets it as it is, and following it is refused.
#[tokio::test]
async fn a_redirect_is_an_answer_and_its_target_is_judged_by_itself() {
    let (private, seen) = server(FINE).await;
    let to = format!("http://{private}/secrets");
    let (address, _) = server(format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
    ))
    .await;
    let host = address.to_string();
    let outgoing =
        network(&[&host], &[], &[], Bounds::default()).outgoing(&hosts(&[&host]), Asker::Anybody);
    let answer = ask(&outgoing, &format!("http://{host}/")).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], to);
    let refused = ask(&outgoing, &to).await.unwrap_err();
    assert!(matches!(refused, OutgoingError::NotListed(_)), "{refused}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn answers_are_bounded() {
    let bounds = Bounds {
        body_bytes: 1000,
        head_bytes: 8 << 10,
        ..Bounds::default()
    };
    let much = "a".repeat(1001);
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n{much}");
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", much.repeat(100));
    for answer in [whole, endless] {
        let refused = answered(answer, bounds).await.unwrap_err();
        assert_eq!(refused, OutgoingError::AnswerBody(1000));
    }
    let fits = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}",
        &much[1..]
    );
    assert_eq!(answered(fits, bounds).await.unwrap().len(), 1000);
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    let refused = answered(head, bounds).await.unwrap_err();
    assert_eq!(refused, OutgoingError::AnswerHead(8 << 10));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    answered(fields, bounds).await.unwrap_err();
    let garbage = answered("220 mail.example ESMTP\r\n\r\n", bounds).await;
    assert_eq!(garbage.unwrap_err(), OutgoingError::Protocol);
}

#[tokio::test]
async fn request_bodies_are_bounded() {
    let (address, _) = server(FINE).await;
    let host = address.to_string();
    let bounds = Bounds {
        body_bytes: 10,
        ..Bounds::default()
    };
    let outgoing = network(&[&host], &[], &[], bounds).outgoing(&hosts(&[&host]), Asker::Anybody);
    let body = Full::new(Bytes::from_static(&[0; 11]));
    let request = Request::post(format!("http://{host}/")).body(body).unwrap();
    let refused = outgoing.send(request, Patience::default()).await;
    assert_eq!(refused.unwrap_err(), OutgoingError::RequestBody(10));
}

#[tokio::test]
async fn silence_ends() {
    let bounds = Bounds {
        silence: Duration::from_millis(500),
        ..Bounds::default()
    };
    let refused = answered("", bounds).await.unwrap_err();
    assert_eq!(refused, OutgoingError::AnswerTimeout);
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
    let refused = answered(begun, bounds).await.unwrap_err();
    assert_eq!(refused, OutgoingError::Silent);
    // Whoever asks may be less patient than the bounds.
    let (address, _) = server("").await;
    let host = address.to_string();
    let outgoing =
        network(&[&host], &[], &[], Bounds::default()).outgoing(&hosts(&[&host]), Asker::Anybody);
    let patience = Patience {
        first_byte: Some(Duration::from_millis(1)),
        ..Patience::default()
    };
    let refused = outgoing
        .send(get(&format!("http://{host}/")), patience)
        .await;
    assert_eq!(refused.unwrap_err(), OutgoingError::AnswerTimeout);
}

#[tokio::test]
async fn requests_under_way_are_bounded_and_end_with_their_answers() {
    let (address, _) = server(FINE).await;
    let host = address.to_string();
    let url = format!("http://{host}/");
    let bounds = Bounds {
        requests: 2,
        ..Bounds::default()
    };
    let outgoing = network(&[&host], &[], &[], bounds).outgoing(&hosts(&[&host]), Asker::Anybody);
    let one = ask(&outgoing, &url).await.unwrap();
    let other = ask(&outgoing, &url).await.unwrap();
    let refused = ask(&outgoing, &url).await.unwrap_err();
    assert_eq!(refused, OutgoingError::TooMany(2));
    drop(one);
    let third = ask(&outgoing, &url).await.unwrap();
    other.into_body().collect().await.unwrap();
    third.into_body().collect().await.unwrap();
    ask(&outgoing, &url).await.unwrap();
}

#[tokio::test]
async fn who_does_not_listen_and_who_has_no_name_is_told_apart() {
    // Bound, so that nobody else is given the port meanwhile, and not listening.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let outgoing =
        network(&[&host], &[], &[], Bounds::default()).outgoing(&hosts(&[&host]), Asker::Anybody);
    let refused = ask(&outgoing, &format!("http://{host}/")).await;
    assert_eq!(refused.unwrap_err(), OutgoingError::Refused);
    let nobody = network(&[], &[], &[], Bounds::default())
        .outgoing(&hosts(&["api.example"]), Asker::Anybody);
    let refused = ask(&nobody, "https://api.example/").await;
    assert_eq!(refused.unwrap_err(), OutgoingError::NotFound);
}

#[tokio::test]
async fn a_server_without_a_certificate_that_is_trusted_gets_no_request() {
    let (address, seen) = server(FINE).await;
    let host = address.to_string();
    // Plain, where TLS was expected: the handshake finds no TLS.
    let outgoing =
        network(&[], &[&host], &[], Bounds::default()).outgoing(&hosts(&[&host]), Asker::Anybody);
    let patience = Patience {
        connect: Some(Duration::from_millis(200)),
        ..Patience::default()
    };
    let refused = outgoing
        .send(get(&format!("https://{host}/")), patience)
        .await;
    refused.unwrap_err();
    assert!(seen.lock().unwrap().is_empty());
}

/// Requests are given up at once, and their lookups are not over by that.
#[tokio::test]
async fn requests_that_are_given_up_leave_no_more_lookups_than_their_owner_has_places() {
    let (hang_up, silence) = std::sync::mpsc::channel::<()>();
    let silence = Mutex::new(silence);
    let begun = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&begun);
    let names = Names::new(Resolver::new(move |name| {
        log.lock().unwrap().push(name.to_owned());
        if name.ends_with("slow.example") {
            // Until the test has ended: the sender is dropped before the threads are waited for.
            let _ = silence.lock().map(|silence| silence.recv());
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }));
    let (address, _) = server(FINE).await;
    let fine = format!("fine.example:{}", address.port());
    let endpoints = Endpoints::new([fine.as_str()], []).unwrap();
    let network = Arc::new(Network::new(endpoints, None, Bounds::default(), names).unwrap());
    let slow: Vec<String> = (0..100).map(|n| format!("{n}.slow.example")).collect();
    let listed = hosts(&slow.iter().map(String::as_str).collect::<Vec<_>>());
    let impatient = Patience {
        connect: Some(Duration::from_nanos(1)),
        ..Patience::default()
    };
    for number in 0..1000 {
        // A task of its own for each.
        let outgoing = network.outgoing(&listed, Asker::Named("mallory".into()));
        let url = format!("https://{}/", slow[number % slow.len()]);
        let refused = outgoing.send(get(&url), impatient).await;
        assert_eq!(refused.unwrap_err(), OutgoingError::ConnectTimeout);
    }
    let outgoing = network.outgoing(&hosts(&[&fine]), Asker::Named("alice".into()));
    let answer = ask(&outgoing, &format!("http://{fine}/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let begun = begun.lock().unwrap().clone();
    assert!(begun.len() <= OF_ONE + 1, "{begun:?}");
    drop(hang_up);
}
