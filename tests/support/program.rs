//! The program as an operator runs it: the real binary in processes of its own, configured by environment alone,
//! logging to files that stay if the test fails. It must not know what is inside.
//!
//! ```ignore
//! let program = Program::new("postgres://…").with("SIGNALPOST_AMQP_URL", "amqp://…");
//! program.run(&["migrate"]);
//! let mut worker = program.serve("one", &["--only", "worker"]).await;
//! worker.kill();
//! worker.start();
//! worker.ready(Duration::from_secs(10)).await;
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);
/// Until a process that was just started must be ready.
const START: Duration = Duration::from_secs(30);

/// What several processes of one installation share.
pub struct Program {
    /// Where they run, and where their logs are. Removed with this, unless the test failed.
    directory: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Program {
    /// One that uses this database.
    pub fn new(database_url: &str) -> Self {
        let mut program = Self::on_sqlite();
        program.environment.insert("SIGNALPOST_DATABASE_URL".to_owned(), database_url.to_owned());
        program
    }

    /// One with a SQLite file in a directory of its own.
    pub fn on_sqlite() -> Self {
        let name = format!("program-{}", uuid::Uuid::new_v4().simple());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).expect("a directory below the target directory");
        let settings = [
            ("SIGNALPOST_DATABASE_URL", format!("sqlite://{}", directory.join("signalpost.db").display())),
            ("SIGNALPOST_SECRET_KEY", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=".to_owned()),
            ("SIGNALPOST_PUBLIC_URL", "https://mail.acme.example".to_owned()),
        ];
        let environment = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { directory, environment }
    }

    /// One variable more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn database_url(&self) -> &str {
        &self.environment["SIGNALPOST_DATABASE_URL"]
    }

    /// Runs a command to its end, and returns what it said.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Applies a project file.
    pub fn apply(&self, project: &str) {
        let file = self.directory.join("project.toml");
        std::fs::write(&file, project).expect("a file can be written");
        self.run(&["apply", &file.to_string_lossy()]);
    }

    /// A new key of a project, with every scope.
    pub fn api_key(&self, project: &str) -> String {
        let said = self.run(&["api-key", "create", project]);
        said.lines().last().expect("the key stands on the last line").to_owned()
    }

    /// Starts `serve` under a name of its log's, on a port of its own, and waits until it is ready.
    pub async fn serve(&self, name: &str, arguments: &[&str]) -> Process {
        let mut process = self.prepare(name, arguments);
        process.start();
        process.ready(START).await;
        process
    }

    fn prepare(&self, name: &str, arguments: &[&str]) -> Process {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound socket has an address").to_string();
        let mut command = self.command(&["serve"]);
        command.args(arguments).env("SIGNALPOST_HTTP_ADDR", &address).stdin(Stdio::null());
        let log = self.directory.join(format!("{name}.log"));
        Process { name: name.to_owned(), command, child: None, url: format!("http://{address}"), log }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalpost"));
        command.args(arguments).current_dir(&self.directory).env_clear().envs(&self.environment);
        command
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What cannot be removed lies below the target directory, where it disturbs nobody.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// A process of `serve`, running or not. Killed when this is dropped.
pub struct Process {
    pub name: String,
    /// Where it answers, also after it was started again.
    pub url: String,
    command: Command,
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts it, again if it ended. Its log goes on in the same file.
    ///
    /// # Panics
    /// If it runs.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let again = log.try_clone().expect("a second handle");
        let child = self.command.stdout(again).stderr(log).spawn().expect("the program starts");
        self.child = Some(child);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours");
            child.wait().expect("a process that was killed ends");
        }
    }

    /// Sends SIGTERM, and does not wait.
    pub fn terminate(&self) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    }

    /// How it ended, and after how long.
    ///
    /// # Panics
    /// If it runs longer than `limit`.
    pub async fn ended(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let child = self.child.as_mut().expect("it runs");
        loop {
            if let Some(status) = child.try_wait().expect("a process of ours") {
                self.child = None;
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < limit, "{} still runs after {limit:?}", self.name);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGTERM, and the orderly end that must follow; how long that took.
    pub async fn stop(&mut self) -> Duration {
        self.terminate();
        let (status, time) = self.ended(Duration::from_secs(25)).await;
        assert!(status.success(), "{}: {status}\n{}", self.name, self.last_lines());
        time
    }

    /// What `/readyz` says: whether all is well, and its text. Empty while nobody answers.
    pub async fn readiness(&self) -> (bool, String) {
        let Ok(answer) = reqwest::get(format!("{}/readyz", self.url)).await else {
            return (false, String::new());
        };
        let ready = answer.status().is_success();
        (ready, answer.text().await.unwrap_or_default())
    }

    /// Waits until it says that it is ready; how long that took.
    ///
    /// # Panics
    /// If it ends, or is not ready within `limit`.
    pub async fn ready(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            let (ready, said) = self.readiness().await;
            if ready {
                return begun.elapsed();
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let fails = ended.is_some() || begun.elapsed() > limit;
            assert!(!fails, "{} is not ready ({ended:?}): {said}\n{}", self.name, self.last_lines());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
