use super::*;

/// A service manager that listens, and what the daemon's side of it needs.
struct Scene {
    _folder: tempfile::TempDir,
    manager: UnixDatagram,
    connection: watch::Sender<Connection>,
    trouble: watch::Sender<Option<Code>>,
    subscribed: watch::Sender<bool>,
    tasks: watch::Sender<usize>,
    line: Arc<Line>,
    probes: mpsc::Receiver<Probe>,
    work: tokio::task::JoinSet<()>,
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

impl Scene {
    fn set(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut all = vec![("NOTIFY_SOCKET", path.to_str().unwrap())];
        all.extend(variables);
        let (connection, connections) = watch::channel(None);
        let (trouble, troubles) = watch::channel(None);
        let (subscribed, subscriptions) = watch::channel(false);
        let (tasks, counts) = watch::channel(0);
        let facts = Facts {
            broker: "mqtts://broker:8883".to_owned(),
            refusal: Some(Code::NoTee),
            connection: connections,
            trouble: troubles,
            subscribed: subscriptions,
            tasks: counts,
        };
        let (probe, probes) = mpsc::channel(1);
        let line = Supervisor::of(&environment(&all)).line().unwrap();
        let mut work = tokio::task::JoinSet::new();
        work.spawn(Arc::clone(&line).tell(facts));
        work.spawn(Arc::clone(&line).beat(probe));
        Self {
            _folder: folder,
            manager,
            connection,
            trouble,
            subscribed,
            tasks,
            line,
            probes,
            work,
        }
    }

    async fn told(&self) -> String {
        let mut buffer = [0; 1024];
        let size = self.manager.recv(&mut buffer).await.unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }
}

#[tokio::test]
async fn readiness_is_told_once_and_the_rest_as_it_changes() {
    let scene = Scene::set(&[]);
    assert_eq!(
        scene.told().await,
        "STATUS=No connection to mqtts://broker:8883, the log says why; 0 tasks run or wait\n"
    );
    scene.trouble.send_replace(Some(Code::KbsDenied));
    let told = scene.told().await;
    assert!(told.contains("broker:8883 (kbs-denied), the log"), "{told}");
    scene.connection.send_replace(Some(1));
    let told = scene.told().await;
    assert!(
        told.starts_with("STATUS=Connected to mqtts://broker:8883, and not subscribed"),
        "{told}"
    );
    scene.subscribed.send_replace(true);
    assert_eq!(
        scene.told().await,
        "READY=1\nSTATUS=Takes tasks from mqtts://broker:8883; 0 tasks run or wait; at the start encrypted tasks were \
         refused (no-tee)\n"
    );
    scene.subscribed.send_replace(false);
    assert!(!scene.told().await.contains("READY"));
    scene.subscribed.send_replace(true);
    let again = scene.told().await;
    assert!(again.starts_with("STATUS=Takes tasks"), "{again}");
    scene.tasks.send_replace(3);
    let told = scene.told().await;
    assert!(told.contains("; 3 tasks run or wait"), "{told}");
    scene.line.tell_end().await;
    let told = scene.told().await;
    assert!(told.starts_with("STOPPING=1\nSTATUS=Stopping: "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_tasks_is_told_of_now_and_then() {
    let scene = Scene::set(&[]);
    scene.told().await;
    for count in 1..=100 {
        scene.tasks.send_replace(count);
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let told = scene.told().await;
    assert!(told.contains("; 100 tasks run or wait"), "{told}");
    assert!(began.elapsed() <= BETWEEN_COUNTS);
    scene.tasks.send_replace(1);
    let told = scene.told().await;
    assert!(told.contains("; 1 task runs or waits"), "{told}");
}

#[tokio::test]
async fn it_lives_for_as_long_as_messages_are_obeyed() {
    let pid = std::process::id().to_string();
    let mut scene = Scene::set(&[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", &pid)]);
    scene.told().await;
    for _ in 0..3 {
        let probe = scene.probes.recv().await.unwrap();
        // Not before it is answered.
        let mut buffer = [0; 64];
        assert!(scene.manager.try_recv(&mut buffer).is_err());
        drop(probe);
        assert_eq!(scene.told().await, "WATCHDOG=1\n");
    }
    // On its way out nobody answers.
    drop(scene.probes);
    assert_eq!(scene.manager.recv(&mut [0; 64]).await.unwrap(), 11);
}

#[tokio::test]
async fn who_is_not_watched_does_not_beat() {
    for variables in [
        &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")][..],
        &[("WATCHDOG_USEC", "soon")],
        &[("WATCHDOG_USEC", "0")],
        &[("WATCHDOG_USEC", "-1")],
    ] {
        let mut scene = Scene::set(variables);
        scene.told().await;
        // Nobody ever asks.
        assert!(scene.probes.recv().await.is_none(), "{variables:?}");
    }
}

#[tokio::test]
async fn abstract_sockets_are_found() {
    let name = format!("proplet-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Socket::bind_addr(&address).unwrap();
    let socket = connect(&format!("@{name}")).unwrap();
    socket.send(b"READY=1").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(manager.recv(&mut buffer).unwrap(), 7);
}

#[tokio::test]
async fn a_service_manager_that_is_not_there_is_in_nobodys_way() {
    for address in [
        "/nonexistent/notify",
        "@proplet-test-nobody",
        "vsock:2:1234",
        "notify",
        "@",
        &"/".repeat(200),
    ] {
        let supervisor = Supervisor::of(&environment(&[("NOTIFY_SOCKET", address)]));
        assert!(supervisor.socket.is_none(), "{address}");
    }
    assert!(
        Supervisor::of(&environment(&[("WATCHDOG_USEC", "1000")]))
            .socket
            .is_none()
    );
    // One that goes away later.
    let mut scene = Scene::set(&[]);
    scene.told().await;
    let Scene { manager, .. } = &mut scene;
    drop(std::mem::replace(manager, UnixDatagram::unbound().unwrap()));
    scene.line.tell_end().await;
    scene.connection.send_replace(Some(1));
    tokio::task::yield_now().await;
    assert!(scene.line.complained.load(Ordering::Relaxed));
    // The one without a watchdog has ended, the other goes on.
    while scene.work.try_join_next().is_some() {}
    assert_eq!(scene.work.len(), 1);
}

#[test]
fn a_status_is_one_line() {
    let mut facts = Facts {
        broker: "a\nREADY=1".to_owned(),
        refusal: None,
        connection: watch::channel(Some(1)).1,
        trouble: watch::channel(None).1,
        subscribed: watch::channel(true).1,
        tasks: watch::channel(2).1,
    };
    assert_eq!(
        facts.status(),
        "Takes tasks from a READY=1; 2 tasks run or wait"
    );
}
