//! A service's events, in ECS's words, the newest 100.

use super::deed::Groups;
use crate::clock::Timestamp;
use crate::model::deployment::{Ending, Slot};
use crate::model::names::{NodeId, TaskId};
use crate::model::service::ServiceEvent;
use crate::records::{ServiceKey, encode, keys};
use crate::store::Transaction;

/// "The event stream for your service. A maximum of 100 of the latest events are displayed."
pub(super) const MAX_EVENTS: u64 = 100;

/// Events that happened, until they are written together.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    messages: Vec<Message>,
    next: u64,
    last: Option<String>,
}

#[derive(Debug)]
enum Message {
    /// Told once for as long as it stays as it is.
    Plain(String),
    /// Names nobody: the same text again is of others.
    Counted(String),
    Registered(usize, Slot),
}

impl EventLog {
    /// `text` comes after "(service X) ".
    fn push(&mut self, text: String) {
        self.messages.push(Message::Plain(text));
    }

    pub(super) fn started(&mut self, tasks: &[TaskId]) {
        self.push(format!("has started {} tasks: {}.", tasks.len(), listed(tasks)));
    }

    pub(super) fn stopped(&mut self, tasks: &[TaskId]) {
        self.push(format!("has stopped {} running tasks: {}.", tasks.len(), listed(tasks)));
    }

    pub(super) fn draining(&mut self, tasks: usize) {
        self.messages.push(Message::Counted(format!("has begun draining connections on {tasks} tasks.")));
    }

    pub(super) fn deregistered(&mut self, targets: usize, group: &str) {
        let text = format!("deregistered {targets} targets in (target-group {group})");
        self.messages.push(Message::Counted(text));
    }

    /// Tasks that become targets one after the other in a moment are one event.
    pub(super) fn registered(&mut self, targets: usize, slot: Slot) {
        match self.messages.last_mut() {
            Some(Message::Registered(count, last)) if *last == slot => *count += targets,
            _ => self.messages.push(Message::Registered(targets, slot)),
        }
    }

    /// `port` is that of a server; a handler has none.
    pub(super) fn unhealthy(&mut self, task: &TaskId, port: Option<u16>, group: &str, reason: &str) {
        let port = port.map_or_else(String::new, |port| format!(" (port {port})"));
        self.push(format!(
            "(task {task}){port} is unhealthy in (target-group {group}) due to (reason {reason})"
        ));
    }

    pub(super) fn interrupted(&mut self, task: &TaskId) {
        self.push(format!("(task {task}) was interrupted: its Spot capacity was taken back."));
    }

    pub(super) fn container_unhealthy(&mut self, task: &TaskId) {
        self.push(format!("(task {task}) failed container health checks."));
    }

    pub(super) fn failed_to_start(&mut self, reason: &str) {
        self.push(format!("failed to launch a task with (error {reason})."));
    }

    pub(super) fn unable_to_start(&mut self) {
        self.push("is unable to consistently start tasks successfully.".to_owned());
    }

    /// Host ports are all that a node can be short of.
    pub(super) fn unplaced(&mut self, node: &NodeId) {
        self.push(format!(
            "was unable to place a task because no container instance met all of its requirements. \
             The closest matching (container-instance {node}) is already using a port required by your task."
        ));
    }

    pub(super) fn blocked(&mut self) {
        self.push(
            "was unable to stop or start tasks during a deployment because of the service deployment configuration. \
             Update the minimumHealthyPercent or maximumPercent value and try again."
                .to_owned(),
        );
    }

    pub(super) fn completed(&mut self, deployment: &str) {
        self.push(format!("(deployment {deployment}) deployment completed."));
    }

    pub(super) fn given_up(&mut self, ending: &Ending) {
        self.push(format!("(deployment {}) deployment failed: {}", ending.failed, ending.reason));
        if let Some(back_to) = &ending.rolling_back_to {
            self.push(format!("rolling back to (deployment {back_to})."));
        }
    }

    pub(super) fn problem(&mut self, text: String) {
        self.push(text);
    }

    pub(super) fn steady(&mut self) {
        self.push("has reached a steady state.".to_owned());
    }

    /// The transaction that writes what has happened since the last one. What is still as it was told last is left out.
    pub(super) fn flush(&mut self, key: &ServiceKey, groups: &Groups, now: Timestamp) -> Transaction {
        let mut write = Transaction::new();
        for message in std::mem::take(&mut self.messages) {
            let text = match message {
                Message::Plain(text) if self.last.as_ref() == Some(&text) => continue,
                Message::Plain(text) | Message::Counted(text) => text,
                Message::Registered(count, slot) => {
                    format!("registered {count} targets in (target-group {})", groups.of(slot))
                }
            };
            let event = ServiceEvent {
                id: format!("{}-{:020}", key.name, self.next),
                created_at: now,
                message: format!("(service {}) {text}", key.name),
            };
            self.last = Some(text);
            write = write.put(keys::event(key, self.next), encode(&event));
            if let Some(oldest) = self.next.checked_sub(MAX_EVENTS) {
                write = write.delete(keys::event(key, oldest));
            }
            self.next += 1;
        }
        write
    }
}

fn listed(tasks: &[TaskId]) -> String {
    let listed: Vec<String> = tasks.iter().map(|task| format!("(task {task})")).collect();
    listed.join(" ")
}
