//! `proplet run` of a component that answers requests.

use std::{path::Path, process::Stdio, time::Duration};

use proplet_testkit::guests::{self, GuestName};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use super::support::Desk;

/// Names the component for the process that serves it.
const CHILD: &str = "SERVED_COMPONENT";
/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs itself again: the log and Ctrl-C are of a whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_component_is_served_is_said_before_it_is_stopped() {
    if let Some(component) = std::env::var_os(CHILD) {
        serve(Path::new(&component)).await;
        return;
    }
    let built = tokio::task::spawn_blocking(|| guests::build(GuestName::GreetServer));
    let guest = built.await.unwrap().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "serving::where_a_component_is_served_is_said_before_it_is_stopped",
            "--nocapture",
        ])
        .env(CHILD, &guest.path)
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = tokio::time::timeout(PATIENCE, address(&mut child)).await;
    let address = address.expect("it says where it serves");
    let answer = get(&address, "/Ada").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("Hello, Ada!"), "{answer}");

    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.expect("it ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Until Ctrl-C. The port is one that nobody but the system knows.
async fn serve(component: &Path) {
    let desk = Desk::new();
    desk.write("proplet.toml", "[http]\nlisten = \"127.0.0.1:0\"\n");
    let component = component.to_str().unwrap();
    let ended = desk
        .run(&format!("run {component} --config @proplet.toml"))
        .await;
    let text = ended.done().text().to_owned();
    let port = text.strip_prefix("started at port ").unwrap();
    assert_ne!(port.trim().parse::<u16>().unwrap(), 0);
}

/// What the process says of where it serves.
async fn address(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, address)) = line.split_once("answers HTTP requests at ") {
            let address = address.to_owned();
            // Whatever else it says, it must not wait for somebody to read it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return address;
        }
        seen.push(line);
    }
    panic!("it ended: {seen:?}");
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address.trim()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
