//! The HTTP paths. One function builds the router, for the control socket and for every listener
//! that is added later.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::edge::{Edge, PAGE_ROWS_MAX, Undone};
use super::tenants::{ApplyBody, Origin};
use super::view::{Applied, Ready, Refusal, RegistrationPage, Removed, Stats};
use crate::sip::BindingFilter;

/// Largest body: a million credentials at about 100 octets, and as much again.
const BODY_BYTES_MAX: usize = 256 << 20;

/// Every path over `edge`.
pub(super) fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/v1/ready", get(ready))
        .route("/v1/stats", get(stats))
        .route("/v1/registrations", get(registrations))
        .route("/v1/registrations/{aor}", delete(remove_registrations))
        .route("/v1/apply", post(apply))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, vec!["no such path".to_owned()]) })
        .method_not_allowed_fallback(|| async {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                vec!["not with this method".to_owned()],
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(edge)
}

fn refusal(status: StatusCode, errors: Vec<String>) -> Response {
    (status, Json(Refusal { errors })).into_response()
}

impl IntoResponse for Undone {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(errors) => refusal(StatusCode::UNPROCESSABLE_ENTITY, errors),
            Self::NotFound(error) => refusal(StatusCode::NOT_FOUND, vec![error]),
            Self::Unanswered(error) => {
                refusal(StatusCode::SERVICE_UNAVAILABLE, vec![error.to_string()])
            }
        }
    }
}

async fn ready(State(edge): State<Arc<Edge>>) -> Json<Ready> {
    Json(edge.ready())
}

async fn stats(State(edge): State<Arc<Edge>>) -> Json<Stats> {
    Json(edge.stats())
}

/// What a listing may be narrowed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    cursor: Option<String>,
    count: Option<u32>,
    aor: Option<String>,
    domain: Option<String>,
}

async fn registrations(
    State(edge): State<Arc<Edge>>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<RegistrationPage>, Response> {
    let Query(listing) =
        listing.map_err(|error| refusal(StatusCode::BAD_REQUEST, vec![error.body_text()]))?;
    let filter = BindingFilter {
        aor: listing.aor.map(|aor| canonical(&aor)),
        host: listing.domain.map(|domain| domain.to_ascii_lowercase()),
    };
    let count = listing.count.unwrap_or(PAGE_ROWS_MAX);
    let page = edge
        .registrations(listing.cursor.as_deref(), count, &filter)
        .await;
    page.map(Json).map_err(Undone::into_response)
}

async fn remove_registrations(
    State(edge): State<Arc<Edge>>,
    Path(aor): Path<String>,
) -> Result<Json<Removed>, Undone> {
    edge.remove_registrations(&canonical(&aor)).await.map(Json)
}

async fn apply(
    State(edge): State<Arc<Edge>>,
    body: Result<Json<ApplyBody>, JsonRejection>,
) -> Result<Json<Applied>, Response> {
    let Json(body) = body.map_err(|error| refusal(error.status(), vec![error.body_text()]))?;
    // Reading a hundred thousand credentials takes a while: not on the thread that answers others.
    let read = tokio::task::spawn_blocking(move || body.into_provision()).await;
    let provision = read
        .unwrap_or_else(|panic| Err(vec![format!("internal error: {panic}")]))
        .map_err(|errors| refusal(StatusCode::UNPROCESSABLE_ENTITY, errors))?;
    let applied = edge
        .apply(provision, Origin::Apply)
        .await
        .map_err(Undone::into_response)?;
    tracing::info!(
        added = applied.added.len(),
        changed = applied.changed.len(),
        removed = applied.removed.len(),
        generation = applied.generation,
        "tenants applied"
    );
    Ok(Json(applied))
}

/// An address of record as the shards know it: no scheme, the host in lower case.
fn canonical(aor: &str) -> String {
    let aor = aor.strip_prefix("sip:").unwrap_or(aor);
    match aor.rsplit_once('@') {
        Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
        None => aor.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn an_address_of_record_is_taken_in_every_usual_spelling() {
        for aor in [
            "alice@example.test",
            "sip:alice@example.test",
            "alice@Example.TEST",
        ] {
            assert_eq!(canonical(aor), "alice@example.test");
        }
        assert_eq!(canonical("Alice@example.test"), "Alice@example.test");
        assert_eq!(canonical("nobody"), "nobody");
    }
}
