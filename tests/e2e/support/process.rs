//! `coracle` as a child process.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Checks that the input was refused as all input is: with exit code 2 and one line that starts with `error: `.
    #[track_caller]
    pub(crate) fn assert_refused(&self, because: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines.as_slice() else { panic!("not one line: {self:?}") };
        assert!(line.starts_with("error: ") && line.contains(because), "{because:?} is not said: {line:?}");
    }

    #[track_caller]
    pub(crate) fn assert_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// A command that is not started yet. It sees nothing of the user's own settings and data.
pub(crate) struct Coracle(Command);

/// `coracle` with arguments.
pub(crate) fn coracle(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Coracle {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command
        .args(arguments)
        .env_clear()
        .env("XDG_DATA_HOME", "/nonexistent")
        // One for all tests: what was compiled for one is there for the next.
        .env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Coracle(command)
}

impl Coracle {
    pub(crate) fn in_directory(mut self, directory: &std::path::Path) -> Self {
        self.0.current_dir(directory);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) fn output(self) -> Output {
        self.start().wait()
    }

    /// Runs it to its end with this on its standard input.
    pub(crate) fn output_with_input(mut self, input: &str) -> Output {
        self.0.stdin(Stdio::piped());
        let running = self.start();
        let stdin = running.child.lock().unwrap().stdin.take();
        stdin.unwrap().write_all(input.as_bytes()).unwrap();
        running.wait()
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.0.spawn().unwrap();
        let pid = child.id();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let child = Arc::new(Mutex::new(child));
        let (alive, watched) = mpsc::channel();
        let guarded = child.clone();
        thread::spawn(move || kill_when_too_old(&watched, &guarded));
        Running { child, pid, stdout, stderr, _alive: alive }
    }
}

/// Whatever a test forgets, its processes end.
fn kill_when_too_old(alive: &Receiver<()>, child: &Mutex<Child>) {
    if alive.recv_timeout(3 * DEADLINE) == Err(RecvTimeoutError::Timeout) {
        child.lock().unwrap().kill().ok();
    }
}

/// What a process writes, line by line as it comes.
struct Lines {
    coming: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, coming) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { coming, seen: Vec::new() }
    }

    #[track_caller]
    fn next(&mut self) -> String {
        match self.coming.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(error) => panic!("no further line ({error}); before: {:?}", self.seen),
        }
    }

    #[track_caller]
    fn next_with(&mut self, part: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All lines, once there are no more.
    #[track_caller]
    fn all(&mut self) -> String {
        loop {
            match self.coming.recv_timeout(DEADLINE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.seen.iter().map(|line| format!("{line}\n")).collect();
                }
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it wrote {:?}", self.seen),
            }
        }
    }
}

/// A process that runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Arc<Mutex<Child>>,
    pid: u32,
    stdout: Lines,
    stderr: Lines,
    _alive: Sender<()>,
}

impl Running {
    /// The next line of its standard error.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.stderr.next()
    }

    /// The next line of its standard error that contains `part`.
    #[track_caller]
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        self.stderr.next_with(part)
    }

    /// The next line of its standard output that contains `part`.
    #[track_caller]
    pub(crate) fn output_with(&mut self, part: &str) -> String {
        self.stdout.next_with(part)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, and returns all that it wrote.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        // Its output ends when it does.
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        let status: ExitStatus = self.child.lock().unwrap().wait().unwrap();
        Output { code: status.code(), stdout, stderr }
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
