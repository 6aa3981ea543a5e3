use super::{Manager, TestBroker};

/// Two of a test's threads once waited for each other here: the one that read the messages, twice, and the one
/// that added to them in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_read_while_more_arrive() {
    let broker = TestBroker::start().await.unwrap();
    let reader = Manager::connect(&broker, "t", "c").await.unwrap();
    let sender = Manager::connect(&broker, "t", "c").await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..1000 {
            sender
                .send("control/many", number.to_string())
                .await
                .unwrap();
        }
    });
    let mut read = 0;
    while read < 1000 {
        let more = reader.messages("control/many", read + 1).await.unwrap();
        read = more.len();
    }
    sending.await.unwrap();
}
