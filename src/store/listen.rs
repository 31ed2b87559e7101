//! Hearing that something is to be fetched, on PostgreSQL. Only a wake-up: whoever misses it polls.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use super::Store;

/// The channel that `catalogue::notify_due` speaks on.
const CHANNEL: &str = "signalpost_due";
/// Pause before listening again after a lost connection.
const PAUSE: Duration = Duration::from_secs(2);

/// Wakes at each notification, for ever.
pub async fn listen(store: Store, wake: &Notify) {
    let Store::Pg(pool) = store else { return std::future::pending().await };
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            while listener.recv().await.is_ok() {
                wake.notify_one();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
