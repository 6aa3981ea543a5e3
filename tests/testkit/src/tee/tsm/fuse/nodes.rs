//! Numbers of nodes.

use super::super::attribute::Attribute;
use super::super::tree::Node;

/// Nodes of one entry: the folder, and its attributes after it.
pub(super) const NODES_PER_ENTRY: u64 = 16;

pub(super) fn number_of(node: Node) -> u64 {
    match node {
        Node::Reports => 1,
        Node::Entry(entry) => entry * NODES_PER_ENTRY,
        Node::Attribute(entry, attribute) => entry * NODES_PER_ENTRY + 1 + attribute as u64,
    }
}

pub(super) fn node_of(number: u64) -> Option<Node> {
    if number == 1 {
        return Some(Node::Reports);
    }
    let entry = number / NODES_PER_ENTRY;
    match (number % NODES_PER_ENTRY).checked_sub(1) {
        _ if entry == 0 => None,
        None => Some(Node::Entry(entry)),
        Some(attribute) => {
            let mut all = Attribute::ALL.into_iter();
            let found = all.find(|known| *known as u64 == attribute)?;
            Some(Node::Attribute(entry, found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_nodes_lead_back_to_them() {
        let attributes = Attribute::ALL.map(|attribute| Node::Attribute(7, attribute));
        for node in [Node::Reports, Node::Entry(1), Node::Entry(9)]
            .into_iter()
            .chain(attributes)
        {
            assert_eq!(node_of(number_of(node)), Some(node));
        }
        for number in [0, 2, 15, NODES_PER_ENTRY + 12] {
            assert_eq!(node_of(number), None, "{number}");
        }
    }
}
