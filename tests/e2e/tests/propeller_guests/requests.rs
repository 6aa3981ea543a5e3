//! Requests that guests make.

use std::{net::Ipv4Addr, sync::Mutex};

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{Sources, owner::open_result, workload::with_recipients};
use proplet_results::verify::Expectations;
use proplet_testkit::tee::FakeSnp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{tls::TlsServer, *};

/// Answers every connection's request with these bytes, over and over if they are to be endless.
struct Server {
    host: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: String, endless: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut request = vec![0; 8192];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    log.lock().unwrap().push(request);
                    let _ = stream.write_all(answer.as_bytes()).await;
                    while endless && stream.write_all(&[b'a'; 65_536]).await.is_ok() {}
                    let _ = stream.read(&mut [0]).await;
                });
            }
        });
        Self { host, seen }
    }

    async fn fine() -> Self {
        Self::start(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
            false,
        )
        .await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn ask(settings: &str, input: &str) -> String {
    text(&run(&host(settings, None), GuestName::WebClient, "run", &[input]).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_client_runs_where_the_settings_list_the_host() {
    let server = Server::fine().await;
    let settings = format!("[http]\nhttp_hosts = [{:?}]", server.host);
    let url = format!("http://{}/path?q=1", server.host);
    assert_eq!(ask(&settings, &format!("get {url}")).await, "200: ok");
    assert_eq!(ask(&settings, &format!("post {url}")).await, "200: ok");
    let seen = server.seen();
    assert!(
        seen[0].starts_with("GET /path?q=1 HTTP/1.1\r\n"),
        "{seen:?}"
    );
    assert!(
        seen[0].contains(&format!("host: {}\r\n", server.host)),
        "{seen:?}"
    );
    assert!(!seen[0].contains("content-length"), "{seen:?}");
    assert!(
        seen[1].starts_with("POST /path?q=1 HTTP/1.1\r\n"),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_client_trusts_the_ca_of_the_settings_and_no_other() {
    let server = TlsServer::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let settings = format!(
        "[http]\nhosts = [{0:?}]\nprivate_hosts = [{0:?}]\n",
        server.host
    );
    let input = format!("get https://{}/", server.host);
    let trusted = format!("{settings}ca_pem = {:?}", server.ca_pem);
    assert_eq!(ask(&trusted, &input).await, "200: ok");
    assert_eq!(server.requests(), 1);
    let other = TlsServer::start("").await;
    let mistrusted = format!("{settings}ca_pem = {:?}", other.ca_pem);
    assert_eq!(
        ask(&mistrusted, &input).await,
        "ErrorCode::TlsCertificateError"
    );
    assert_eq!(server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_that_the_settings_do_not_list() {
    let server = Server::fine().await;
    let denied = "ErrorCode::HttpRequestDenied";
    let input = format!("get http://{}/", server.host);
    assert_eq!(ask("", &input).await, denied);
    assert_eq!(
        ask("[http]\nhosts = [\"api.example\"]", &input).await,
        denied
    );
    // Listed for TLS is not listed for plain http.
    let for_tls = format!("[http]\nhosts = [{:?}]", server.host);
    assert_eq!(ask(&for_tls, &input).await, denied);
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_is_refused_though_it_is_listed() {
    let server = Server::fine().await;
    let port = server.host.rsplit(':').next().unwrap();
    for name in ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"] {
        let settings = format!("[http]\nhosts = [\"{name}:{port}\"]");
        let said = ask(&settings, &format!("get https://{name}:{port}/")).await;
        assert_eq!(said, "ErrorCode::DestinationIpProhibited", "{name}");
    }
    for address in ["169.254.169.254", "100.100.100.200", "10.0.0.1"] {
        let settings = format!("[http]\nhosts = [{address:?}]");
        let said = ask(
            &settings,
            &format!("get https://{address}/latest/meta-data"),
        )
        .await;
        assert_eq!(said, "ErrorCode::DestinationIpProhibited", "{address}");
    }
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_a_private_address_is_an_answer_that_leads_nowhere() {
    let inner = Server::fine().await;
    let to = format!("http://{}/secrets", inner.host);
    let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let outer = Server::start(head, false).await;
    let settings = format!("[http]\nhttp_hosts = [{:?}]", outer.host);
    let said = ask(&settings, &format!("follow http://{}/", outer.host)).await;
    assert_eq!(
        said,
        format!("302 leads to {to}: ErrorCode::HttpRequestDenied")
    );
    assert_eq!(inner.seen(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_ends_at_the_bound_or_with_the_task() {
    let server = Server::start("HTTP/1.1 200 OK\r\n\r\n".into(), true).await;
    let settings = format!("[http]\nhttp_hosts = [{:?}]\n", server.host);
    let input = format!("get http://{}/", server.host);
    // The guest keeps all of it, so its memory is one end.
    let small = format!("{settings}[limits]\nmemory_bytes = 8388608");
    let outcome = run(&host(&small, None), GuestName::WebClient, "run", &[&input]).await;
    assert_eq!(code(&outcome), "limit-memory");
    let said = ask(&settings, &input).await;
    let read = said.strip_prefix("200, then None after ");
    let read = read.and_then(|rest| rest.strip_suffix(" bytes"));
    let read: usize = read.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    // A piece that would pass the bound is not passed on.
    assert!((60 << 20..=64 << 20).contains(&read), "{read}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_holds_a_task_no_longer_than_its_limit_or_its_stop() {
    let server = Server::start(String::new(), false).await;
    let settings = format!("[http]\nhttp_hosts = [{:?}]\n", server.host);
    let input = format!("get http://{}/", server.host);
    let short = format!("{settings}[limits]\nwall_clock_ms = 300");
    let outcome = run(&host(&short, None), GuestName::WebClient, "run", &[&input]).await;
    assert_eq!(code(&outcome), "limit-wall-clock");
    let executor = host(&settings, None);
    let cancel = CancelToken::new();
    let request = Request {
        source: Source::File(guest(GuestName::WebClient).await),
        task: task("run", &[&input]),
    };
    let before = server.seen().len();
    let stop = async {
        while server.seen().len() == before {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(executor.execute(request, cancel.clone()), stop);
    assert_eq!(code(&outcome), "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_are_bounded() {
    let server = Server::fine().await;
    let settings = format!("[http]\nhttp_hosts = [{:?}]", server.host);
    let said = ask(&settings, &format!("many http://{}/", server.host)).await;
    assert_eq!(said, "8 and then ErrorCode::ConnectionLimitReached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_frame_a_message_are_the_hosts() {
    assert_eq!(
        ask("", "fields").await,
        "host connection transfer-encoding upgrade te trailer expect proxy-authorization keep-alive"
    );
}

/// An encrypted component reaches the hosts of its policy, over TLS, and none of the settings'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_component_reaches_what_its_policy_lists() {
    let server = TlsServer::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let plain = Server::fine().await;
    let sources = Sources::start().await.unwrap();
    let reader = PrivateKey::generate_p256().unwrap();
    let more = format!(
        "[http]\nhosts = [{0:?}]\nhttp_hosts = [{1:?}]\nprivate_hosts = [{0:?}, {1:?}]\nca_pem = {2:?}\n",
        server.host, plain.host, server.ca_pem
    );
    let executor = on(
        sources.settings(&more).unwrap(),
        Some(Arc::new(FakeSnp::new())),
    );
    let component = guest(GuestName::WebClient).await;
    let over_tls = format!("get https://{}/", server.host);
    let in_clear = format!("get http://{}/", plain.host);
    let listed = format!("hosts = [{:?}, {:?}]\n", server.host, plain.host);
    for (index, (hosts, input, expected)) in [
        (listed.as_str(), &over_tls, "200: ok"),
        ("", &over_tls, "ErrorCode::HttpRequestDenied"),
        (
            "hosts = [\"api.example\"]\n",
            &over_tls,
            "ErrorCode::HttpRequestDenied",
        ),
        // The settings may list it for plain http; the owner's component does not speak that.
        (listed.as_str(), &in_clear, "ErrorCode::HttpRequestDenied"),
    ]
    .into_iter()
    .enumerate()
    {
        let policy = format!("version = 1\n{hosts}");
        let policy = with_recipients(&policy, &[reader.public().clone()]);
        let key_id = format!("kbs:///default/key/{index}").parse().unwrap();
        let name = format!("m{index}");
        let published = sources.publish(&name, &component, Some(&policy), key_id);
        let (_, reference): (_, ImageReference) = published.await.unwrap();
        let request = Request {
            source: Source::Encrypted {
                image: reference.to_string(),
                expected_key: None,
            },
            task: task("run", &[input]),
        };
        let outcome = executor.execute(request, CancelToken::new()).await;
        assert_eq!(code(&outcome), "");
        let expectations = Expectations::of_any_measurement();
        let opened = open_result(&reader, &outcome.results, &expectations).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&opened.content),
            expected,
            "{hosts} {input}"
        );
    }
    assert_eq!(server.requests(), 1);
    assert_eq!(plain.seen(), Vec::<String>::new());
}
