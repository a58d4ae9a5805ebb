//! People who talk to programs inside tasks.
//!
//! ExecuteCommand makes a session: which task, which container, which command, and a token that proves who asked. Nothing runs before somebody attaches
//! with the token; the program ends with whoever attached, and with its task. Sessions are of this process alone: none outlives it, and none is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::{Execution, Sandbox};
use crate::error::OperationError;
use crate::model::names::TaskId;
use crate::supervisor::Supervisor;

/// How long a session waits for somebody to attach.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most sessions that wait at a time.
const MAX_WAITING: usize = 256;
/// Most programs that people run in one task at a time.
const MAX_PER_TASK: usize = 16;

/// The tasks that run here, and the sessions that wait.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<TaskId, RunningTask>,
    waiting: HashMap<String, Session>,
}

#[derive(Debug)]
struct RunningTask {
    sandbox: Weak<dyn Sandbox>,
    /// Cancelled when the task begins to stop. Each attached session has a clone.
    stopping: CancellationToken,
    attached: Arc<()>,
    _stop: DropGuard,
}

/// A command that somebody may attach to.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) token: String,
    pub(crate) task: TaskId,
    pub(crate) container: String,
    pub(crate) command: Vec<String>,
    pub(crate) interactive: bool,
    pub(crate) made: Instant,
}

/// A program that runs inside a task, and the one who talks to it.
#[derive(Debug)]
pub struct Attached {
    /// The program. Dropping its `exit` ends it.
    pub execution: Execution,
    /// Cancelled when the task begins to stop: the program ends with it.
    pub stopping: CancellationToken,
    _place: Arc<()>,
}

impl Sessions {
    /// A task that runs from now on.
    pub(crate) fn open_task(&self, id: &TaskId, sandbox: &Arc<dyn Sandbox>) {
        let stopping = CancellationToken::new();
        let task = RunningTask {
            sandbox: Arc::downgrade(sandbox),
            attached: Arc::new(()),
            _stop: stopping.clone().drop_guard(),
            stopping,
        };
        self.lock().tasks.insert(id.clone(), task);
    }

    /// The task stops: whoever is attached to it is told.
    pub(crate) fn close_task(&self, id: &TaskId) {
        self.lock().tasks.remove(id);
    }

    /// Whether the task runs here.
    pub(crate) fn has_task(&self, id: &TaskId) -> bool {
        self.lock().tasks.contains_key(id)
    }

    /// Where a task runs, if it runs here.
    pub(crate) fn sandbox(&self, id: &TaskId) -> Option<Arc<dyn Sandbox>> {
        self.lock().tasks.get(id)?.sandbox.upgrade()
    }

    /// Lets a session wait for whoever attaches.
    pub(crate) fn wait(&self, id: String, session: Session) -> Result<(), OperationError> {
        let mut state = self.lock();
        state.waiting.retain(|_, session| session.made.elapsed() < PATIENCE);
        if state.waiting.len() >= MAX_WAITING {
            return Err(OperationError::LimitExceeded(
                "Too many sessions wait for somebody to attach.".to_owned(),
            ));
        }
        state.waiting.insert(id, session);
        Ok(())
    }

    fn take(&self, id: &str, token: &str) -> Option<Session> {
        let mut state = self.lock();
        state.waiting.retain(|_, session| session.made.elapsed() < PATIENCE);
        state.waiting.get(id).filter(|session| is_same(&session.token, token))?;
        state.waiting.remove(id)
    }

    fn place(&self, id: &TaskId) -> Option<(Weak<dyn Sandbox>, CancellationToken, Arc<()>)> {
        let state = self.lock();
        let task = state.tasks.get(id)?;
        let has_room = Arc::strong_count(&task.attached) <= MAX_PER_TASK;
        has_room.then(|| (task.sandbox.clone(), task.stopping.clone(), Arc::clone(&task.attached)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Guards single map operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Starts the program of a session that ExecuteCommand made. Each session can be attached to once.
    pub async fn attach(&self, session_id: &str, token: &str) -> Result<Attached, OperationError> {
        let session = self.sessions().take(session_id, token);
        // The same words for a wrong token: whoever guesses learns nothing.
        let session = session.ok_or_else(|| OperationError::invalid("There is no such session."))?;
        let gone = || {
            OperationError::TargetNotConnected(
                "The task does not run any more, or too many commands run in it.".to_owned(),
            )
        };
        let (sandbox, stopping, place) = self.sessions().place(&session.task).ok_or_else(gone)?;
        let sandbox = sandbox.upgrade().ok_or_else(gone)?;
        let started = sandbox.execute(&session.container, &session.command, session.interactive).await;
        let execution = started.map_err(OperationError::InvalidParameter)?;
        Ok(Attached { execution, stopping, _place: place })
    }
}

/// Compares without telling by its time where two tokens differ.
fn is_same(ours: &str, theirs: &str) -> bool {
    ours.len() == theirs.len()
        && ours.bytes().zip(theirs.bytes()).fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs)) == 0
}
