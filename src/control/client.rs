//! The command line's side of the control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::view::Refusal;

/// Why a command got no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no edge is running at {0}: start it with ringfence run, or name its --config")]
    NotRunning(String),
    #[error("{0} may not be opened by this user: use the edge's user, its group, or root")]
    Forbidden(String),
    #[error("{socket}: {reason}")]
    Broken { socket: String, reason: String },
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error("{}", .0.join("\n"))]
    NotFound(Vec<String>),
}

/// A control socket to ask.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The edge whose state lies in `state_dir`.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            socket: super::state_dir::socket_path(state_dir),
        }
    }

    /// Asks and waits for the answer.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.broken(&error))?;
        let (status, bytes) = runtime.block_on(self.exchange(method, path, body))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.broken(&error));
        }
        let errors = serde_json::from_slice::<Refusal>(&bytes).map_or_else(
            |_| vec![format!("the edge answered {status}")],
            |refusal| refusal.errors,
        );
        if status == StatusCode::NOT_FOUND {
            Err(ClientError::NotFound(errors))
        } else {
            Err(ClientError::Refused(errors))
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let shown = || self.socket.display().to_string();
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|error| match error.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                        ClientError::NotRunning(shown())
                    }
                    ErrorKind::PermissionDenied => ClientError::Forbidden(shown()),
                    _ => self.broken(&error),
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.broken(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(&error))?;
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| self.broken(&error))?;
        driver.abort();
        Ok((status, body.to_bytes()))
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken {
            socket: self.socket.display().to_string(),
            reason: error.to_string(),
        }
    }
}

/// `text` as one segment of a URL's path.
pub(super) fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                char::from(octet).to_string()
            }
            _ => format!("%{octet:02X}"),
        })
        .collect()
}
