//! Messages by which a client or a target could make the two sides of the balancer disagree, byte by byte.
//!
//! The tables have rows of a name, the bytes that are sent, and all that may come of them. Behind each client's bytes
//! follows an honest request over the same connection: whether it is answered, and what reaches the target before it,
//! tells where the balancer has seen the end of what came first. The target reads by rules of its own (`recorder`), so that
//! a message it would read in another way than the balancer shows.

mod answers;
mod bodies;
mod heads;
mod http2;
mod recorder;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Front, within};
use recorder::Recorder;

/// Comes behind the bytes of a row.
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
/// The same as the target has it.
const NEXT_SEEN: &str = "GET /next HTTP/1.1\nhost: a\n\n";

/// What comes of the bytes of a row.
#[derive(Clone, Debug)]
enum Then {
    /// One answer with this status, the end of the connection, and nothing for the target.
    Refused(u16),
    /// These messages reach the target, and what comes behind them is the next request.
    Passed(Vec<&'static str>),
    /// This message reaches the target, and the connection ends with its answer.
    Last(&'static str),
    /// One 400 and the end of the connection. The target may have a beginning of the message, and can tell that it is one.
    BrokenOff,
    /// The client gets these answers, and the target these messages, of which an incomplete one is marked.
    Exactly(&'static [u16], &'static [&'static str]),
}

/// A name, the bytes, what comes of them.
struct Row(&'static str, Vec<u8>, Then);

fn row(name: &'static str, sent: impl Into<Vec<u8>>, then: Then) -> Row {
    Row(name, sent.into(), then)
}

/// What a client and a target saw.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Statuses, interim ones as well.
    answers: Vec<u16>,
    reached: Vec<String>,
}

impl From<Then> for Outcome {
    fn from(then: Then) -> Self {
        let (answers, reached) = match then {
            Then::Refused(status) => (vec![status], vec![]),
            Then::Passed(messages) => (vec![200; messages.len() + 1], [messages, vec![NEXT_SEEN]].concat()),
            Then::Last(message) => (vec![200], vec![message]),
            Then::BrokenOff => (vec![400], vec![]),
            Then::Exactly(answers, messages) => (answers.to_vec(), messages.to_vec()),
        };
        Self { answers, reached: reached.into_iter().map(str::to_owned).collect() }
    }
}

/// Sends each row over a connection of its own, through a balancer of its own.
async fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for Row(name, sent, then) in rows {
        let mut outcome = outcome_of(&sent).await;
        if matches!(then, Then::BrokenOff) {
            outcome.reached.retain(|message| !message.starts_with(recorder::CUT));
        }
        let expected = Outcome::from(then);
        if outcome != expected {
            let sent = sent.escape_ascii().to_string();
            wrong.push(format!("{name}\n   sent {sent:.300}\n    saw {outcome:?}\n wanted {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

async fn outcome_of(sent: &[u8]) -> Outcome {
    let recorder = Recorder::start().await;
    let front = Front::of_upstream(recorder.address);
    let mut client = front.connect().await;
    // In one write, so that what hides behind a message is there when the message is read. The balancer may refuse
    // before it has taken everything.
    within(client.write_all(&[sent, NEXT.as_bytes()].concat())).await.ok();
    let mut received = Vec::new();
    within(client.read_to_end(&mut received)).await.ok();
    // Ends the connections to the target, and with them its record.
    drop((client, front));
    Outcome { answers: statuses(&received), reached: within(recorder.finish()).await }
}

/// Of all answers in these bytes. The bodies of the targets' answers hold no status lines.
fn statuses(received: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(received);
    // An HTTP/1.0 client is answered in its own version.
    let answers = text.split("HTTP/1.").skip(1);
    answers.map(|answer| answer.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}
