//! A real git server over http: `git http-backend` behind a server of the test.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::faulty::message;

/// The server, with one repository, `catalogue.git`; it ends with the test.
#[derive(Debug)]
pub(super) struct GitServer {
    address: std::net::SocketAddr,
    directory: tempfile::TempDir,
    // Ended with the set.
    _serving: JoinSet<()>,
}

impl GitServer {
    pub(super) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        git(directory.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "catalogue.git"]).await?;
        git(directory.path(), &["init", "--quiet", "--initial-branch=main", "work"]).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let root = directory.path().to_owned();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let root = root.clone();
                // Whether the other side hears it is its own affair.
                answers.spawn(async move { answer(stream, &root).await });
                while answers.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, directory, _serving: serving })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Writes a file, commits and pushes to a branch.
    pub(super) async fn commit(&self, branch: &str, path: &str, content: &str) -> Result<()> {
        let work = self.directory.path().join("work");
        git(&work, &["checkout", "--quiet", "-B", branch]).await?;
        let file = work.join(path);
        std::fs::create_dir_all(file.parent().context("a directory")?)?;
        std::fs::write(file, content)?;
        git(&work, &["add", "--all"]).await?;
        git(&work, &["commit", "--quiet", "-m", "catalogue: change it"]).await?;
        git(&work, &["push", "--quiet", "--force", "../catalogue.git", branch]).await
    }

    /// Marks what is there now.
    pub(super) async fn tag(&self, name: &str) -> Result<()> {
        let work = self.directory.path().join("work");
        git(&work, &["tag", "-a", name, "-m", name]).await?;
        git(&work, &["push", "--quiet", "../catalogue.git", name]).await
    }
}

async fn git(directory: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("git")
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "test".to_owned())))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "test@example.test".to_owned())))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// One request, by the rules of CGI.
async fn answer(mut stream: TcpStream, root: &Path) -> Result<()> {
    let (head, body) = message(&mut stream).await?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().context("a method")?, words.next().context("a target")?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = backend.stdin.take().context("a pipe")?;
    input.write_all(&body).await?;
    drop(input);
    let output = backend.wait_with_output().await?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").context("an end of the head")?;
    let said = std::str::from_utf8(&output[..end])?;
    let status = said.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let headers: Vec<&str> = said.lines().filter(|line| !line.starts_with("Status:")).collect();
    let content = &output[end + 4..];
    let head = format!(
        "HTTP/1.1 {status}\r\n{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        headers.join("\r\n"),
        content.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(content).await?;
    stream.shutdown().await?;
    Ok(())
}
