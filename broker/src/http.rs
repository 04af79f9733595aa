//! Metrics and health over HTTP (`reka.http.listener`).
//!
//! | Path | Answers |
//! |---|---|
//! | `/metrics` | everything in Prometheus' text format |
//! | `/health` | 200 while nothing is wrong that needs a person; otherwise 503 and what it is |
//! | `/ready` | 200 when clients are served; otherwise 503 and what is missing |

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::node::Services;

/// The server.
#[derive(Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Http {
    /// Serves on a bound socket.
    pub fn start(
        runtime: &Runtime,
        socket: TcpListener,
        services: Arc<Services>,
    ) -> std::io::Result<Http> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let _inside = runtime.enter();
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let (stop, mut stopped) = watch::channel(false);
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .route("/ready", get(ready))
            .with_state(services);
        let until = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        runtime.spawn(async move {
            let served = axum::serve(socket, router).with_graceful_shutdown(until);
            if let Err(error) = served.await {
                tracing::error!("metrics and health are no longer served: {error}");
            }
        });
        Ok(Http { address, stop })
    }

    /// Stops accepting.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }
}

async fn metrics(State(services): State<Arc<Services>>) -> Response {
    let lags = Metrics::lags(&services).await;
    // Reads sizes of all partitions: not on a thread that others wait for.
    let text = tokio::task::spawn_blocking(move || services.metrics.text(&services, &lags)).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, Metrics::content_type())], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(services): State<Arc<Services>>) -> Response {
    said(&services.troubles())
}

async fn ready(State(services): State<Arc<Services>>) -> Response {
    let mut troubles = services.troubles();
    if services.quorum.status().leader.is_none() {
        troubles.push("the metadata quorum has no leader".to_owned());
    }
    said(&troubles)
}

fn said(troubles: &[String]) -> Response {
    match troubles {
        [] => (StatusCode::OK, "ok\n").into_response(),
        troubles => {
            let lines = troubles.join("\n") + "\n";
            (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
        }
    }
}
