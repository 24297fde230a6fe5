//! A PostgreSQL server for one test, which is removed when it is dropped.

use postgres::{Client, NoTls};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Server {
    folder: PathBuf,
    port: u16,
    keep: bool,
}

/// Runs a command as a user other than root, because PostgreSQL refuses root.
pub fn unprivileged(program: &Path) -> Command {
    // SAFETY: geteuid cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn pg_config(what: &str) -> PathBuf {
    let output = Command::new("pg_config").arg(what).output().expect("pg_config is installed");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}

fn major_version() -> u32 {
    let version = pg_config("--version").to_string_lossy().into_owned();
    let digits = version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("PostgreSQL has a version")
}

fn run(command: &mut Command) {
    let output = command.current_dir("/").output().expect("the command exists");
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        panic!("{command:?} failed: {text}{}", String::from_utf8_lossy(&output.stdout));
    }
}

impl Server {
    /// Initialises and starts a server with these lines added to its configuration. Its pages have
    /// no checksums.
    pub fn start(settings: &[&str]) -> Self {
        // From 18 on initdb enables checksums by default.
        let options: &[&str] = if major_version() >= 18 { &["--no-data-checksums"] } else { &[] };
        let server = Self::create(Self::fresh_folder(), false, options);
        server.configure(settings);
        server.launch();
        server
    }

