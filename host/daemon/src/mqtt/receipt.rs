//! What a message is acknowledged with, and which messages wait for it.

use std::collections::HashSet;

use rumqttc::{ManualAck, PubAck, PubRec, Publish, QoS};

/// What a message is acknowledged with.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub(super) acknowledgement: ManualAck,
    /// The number of the connection that it came on.
    pub(super) connection: u64,
}

#[cfg(test)]
impl Receipt {
    /// That of a message with this packet id, on the first connection.
    pub(crate) fn of(id: u16) -> Self {
        Self {
            acknowledgement: ManualAck::PubAck(PubAck::new(id)),
            connection: 1,
        }
    }
}

/// The messages of one connection that wait for their acknowledgement, by packet id.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged(HashSet<u16>);

impl Unacknowledged {
    /// None for messages that want no acknowledgement, and for copies of one that will get it.
    pub(super) fn receipt(&mut self, publish: &Publish, connection: u64) -> Option<Receipt> {
        let acknowledgement = match publish.qos {
            QoS::AtMostOnce => return None,
            QoS::AtLeastOnce => ManualAck::PubAck(PubAck::new(publish.pkid)),
            QoS::ExactlyOnce => ManualAck::PubRec(PubRec::new(publish.pkid)),
        };
        self.0.insert(publish.pkid).then_some(Receipt {
            acknowledgement,
            connection,
        })
    }

    /// It was sent.
    pub(super) fn sent(&mut self, id: u16) {
        self.0.remove(&id);
    }

    /// The session is gone.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_what_waits_gets_no_acknowledgement_of_its_own() {
        let mut waiting = Unacknowledged::default();
        let publish = |qos, id| {
            let mut publish = Publish::new("a", qos, "b");
            publish.pkid = id;
            publish
        };
        let mut receipt = |qos, id| {
            let receipt = waiting.receipt(&publish(qos, id), 3);
            receipt.map(|receipt| (receipt.acknowledgement, receipt.connection))
        };
        assert_eq!(receipt(QoS::AtMostOnce, 0), None);
        let first = ManualAck::PubAck(PubAck::new(7));
        assert_eq!(receipt(QoS::AtLeastOnce, 7), Some((first, 3)));
        assert_eq!(receipt(QoS::AtLeastOnce, 7), None);
        let second = ManualAck::PubRec(PubRec::new(8));
        assert_eq!(receipt(QoS::ExactlyOnce, 8), Some((second, 3)));
        waiting.sent(7);
        assert!(waiting.receipt(&publish(QoS::AtLeastOnce, 7), 3).is_some());
        waiting.clear();
        assert!(waiting.receipt(&publish(QoS::ExactlyOnce, 8), 4).is_some());
    }
}