    fn fresh_folder() -> PathBuf {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("vdb-{}-{number}", std::process::id()))
    }

    /// As [`Self::start`], with checksums on every page.
    pub fn start_with_checksums(settings: &[&str]) -> Self {
        let server = Self::create(Self::fresh_folder(), false, &["--data-checksums"]);
        server.configure(settings);
        server.launch();
        server
    }

    /// As [`Self::start`], but no file may grow beyond `bytes` until the server is started again.
    pub fn start_limited(settings: &[&str], bytes: u64) -> Self {
        let server = Self::create(Self::fresh_folder(), false, &[]);
        server.configure(settings);
        let pg_ctl = server.pg_ctl(&["start", "-w", "-l"]);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--fsize={bytes}")).arg("--").arg(pg_ctl.get_program()).args(pg_ctl.get_args());
        limited.arg(server.folder.join("log")).env_remove("RUST_BACKTRACE").stdout(Stdio::null());
        assert!(limited.current_dir("/").status().expect("prlimit runs").success());
        server
    }

    /// A server in `folder`, which the first call makes and which is kept.
    pub fn start_kept(folder: &Path, settings: &[&str]) -> Self {
        if folder.join("data/PG_VERSION").exists() {
            let server = Self { folder: folder.to_path_buf(), port: free_port(), keep: true };
            // An earlier run may have been killed.
            let _ = server.pg_ctl(&["stop", "-m", "immediate"]).output();
            server.configure(settings);
            server.launch();
            return server;
        }
        let server = Self::create(folder.to_path_buf(), true, &[]);
        server.configure(settings);
        server.launch();
        server
    }

    fn create(folder: PathBuf, keep: bool, options: &[&str]) -> Self {
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        // SAFETY: geteuid cannot fail.
        if unsafe { libc::geteuid() } == 0 {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        let server = Self { folder, port: free_port(), keep };
        let initdb = pg_config("--bindir").join("initdb");
        run(unprivileged(&initdb)
            .arg("-D")
            .arg(server.data())
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"])
            .args(options));
        server
    }

    /// A streaming standby of this server, caught up with its base backup.
    pub fn standby(&self) -> Self {
        let folder = self.folder.with_extension("standby");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        // SAFETY: geteuid cannot fail.
        if unsafe { libc::geteuid() } == 0 {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        let standby = Self { folder, port: free_port(), keep: false };
        let backup = pg_config("--bindir").join("pg_basebackup");
        run(unprivileged(&backup).arg("-D").arg(standby.data()).args([
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-d",
            &self.url(),
        ]));
        // -R has written the connection to the primary; only the standby's port differs.
        let path = standby.data().join("postgresql.auto.conf");
        let mut text = std::fs::read_to_string(&path).expect("the configuration is readable");
        text.push_str(&format!("\nport = {}\n", standby.port));
        std::fs::write(&path, text).expect("the configuration is written");
        standby.launch();
        standby
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn configure(&self, settings: &[&str]) {
        let lines = [
            format!("port = {}", self.port),
            "listen_addresses = '127.0.0.1'".into(),
            "unix_socket_directories = ''".into(),
            "log_min_messages = warning".into(),
        ];
        let mut text = lines.join("\n");
        for setting in settings {
            text.push('\n');
            text.push_str(setting);
        }
        text.push('\n');
        std::fs::write(self.data().join("postgresql.auto.conf"), text).expect("the configuration is written");
    }

    /// A new folder that the server may write to.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        run(unprivileged(Path::new("mkdir")).arg(&folder));
        folder
    }

    /// Dumps one database and restores it into another.
    pub fn dump_and_restore(&self, from: &str, to: &str) {
        let script = self.folder.join("dump.sql");
        let url = |database: &str| self.url().replace("dbname=postgres", &format!("dbname={database}"));
        let tool = |name: &str| unprivileged(&pg_config("--bindir").join(name));
        run(tool("pg_dump").arg("-f").arg(&script).arg(url(from)));
        run(tool("psql").args(["-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&script).arg(url(to)));
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = unprivileged(&pg_config("--bindir").join("pg_ctl"));
        command.arg("-D").arg(self.data()).args(arguments).current_dir("/");
        // A backtrace in every error would be part of its DETAIL.
        command.env_remove("RUST_BACKTRACE").stdout(Stdio::null());
        command
    }

    /// Starts the server; after a crash this recovers.
    pub fn launch(&self) {
        self.launch_by(self.pg_ctl(&["start", "-w", "-t", "120", "-l"]));
    }

    /// The same, with a variable in the server's environment.
    pub fn launch_with(&self, name: &str, value: &str) {
        let mut command = self.pg_ctl(&["start", "-w", "-t", "120", "-l"]);
        command.env(name, value);
        self.launch_by(command);
    }

    fn launch_by(&self, mut command: Command) {
        let log = self.folder.join("log");
        command.arg(&log);
        let status = command.status().expect("pg_ctl runs");
        assert!(status.success(), "the server did not start; see {}", log.display());
    }

    /// kill -9: no process of the server can write anything more.
    pub fn kill(&self) {
        let pids = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("the server runs");
        let postmaster = pids.lines().next().expect("a process id").to_string();
        let children =
            Command::new("ps").args(["-o", "pid=", "--ppid", &postmaster]).output().expect("ps runs");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        let pids: Vec<&str> = std::iter::once(&*postmaster).chain(children.split_whitespace()).collect();
        // Some may be gone by now.
        let _ = Command::new("kill").arg("-9").args(&pids).output();
        // A new server cannot start before the last process releases the shared memory.
        while pids.iter().any(|pid| Path::new("/proc").join(pid).join("exe").exists()) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
    }

    pub fn stop(&self) {
        assert!(self.pg_ctl(&["stop", "-m", "fast", "-w"]).status().expect("pg_ctl runs").success());
    }

    /// The log since the server was made.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).expect("the server's log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Lines of the log that report a crash.
    pub fn crashes(&self) -> Vec<String> {
        let signs = ["PANIC:", "TRAP:", "was terminated by signal"];
        let is_crash = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        self.log().lines().filter(is_crash).map(String::from).collect()
    }

    pub fn url(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    pub fn connect(&self) -> Client {
        self.try_connect().expect("the server accepts connections")
    }

    pub fn try_connect(&self) -> Result<Client, postgres::Error> {
        Client::connect(&self.url(), NoTls)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.pg_ctl(&["stop", "-m", "immediate"]).output();
        if std::thread::panicking() {
            self.crashes().iter().for_each(|line| eprintln!("the server's log: {line}"));
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// An error's SQLSTATE and message; without either the connection was lost.
pub fn error_text(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {error}", error.code().code()),
        None => format!("connection lost: {error:?}"),
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
